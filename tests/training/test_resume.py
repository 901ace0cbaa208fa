"""A run that is killed at any moment and started again ends as the run that was left alone (contract K2)."""

import csv
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from killed import start
from visioncore.checkpoint import load_twin
from visioncore.config import dump_yaml
from visioncore.errors import CheckpointError, ConfigError
from visioncore.model import Twin
from visioncore.training.experiment import read_experiment
from visioncore.training.lit_twin import LitTwin
from visioncore.training.plan import read_plan
from visioncore.training.run import train

MODEL = {
    "model_type": "v1multi",
    "sampling_rate": 60,
    "convnet": {
        "type": "vivit",
        "params": {
            "embedding_dim": 8,
            "num_spatial_blocks": 1,
            "num_temporal_blocks": 1,
            "num_heads": 1,
            "head_dim": 8,
            "patch_size": [3, 3, 3],
            "stride": [2, 2, 2],
            "padding": "same",
            "patch_dropout": 0.2,
            "ff_dropout": 0.2,
            "drop_path": 0.2,
        },
    },
    "modulator": {"type": "convgru", "params": {"behaviour_dim": 2, "hidden_dim": 4}},
    "linear": {"type": "low_rank", "params": {"rank": 1, "num_basis": 4}},
}
TRAINING = {
    "max_epochs": 4,
    "steps_per_epoch": 5,
    "batch_size": 4,
    "accumulate_grad_batches": 2,
    "clip_frames": 30,
    "learning_rate": 0.01,
    "warmup_steps": 3,
    "num_workers": 1,
    # Then later twins are better than the start, and are saved.
    "initialise": {"linear": False},
}
# Every choice of the recipe that keeps a state or draws at random.
EVERYTHING = (
    "training.ema_decay=0.9",
    "training.cutmix=0.5",
    "training.optimiser=muon",
    "training.session_learning_rate=2.0",
    "training.schedule=linear",
    "model.output={type: softplus, params: {sharpness: 5.0, learn_sharpness: true}}",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small recording and the three YAML files."""
    folder = tmp_path_factory.mktemp("experiment")
    rng = np.random.default_rng(0)
    n_bins = 1800
    video = rng.integers(0, 256, (n_bins, 6, 8), dtype=np.uint8)
    rates = np.full((n_bins, 3), 0.2)
    rates[1:, 1] = 0.8 * (video[:-1, 2, 3] > 127)
    eye = rng.normal(size=(n_bins, 2)).astype(np.float32)
    np.savez(folder / "s.npz", stim=video, spikes=rng.poisson(rates), eye=eye)
    session = {
        "id": "s",
        "subject": "m",
        "path": "s.npz",
        "video": "stim",
        "responses": "spikes",
        "behaviour": "eye",
        "behaviour_names": ["x", "y"],
    }
    data = {
        "type": "arrays",
        "params": {"sampling_rate_hz": 60, "response_kind": "counts", "sessions": [session]},
        "split": {"block_s": 2.0, "split_gap_s": 0.25, "test": 0.2, "validation": 0.2},
        "burn_in_s": 0.1,
    }
    for name, raw in (("model", MODEL), ("data", data), ("training", TRAINING)):
        (folder / f"{name}.yaml").write_text(dump_yaml(raw))
    return folder


@pytest.fixture(scope="module")
def left_alone(folder: Path) -> Path:
    out = folder / "left_alone"
    assert start(folder, out) == 0
    return out


def rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "logs" / "metrics.csv").read_text().splitlines()))


def history(run: Path) -> list[dict[str, str]]:
    """All but the wall clock, which no two runs share."""
    return [{key: value for key, value in row.items() if key != "wall_s"} for row in rows(run)]


def metrics(twin: Twin) -> dict[str, float]:
    assert twin.provenance.metrics is not None
    return {key: value for key, value in twin.provenance.metrics.to_json().items() if key != "wall_s"}


def same_result(one: Path, other: Path) -> None:
    assert history(one) == history(other)
    first, second = load_twin(one), load_twin(other)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert metrics(first) == metrics(second)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kills",
    [
        # The first three leave no checkpoint behind: each time, the run begins anew.
        [("step", 3), ("validation", 2), ("checkpoint", 2)],
        [("step", 27), ("step", 4)],
        [("twin", 2), ("rename", 6)],
    ],
    ids=lambda kills: "+".join(f"{moment}{number}" for moment, number in kills),
)
def test_a_killed_run_ends_as_the_run_left_alone(
    folder: Path, left_alone: Path, tmp_path: Path, kills: list[tuple[str, int]]
) -> None:
    out = tmp_path / "run"
    for moment, number in kills:
        assert start(folder, out, moment, number) == -signal.SIGKILL
    assert start(folder, out) == 0
    same_result(left_alone, out)


@pytest.mark.slow
def test_a_killed_run_with_every_choice_on_ends_as_the_run_left_alone(folder: Path, tmp_path: Path) -> None:
    uninterrupted, out = tmp_path / "uninterrupted", tmp_path / "run"
    assert start(folder, uninterrupted, overrides=EVERYTHING) == 0
    for moment, number in (("checkpoint", 1), ("step", 27)):
        assert start(folder, out, moment, number, EVERYTHING) == -signal.SIGKILL
    assert start(folder, out, overrides=EVERYTHING) == 0
    same_result(uninterrupted, out)
    one, other = (torch.load(run / "last.ckpt", weights_only=True) for run in (uninterrupted, out))
    for name, tensor in one["state_dict"].items():
        assert torch.equal(tensor, other["state_dict"][name]), name


@pytest.mark.slow
def test_the_wall_clock_goes_on_where_it_stood(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert start(folder, out, "step", 33) == -signal.SIGKILL
    before = [float(row["wall_s"]) for row in rows(out)]
    time.sleep(2.0)
    resumed = time.perf_counter()
    assert start(folder, out) == 0
    resumed_s = time.perf_counter() - resumed
    after = [float(row["wall_s"]) for row in rows(out)]
    assert after[:3] == before
    assert after == sorted(after)
    assert before[-1] < after[-1] < before[-1] + resumed_s
    assert load_twin(out).provenance.initialise_s > 0
    assert [int(row["clips"]) for row in rows(out)] == [8 * int(row["step"]) for row in rows(out)]


@pytest.mark.slow
def test_a_finished_run_is_left_as_it_is(folder: Path, left_alone: Path) -> None:
    before = {p.name: p.read_bytes() for p in left_alone.iterdir() if p.is_file()}
    assert start(folder, left_alone) == 0
    assert {p.name: p.read_bytes() for p in left_alone.iterdir() if p.is_file()} == before


@pytest.mark.slow
def test_a_run_goes_on_with_no_other_data_and_no_other_settings(
    folder: Path, left_alone: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("stores", "left_alone"))
    arrays = dict(np.load(other / "s.npz"))
    np.savez(other / "s.npz", **(arrays | {"eye": arrays["eye"] + 1}))
    files = (other / "model.yaml", other / "data.yaml", other / "training.yaml")
    with pytest.raises(ConfigError, match="begun on other data"):
        train(read_experiment(*files), left_alone)
    with pytest.raises(ConfigError, match=r"different: training\.optimiser\.params\.learning_rate"):
        train(read_experiment(*files, ["training.learning_rate=0.5"]), left_alone)


@pytest.mark.slow
def test_a_run_that_stopped_early_stays_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (folder / "model.yaml", folder / "data.yaml", folder / "training.yaml")
    # No validation is better than the first.
    monkeypatch.setattr(LitTwin, "validation_score", lambda self: -float(self.global_step))
    overrides = ["training.early_stopping_patience=1", "training.num_workers=0"]
    for _ in range(2):
        train(read_experiment(*files, overrides), tmp_path / "run")
        history = (tmp_path / "run" / "logs" / "metrics.csv").read_text().splitlines()
        assert len(history) < 1 + int(str(TRAINING["max_epochs"]))


@pytest.mark.slow
def test_a_damaged_point_of_resumption_is_refused(folder: Path, left_alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(left_alone, out)
    intact = (out / "last.ckpt").read_bytes()
    files = (folder / "model.yaml", folder / "data.yaml", folder / "training.yaml")
    middle = len(intact) // 2
    flipped = bytes(byte ^ 0x10 for byte in intact[middle : middle + 256])
    for damaged in (intact[:middle] + flipped + intact[middle + 256 :], intact[:middle], b""):
        (out / "last.ckpt").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot be resumed from"):
            train(read_experiment(*files), out)


def planned_alike(run: Path, out: Path) -> Path:
    """A fresh run folder with the experiment and the plan of `run`."""
    out.mkdir()
    for name in ("experiment.yaml", "plan.json"):
        shutil.copy(run / name, out / name)
    return out


@pytest.mark.slow
def test_a_run_planned_by_the_clock_is_the_run_of_its_plan(folder: Path, tmp_path: Path) -> None:
    """What was learnt to find the pace leaves no trace, and neither does having been put right on the way."""
    files = (folder / "model.yaml", folder / "data.yaml", folder / "training.yaml")
    clocked = tmp_path / "clock"
    train(read_experiment(*files, list(EVERYTHING)), clocked, max_minutes=0.05)
    plan = read_plan(clocked / "plan.json")
    assert plan is not None
    assert int(rows(clocked)[-1]["step"]) == plan.max_steps
    train(read_experiment(*files, list(EVERYTHING)), planned_alike(clocked, tmp_path / "steps"))
    same_result(clocked, tmp_path / "steps")
    before = (clocked / "twin.safetensors").read_bytes()
    train(read_experiment(*files, list(EVERYTHING)), clocked)
    assert int(rows(clocked)[-1]["step"]) == plan.max_steps
    assert (clocked / "twin.safetensors").read_bytes() == before


@pytest.mark.slow
def test_a_run_of_so_many_steps_takes_them_to_the_step_though_it_was_killed(
    folder: Path, tmp_path: Path
) -> None:
    overrides = ("training.steps_per_epoch=2", "training.max_steps=5")
    out = tmp_path / "run"
    assert start(folder, out, "step", 3, overrides) == -signal.SIGKILL
    assert start(folder, out, overrides=overrides) == 0
    assert [int(row["step"]) for row in rows(out)] == [2, 4, 5]
    alone = tmp_path / "alone"
    assert start(folder, alone, overrides=overrides) == 0
    same_result(alone, out)


@pytest.mark.slow
def test_a_run_killed_while_its_plan_was_put_right_is_still_the_run_of_its_plan(
    folder: Path, tmp_path: Path
) -> None:
    # Many short epochs: the first of them are a tenth of the time.
    overrides = ("training.steps_per_epoch=2",)
    out, minutes = tmp_path / "run", 0.15
    assert start(folder, out, "corrected", 1, overrides, minutes) == -signal.SIGKILL
    plan = read_plan(out / "plan.json")
    assert plan is not None
    assert plan.corrected_at is not None
    # The first step again: on a machine that is busy, the minutes may hold no others.
    assert start(folder, out, "step", 1, overrides, minutes) == -signal.SIGKILL
    assert start(folder, out, overrides=overrides, minutes=minutes) == 0
    assert read_plan(out / "plan.json") == plan
    alone = planned_alike(out, tmp_path / "alone")
    assert start(folder, alone, overrides=overrides) == 0
    same_result(alone, out)
