"""Ranks are told apart however they were started: two machines under srun, two under torchrun, one with two devices."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from killed import start
from ranks import Trained, Variables, under_srun, under_torchrun, unequal_sessions
from visioncore.errors import ConfigError
from visioncore.provenance import Epoch
from visioncore.run_folder import RunFolder
from visioncore.training.experiment import TrainingConfig, read_experiment
from visioncore.training.launch import require_processes_as_set
from visioncore.training.machine import MachineConfig
from visioncore.training.plan import read_plan
from visioncore.training.ranks import dealt
from visioncore.training.run import train

STEPS, FORWARD_PASSES = 6, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unequal_sessions(tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def one_process(folder: Path) -> Path:
    overrides = ("training.batch_size=4", f"training.accumulate_grad_batches={FORWARD_PASSES}")
    assert start(folder, folder / "one", overrides=overrides) == 0
    return folder / "one"


def history(run: Path) -> dict[str, list[float]]:
    epochs = RunFolder(run).history()
    return {key: [getattr(epoch, key) for epoch in epochs] for key in Epoch.model_fields if key != "wall_s"}


@pytest.mark.slow
@pytest.mark.parametrize("started", [under_srun, under_torchrun])
def test_two_machines_share_the_clips_and_have_the_losses_and_scores_of_one(
    started: Callable[[int, str], Variables], folder: Path, one_process: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    overrides = ("training.batch_size=2", f"training.accumulate_grad_batches={FORWARD_PASSES}")
    both = Trained(folder, out, overrides, started=started).well()
    # Each clip of the run once, and half of those of each pass on each machine.
    assert sorted(clip for own in both.drawn for clip in own) == list(range(STEPS * FORWARD_PASSES * 4))
    assert [sorted(own) for own in both.drawn] == [
        [clip for clip in range(STEPS * FORWARD_PASSES * 4) if clip // 2 % 2 == rank] for rank in range(2)
    ]
    alone, together = history(one_process), history(out)
    assert len(alone["step"]) == 2
    for key, values in alone.items():
        assert together[key] == pytest.approx(values, rel=1e-5, abs=1e-6), key
    plan = read_plan(out / "plan.json")
    assert plan is not None
    assert plan.max_steps == STEPS
    assert not list(out.glob("hpc_ckpt*"))


def test_every_rank_validates_as_often_and_all_blocks_are_scored_once() -> None:
    for n in range(1, 12):
        for world_size in range(1, 6):
            own = [dealt(n, rank, world_size) for rank in range(world_size)]
            assert len({len(of_rank) for of_rank in own}) == 1
            counted = [
                block
                for rank, of_rank in enumerate(own)
                for place, block in enumerate(of_rank)
                if place * world_size + rank < n
            ]
            assert sorted(counted) == list(range(n))


def test_clips_of_a_step_are_those_of_all_passes_devices_and_machines() -> None:
    config = TrainingConfig(
        batch_size=3, accumulate_grad_batches=5, machine=MachineConfig(devices=2, num_nodes=7)
    )
    assert config.clips_per_step == 210


def slurm(tasks: int, per_node: int | None, nodes: int | None) -> Variables:
    given = {"NTASKS": tasks, "NTASKS_PER_NODE": per_node, "NNODES": nodes, "JOB_NAME": "train", "PROCID": 0}
    return {f"SLURM_{key}": str(value) for key, value in given.items() if value is not None}


def torchrun(processes: int, here: int) -> Variables:
    return {
        "TORCHELASTIC_RUN_ID": "7",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(here),
        "RANK": "0",
    }


# What a launcher sets, devices, machines.
MISMATCHES: dict[str, tuple[Variables, int, int]] = {
    "srun of two, one device": (slurm(2, 2, 1), 1, 1),
    "srun of one, two devices": (slurm(1, None, 1), 2, 1),
    "srun of two machines, two devices": (slurm(2, 1, 2), 2, 1),
    "srun of one machine, two set": (slurm(2, 2, 1), 1, 2),
    "srun that does not say how many on each": (slurm(2, None, None), 2, 1),
    "a job of two, one device": (slurm(2, None, None), 1, 1),
    "torchrun of two, one device": (torchrun(2, 2), 1, 1),
    "torchrun of one, two devices": (torchrun(1, 1), 2, 1),
    "torchrun of two machines, two devices": (torchrun(2, 1), 2, 1),
    "Open MPI": ({"OMPI_COMM_WORLD_SIZE": "2"}, 1, 1),
    "MPICH": ({"PMI_SIZE": "2"}, 2, 1),
}
MATCHES: dict[str, tuple[Variables, int, int]] = {
    "nothing": ({}, 2, 1),
    "srun of one": (slurm(1, None, None), 1, 1),
    "srun of four": (slurm(4, 2, 2), 2, 2),
    "srun that speaks PMI": ({**slurm(4, 2, 2), "PMI_SIZE": "4"}, 2, 2),
    "an interactive job": ({**slurm(4, None, 1), "SLURM_JOB_NAME": "interactive"}, 2, 1),
    "torchrun of four": (torchrun(4, 2), 2, 2),
    "MPI of one": ({"OMPI_COMM_WORLD_SIZE": "1"}, 2, 1),
}


def launched(monkeypatch: pytest.MonkeyPatch, variables: Variables) -> None:
    for key in list(os.environ):
        if key.startswith(("SLURM_", "TORCHELASTIC_", "OMPI_", "PMI_")):
            monkeypatch.delenv(key)
    for key, value in variables.items():
        monkeypatch.setenv(key, value)


@pytest.mark.parametrize(("variables", "devices", "num_nodes"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_launch_of_another_size_is_refused_and_nothing_is_written(
    variables: Variables,
    devices: int,
    num_nodes: int,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launched(monkeypatch, variables)
    files = (folder / "model.yaml", folder / "data.yaml", folder / "training.yaml")
    sizes = [f"training.devices={devices}", f"training.num_nodes={num_nodes}"]
    with pytest.raises(ConfigError, match="start"):
        train(read_experiment(*files, sizes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("variables", "devices", "num_nodes"), MATCHES.values(), ids=MATCHES)
def test_a_launch_of_the_size_that_is_set_is_taken(
    variables: Variables, devices: int, num_nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, variables)
    require_processes_as_set(MachineConfig(devices=devices, num_nodes=num_nodes))
