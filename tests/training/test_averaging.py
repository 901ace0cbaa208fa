"""What the moving average averages, and what it leaves alone."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from visioncore.checkpoint import load_twin
from visioncore.config import dump_config
from visioncore.data import DataConfig
from visioncore.training.experiment import Experiment
from visioncore.training.lit_twin import LitTwin
from visioncore.training.run import train

MODEL = {
    "sampling_rate": 60,
    "convnet": {"type": "none"},
    "linear": {"type": "low_rank", "params": {"rank": 1, "num_basis": 4}},
}
TRAINING = {
    "max_epochs": 1,
    "steps_per_epoch": 12,
    "batch_size": 3,
    "clip_frames": 30,
    "learning_rate": 0.05,
    "final_learning_rate": 1.0,
    "accumulate_grad_batches": 2,
}


def run(data: tuple[DataConfig, Path], out: Path, **training: Any) -> dict[str, float]:
    """The first row of the history of a run with these settings."""
    raw = {"model": MODEL, "data": dump_config(data[0]), "training": TRAINING | training}
    train(Experiment(raw, "test", data[1]), out)
    (row,) = csv.DictReader((out / "logs" / "metrics.csv").read_text().splitlines())
    return {key: float(value) for key, value in row.items()}


def test_the_saved_twin_is_the_average_of_the_weights_after_each_step(
    tiny_config: tuple[DataConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[dict[str, Tensor]] = []
    step = LitTwin.optimizer_step

    def recording(self: LitTwin, *arguments: Any) -> None:
        step(self, *arguments)
        recorded.append({name: tensor.clone() for name, tensor in self.twin.state_dict().items()})

    monkeypatch.setattr(LitTwin, "optimizer_step", recording)
    # So that the end is the best twin, and not the start.
    monkeypatch.setattr(LitTwin, "validation_score", lambda self: float(self.global_step))
    run(tiny_config, tmp_path / "run", ema_decay=0.4)
    assert len(recorded) == TRAINING["steps_per_epoch"]
    average = recorded[0]
    for n, weights in enumerate(recorded[1:], start=1):
        decay = min(0.4, (1 + n) / (10 + n))
        average = {name: decay * average[name] + (1 - decay) * weights[name] for name in average}
    saved = load_twin(tmp_path / "run").state_dict()
    trained = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
    assert saved.keys() == average.keys()
    for name, tensor in saved.items():
        assert torch.allclose(tensor, average[name], rtol=1e-4, atol=1e-6), name
        assert torch.equal(trained[f"twin.{name}"], recorded[-1][name]), name
    assert not torch.allclose(
        saved["heads.sessions.0.linear.temporal"], recorded[-1]["heads.sessions.0.linear.temporal"], rtol=1e-2
    )


def test_averaging_changes_what_is_validated_and_not_what_is_trained(
    tiny_config: tuple[DataConfig, Path], tmp_path: Path
) -> None:
    plain, averaged = (
        run(tiny_config, tmp_path / f"{decay}", ema_decay=decay, max_epochs=1) for decay in (None, 0.9)
    )
    assert plain["train_loss"] == averaged["train_loss"]
    assert plain["gradient_norm"] == averaged["gradient_norm"]
    assert plain["validation_loss"] != averaged["validation_loss"]
