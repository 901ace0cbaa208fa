"""A run goes on with other means but not as another experiment, and its folder runs nobody's code."""

import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from flawed import LINEAR, recording
from visioncore.checkpoint import load_twin
from visioncore.config import differing_keys
from visioncore.errors import CheckpointError, ConfigError
from visioncore.provenance import RecordedExperiment
from visioncore.training.experiment import Experiment
from visioncore.training.identity import differences, identity
from visioncore.training.resumption import read_checkpoint
from visioncore.training.run import train

TRAINING: dict[str, Any] = {
    "max_epochs": 2,
    "steps_per_epoch": 2,
    "batch_size": 4,
    "accumulate_grad_batches": 2,
    "clip_frames": 60,
    "validation_minutes": 0.02,
}


def experiment(folder: Path, training: dict[str, Any] | None = None, **data: Any) -> Experiment:
    session = {"id": "s0", "subject": "m", "path": "0.npz", "video": "stim", "responses": "spikes"}
    params = {"sampling_rate_hz": 120, "response_kind": "counts", "sessions": [session]}
    split = {"block_s": 2.0, "split_gap_s": 0.25}
    raw = {
        "model": {"sampling_rate": 120, **LINEAR},
        "data": {"type": "arrays", "params": params, "split": split, **data},
        "training": TRAINING | (training or {}),
    }
    return Experiment(raw, "test", folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    folder = tmp_path_factory.mktemp("identity")
    arrays = recording()
    np.savez(folder / "0.npz", stim=arrays["stim"], spikes=arrays["spikes"])
    return folder


@pytest.fixture(scope="module")
def half(folder: Path) -> Path:
    """A run that has one epoch behind it, and one to go."""
    whole = folder / "whole"
    train(experiment(folder), whole)
    run = folder / "half"
    once = experiment(folder, {"max_epochs": 1})
    train(once, run)
    for name in ("experiment.yaml", "plan.json"):
        shutil.copy(whole / name, run / name)
    return run


@pytest.fixture
def run(half: Path, tmp_path: Path) -> Path:
    shutil.copytree(half, tmp_path / "run")
    # Where the data are is told from the run folder.
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("training", "data"),
    [
        ({"num_workers": 1}, {}),
        ({"precision": "bf16-mixed"}, {}),
        ({"loggers": []}, {}),
        ({"accelerator": "cpu"}, {}),
        ({"batch_size": 8, "accumulate_grad_batches": 1}, {}),
        ({"batch_size": 1, "accumulate_grad_batches": 8}, {}),
        ({}, {"cache": "none"}),
    ],
    ids=str,
)
def test_a_run_goes_on_where_and_however_its_clips_are_computed(
    training: dict[str, Any], data: dict[str, Any], folder: Path, run: Path
) -> None:
    train(experiment(folder, training, **data), run)
    history = (run / "logs" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in history] == ["step", "2", "4"]


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"batch_size": 8}, r"training\.clips_per_step: 8 there and 16 now, the product of batch_size"),
        ({"num_nodes": 2}, r"training\.clips_per_step: 8 there and 16 now"),
        ({"devices": 2}, r"training\.clips_per_step: 8 there and 16 now"),
        ({"learning_rate": 0.5}, r"different: training\.optimiser\.params\.learning_rate\)"),
    ],
    ids=str,
)
def test_a_run_goes_on_as_no_other_experiment(
    training: dict[str, Any], expected: str, folder: Path, run: Path
) -> None:
    with pytest.raises(ConfigError, match=expected):
        train(experiment(folder, training), run)


def test_every_setting_but_those_of_the_machine_is_part_of_a_run(folder: Path) -> None:
    resolved = experiment(folder).resolved()
    gone = set(differing_keys(resolved.to_json(), identity(resolved).to_json()))
    apart = {"machine", "loggers", "batch_size", "accumulate_grad_batches", "clips_per_step"}
    assert gone == {f"training.{key}" for key in apart} | {"data.cache", "data.store"}


def test_a_record_of_before_there_were_machines_is_the_same_experiment(folder: Path) -> None:
    now = experiment(folder).resolved()
    before = now.to_json()
    del before["training"]["machine"]["num_nodes"]
    assert list(differences(RecordedExperiment.from_json(before), now)) == []


