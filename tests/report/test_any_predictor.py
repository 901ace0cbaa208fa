"""What is no twin is evaluated, audited, reported and compared as a twin is, as far as it has anything to show."""

from pathlib import Path

import numpy as np
import pytest
import torch

from predictors import ScriptedPredictor
from visioncore.audit import audit
from visioncore.comparison import ScoredRun, compare
from visioncore.data import RecordingStore
from visioncore.evaluation import evaluate, load_evaluation
from visioncore.model import Twin, TwinConfig
from visioncore.model.cores import NoCoreConfig
from visioncore.predictor import Predictor
from visioncore.report import write_comparison, write_report


def constant(store: RecordingStore) -> ScriptedPredictor:
    """Every unit's mean training rate, whatever is on the screen."""
    means = {name: session.train_mean for name, session in store.sessions.items()}
    return ScriptedPredictor(
        store.spec, lambda session, video, _: np.tile(np.asarray(means[session], np.float32), (len(video), 1))
    )


def twin_of(store: RecordingStore) -> Twin:
    torch.manual_seed(0)
    return TwinConfig(sampling_rate=store.spec.rate_hz, convnet=NoCoreConfig()).build(store.spec).eval()


def test_a_predictor_that_is_no_twin_goes_all_the_way(tiny_store: RecordingStore, tmp_path: Path) -> None:
    predictor = constant(tiny_store)
    assert isinstance(predictor, Predictor)
    result = evaluate(predictor, tiny_store, progress=False)
    assert result.overall.bits_per_spike.mean == pytest.approx(0.0, abs=1e-6)
    result.write_to(tmp_path)
    assert load_evaluation(tmp_path / "evaluation_test.json", predictor, tiny_store) is not None
    assert load_evaluation(tmp_path / "evaluation_test.json", twin_of(tiny_store), tiny_store) is None
    audit(predictor, tiny_store, progress=False).write_json(tmp_path / "audit.json")
    page = write_report(predictor, tiny_store, result, tmp_path).read_text(encoding="utf-8")
    assert "parameters" not in page
    assert "<summary>Model</summary>" not in page
    assert "no unit has a readout position" in page
    runs = [
        ScoredRun.of(name, own, tiny_store)
        for name, own in (("constant", predictor), ("twin", twin_of(tiny_store)))
    ]
    comparison = compare(runs)
    assert comparison.models["constant"].parameters is None
    shown = write_comparison(comparison, tmp_path / "comparison", title="two").read_text(encoding="utf-8")
    assert "constant" in shown
