"""How well a twin predicts data it never saw: scores per unit, session, stimulus kind and cell class.

A block of the split is predicted from a fresh state. Its burn-in, bins that are not predicted and bins that
are not valid leave every score, the ceiling's included. One block's video is in memory at a time.
"""

from visioncore.evaluation.export import export_predictions
from visioncore.evaluation.kept_predictions import KeptPredictions
from visioncore.evaluation.of_run import count_evaluation, count_test_evaluation, evaluation_of
from visioncore.evaluation.prediction import (
    BlockPrediction,
    BlockPredictor,
    Repeats,
    check_fit,
    require_scale_of,
    require_unseen,
    trained_on,
)
from visioncore.evaluation.record import (
    Purpose,
    TestEvaluations,
    code_commit,
    read_test_evaluations,
    record_test_evaluation,
)
from visioncore.evaluation.records import Estimate, EvaluationSettings, Metric, ScoredSection, UnitRow
from visioncore.evaluation.result import EvaluationResult, load_evaluation
from visioncore.evaluation.scoring import evaluate, selection_metric
from visioncore.evaluation.session_sums import SessionSums
from visioncore.evaluation.views import LearnedView, learned_views

__all__ = [
    "BlockPrediction",
    "BlockPredictor",
    "Estimate",
    "EvaluationResult",
    "EvaluationSettings",
    "KeptPredictions",
    "LearnedView",
    "Metric",
    "Purpose",
    "Repeats",
    "ScoredSection",
    "SessionSums",
    "TestEvaluations",
    "UnitRow",
    "check_fit",
    "code_commit",
    "count_evaluation",
    "count_test_evaluation",
    "evaluate",
    "evaluation_of",
    "export_predictions",
    "learned_views",
    "load_evaluation",
    "read_test_evaluations",
    "record_test_evaluation",
    "require_scale_of",
    "require_unseen",
    "selection_metric",
    "trained_on",
]
