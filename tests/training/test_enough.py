"""A run ends where more would not help, counted in passes over its recording, and says so."""

import logging
from pathlib import Path

import pytest

from visioncore.config import dump_config
from visioncore.data import DataConfig
from visioncore.training.enough import FEWEST_VALIDATIONS, patience
from visioncore.training.experiment import Experiment, TrainingConfig
from visioncore.training.lit_twin import LitTwin
from visioncore.training.run import train

MODEL = {
    "sampling_rate": 60,
    "convnet": {"type": "none"},
    "linear": {"type": "low_rank", "params": {"rank": 1, "num_basis": 4}},
}


def test_patience_is_counted_in_passes_and_is_a_few_validations_at_least() -> None:
    config = TrainingConfig(patience_passes=3.0)
    assert patience(config, steps_per_epoch=200, steps_per_pass=60) == FEWEST_VALIDATIONS
    assert patience(config, steps_per_epoch=200, steps_per_pass=1000) == 15
    assert patience(TrainingConfig(), steps_per_epoch=200, steps_per_pass=60) is None
    asked = TrainingConfig(patience_passes=3.0, early_stopping_patience=2)
    assert patience(asked, steps_per_epoch=200, steps_per_pass=1000) == 2


def test_a_run_that_no_longer_gains_ends_before_its_length_and_keeps_its_best_twin(
    tiny_config: tuple[DataConfig, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(LitTwin, "validation_score", lambda self: float(-abs(self.global_step - 6)))
    training = {
        "max_epochs": 50,
        "steps_per_epoch": 3,
        "batch_size": 3,
        "clip_frames": 30,
        "patience_passes": 0.1,
    }
    raw = {"model": MODEL, "data": dump_config(tiny_config[0]), "training": training}
    with caplog.at_level(logging.INFO):
        train(Experiment(raw, "test", tiny_config[1]), tmp_path / "run")
    rows = (tmp_path / "run" / "logs" / "metrics.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == [3 * k for k in range(1, 3 + FEWEST_VALIDATIONS)]
    (said,) = [r.getMessage() for r in caplog.records if "more would not help" in r.getMessage()]
    assert said.startswith("stopped at ")
    assert "minutes of recording" in said
