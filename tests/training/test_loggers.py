"""Loggers go on where the run goes on, with no step twice, and say which extra is missing."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from visioncore.config import build_config
from visioncore.run_folder import RunFolder
from visioncore.training.experiment import TrainingConfig
from visioncore.training.loggers import BaseLoggerConfig


def config(kind: str, **settings: Any) -> BaseLoggerConfig:
    (own,) = build_config(TrainingConfig, {"loggers": [{"type": kind, **settings}]}, "test.yaml").loggers
    return own


def log(own: BaseLoggerConfig, folder: Path, from_step: int, to_step: int) -> Any:
    """What a run logs that goes on at a step, and is killed or stopped before another."""
    logger = own.build(RunFolder(folder), from_step)
    for step in range(from_step, to_step):
        logger.log_metrics({"train/loss": 1.0 / (1 + step), "train/b": float(step)}, step)
    version = logger.version
    logger.finalize("success")
    return version


def test_tensorboard_shows_no_step_twice(tmp_path: Path) -> None:
    own = config("tensorboard")
    for steps in ((0, 3), (0, 8), (5, 7), (7, 10)):
        log(own, tmp_path, *steps)
        # TensorBoard reads files in the order of their names, which tell the second in which each was begun.
        time.sleep(1.1)
    events = EventAccumulator(str(tmp_path / "logs" / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("train/loss")] == list(range(10))


def test_csv_has_every_number_once(tmp_path: Path) -> None:
    own, table = config("csv"), tmp_path / "logs" / "steps.csv"
    log(own, tmp_path, 0, 8)
    # What a kill can leave.
    with table.open("a") as file:
        file.write("1,train/lo")
    for steps in ((5, 7), (7, 10)):
        log(own, tmp_path, *steps)
    lines = table.read_text().splitlines()
    assert lines[0] == "step,name,value"
    rows = [line.split(",") for line in lines[1:]]
    assert [(int(step), name) for step, name, _ in rows] == [
        (step, name) for step in range(10) for name in ("train/loss", "train/b")
    ]
    assert [float(value) for _, name, value in rows if name == "train/b"] == list(range(10))
    log(own, tmp_path, 0, 1)
    assert len(table.read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # W&B's own
def test_weights_and_biases_goes_on_as_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    own = config("wandb", project="mice")
    first, again = log(own, tmp_path / "a", 0, 3), log(own, tmp_path / "a", 3, 5)
    other = log(own, tmp_path / "b", 0, 1)
    assert first == again == (tmp_path / "a" / "logs" / "wandb_id.txt").read_text().strip()
    assert other != first
    assert wandb.run is None
    folders = list((tmp_path / "a" / "logs" / "wandb").glob("offline-run-*"))
    assert folders
    assert {folder.name.rpartition("-")[2] for folder in folders} == {first}


def test_a_run_does_not_begin_where_its_logger_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(Exception, match=r"type 'wandb': pip install 'visioncore\[wandb\]'"):
        config("wandb").require()
