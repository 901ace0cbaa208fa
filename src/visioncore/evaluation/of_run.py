"""Evaluations that run folders keep, and the count of looks at their test split."""

from pathlib import Path

from visioncore.config import AsWritten
from visioncore.data import RecordingStore
from visioncore.evaluation.record import Purpose, TestEvaluations, record_test_evaluation
from visioncore.evaluation.records import EvaluationSettings
from visioncore.evaluation.result import EvaluationResult, load_evaluation
from visioncore.evaluation.scoring import evaluate
from visioncore.predictor import Predictor
from visioncore.recording import Split
from visioncore.run_folder import RunFolder


def evaluation_of(
    run_dir: Path, twin: Predictor, store: RecordingStore, *, with_sums: bool, split: Split = "test"
) -> EvaluationResult:
    """The run's scores on a split: those that stand in its folder where they fit, else measured and written."""
    found = load_evaluation(RunFolder(run_dir).evaluation(split), twin, store)
    if found is not None and (found.sums or not with_sums):
        return found
    result = evaluate(twin, store, split=split)
    if split == "test":
        count_evaluation(run_dir, result.settings, "report")
    result.write_to(run_dir)
    return result


def count_test_evaluation(
    run: Path,
    twin_digest: str,
    data_fingerprint: str,
    settings: EvaluationSettings | AsWritten | None,
    purpose: Purpose,
) -> TestEvaluations | None:
    """The one place that counts: whatever looks at the test split of a run folder's twin comes through here.

    Args:
        settings: how it was scored, as a record or (of a score of a competition) as it is written; None for an audit,
            which scores in ways of its own.
    """
    folder = RunFolder.of(run)
    if not folder.experiment.exists():
        return None
    digests = ("twin_digest", "data_fingerprint")
    written = settings.to_json() if isinstance(settings, EvaluationSettings) else settings or {}
    told = {key: value for key, value in written.items() if key not in digests}
    return record_test_evaluation(folder.path, twin_digest, data_fingerprint, told, purpose)


def count_evaluation(run: Path, settings: EvaluationSettings, purpose: Purpose) -> TestEvaluations | None:
    """`count_test_evaluation` of a scoring."""
    return count_test_evaluation(run, settings.twin_digest, settings.data_fingerprint, settings, purpose)