def test_what_a_run_was_computed_on_stands_in_its_twin(folder: Path, run: Path) -> None:
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    saving = checkpoint["callbacks"]["RunFolder"]
    saving["machines"][0]["device"] = "another machine"
    saving["best"] = (float("-inf"), float("-inf"))
    torch.save(checkpoint, run / "last.ckpt")
    train(experiment(folder), run)
    machines = load_twin(run).provenance.machines
    assert [machine.from_step for machine in machines] == [0, 2]
    assert machines[0].device == "another machine"
    assert machines[1].accelerator == "cpu"
    assert machines[1].num_nodes == 1
    assert machines[1].precision == "32-true"


def test_the_best_twin_of_a_run_of_version_1_stays_the_best(folder: Path, run: Path) -> None:
    """Its checkpoint has no machines, and calls what keeps the best twin RunFolder."""
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    checkpoint["callbacks"]["RunFolder"] = {"best": (100.0, 0.0), "initialise_s": 1.0}
    torch.save(checkpoint, run / "last.ckpt")
    before = (run / "twin.safetensors").read_bytes()
    train(experiment(folder), run)
    assert (run / "twin.safetensors").read_bytes() == before


# --- A planted pickle ---------------------------------------------------------------------------------------------


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def plant_raw(last: Path, bomb: Bomb) -> None:
    last.write_bytes(pickle.dumps({"history": [], "x": bomb}))


def plant_in_a_zip(last: Path, bomb: Bomb) -> None:
    with zipfile.ZipFile(last) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(last, "w") as archive:
        for name, content in members.items():
            whole = pickle.dumps({"history": [], "x": bomb}) if name.endswith("data.pkl") else content
            archive.writestr(name, whole)


def plant_in_the_callbacks(last: Path, bomb: Bomb) -> None:
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["callbacks"]["RunFolder"] = bomb
    torch.save(checkpoint, last)


def plant_in_the_optimiser(last: Path, bomb: Bomb) -> None:
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["optimizer_states"][0]["state"]["x"] = bomb
    torch.save(checkpoint, last)


@pytest.mark.parametrize("plant", [plant_raw, plant_in_a_zip, plant_in_the_callbacks, plant_in_the_optimiser])
def test_a_planted_pickle_is_refused_in_one_line_and_never_executed(
    plant: Any, folder: Path, run: Path, tmp_path: Path
) -> None:
    exploded = tmp_path / "exploded"
    plant(run / "last.ckpt", Bomb(exploded))
    with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot be resumed from") as caught:
        train(experiment(folder), run)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert not exploded.exists()


def test_a_checkpoint_that_lightning_would_find_by_itself_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under SLURM it looks for files of its own in the run folder when there is nothing to resume from."""
    exploded, run = tmp_path / "exploded", tmp_path / "run"
    once = experiment(folder)
    train(once, run)
    (run / "last.ckpt").unlink()
    torch.save({"x": Bomb(exploded)}, run / "hpc_ckpt_1.ckpt")
    for key, value in {
        "JOB_NAME": "train",
        "NTASKS": "1",
        "PROCID": "0",
        "LOCALID": "0",
        "NODEID": "0",
    }.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    with pytest.raises(CheckpointError, match=r"hpc_ckpt_1\.ckpt: is not what a run resumes from"):
        train(once, run)
    assert not exploded.exists()


def test_what_a_run_wrote_is_read_back(run: Path) -> None:
    checkpoint = read_checkpoint(run / "last.ckpt")
    assert len(checkpoint["history"]) == 1
    assert checkpoint["global_step"] == 2


def test_a_run_from_before_a_setting_existed_goes_on_and_one_that_now_asks_for_it_does_not(
    folder: Path, run: Path
) -> None:
    path = run / "experiment.yaml"
    recorded = path.read_text()
    before = recorded.replace("  shift_px: 0\n", "").replace("  fixed_filters: false\n", "")
    assert len(before) < len(recorded)
    path.write_text(before)
    with pytest.raises(ConfigError, match=r"different: training\.shift_px"):
        train(experiment(folder, {"shift_px": 1}), run)
    train(experiment(folder), run)
    assert len((run / "logs" / "metrics.csv").read_text().splitlines()) == 3
