"""Ranks are told apart however they were started: two machines under srun, two under torchrun, one with two devices."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from forked import end_process, start_process, training_of_a_rank
from visioncore.config import dump_yaml
from visioncore.errors import ConfigError
from visioncore.training.experiment import TrainingConfig, read_experiment
from visioncore.training.launch import require_processes_as_set
from visioncore.training.machine import MachineConfig
from visioncore.training.plan import read_plan
from visioncore.training.run import train

MODEL = {"sampling_rate": 60, "convnet": {"type": "none"}, "linear": {"type": "low_rank"}}
TRAINING = {"max_epochs": 2, "steps_per_epoch": 3, "batch_size": 2, "clip_frames": 30, "accelerator": "cpu"}
STEPS, FORWARD_PASSES = 6, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "s.npz",
        stim=rng.integers(0, 256, (1800, 6, 8), dtype=np.uint8),
        spikes=rng.poisson(0.3, (1800, 3)),
    )
    session = {"id": "s", "subject": "m", "path": "s.npz", "video": "stim", "responses": "spikes"}
    data = {
        "type": "arrays",
        "params": {"sampling_rate_hz": 60, "response_kind": "counts", "sessions": [session]},
        "split": {"block_s": 2.0, "split_gap_s": 0.25},
        "burn_in_s": 0.1,
    }
    for name, raw in (("model", MODEL), ("data", data), ("training", TRAINING)):
        (folder / f"{name}.yaml").write_text(dump_yaml(raw))
    return folder


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def under_srun(rank: int, port: str) -> dict[str, str]:
    """What `srun --nodes=2 --ntasks-per-node=1` sets on each machine."""
    return {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2",
        "SLURM_PROCID": str(rank),
        "SLURM_NODEID": str(rank),
        "SLURM_LOCALID": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }


def under_torchrun(rank: int, port: str) -> dict[str, str]:
    """What `torchrun --nnodes=2 --nproc-per-node=1` sets on each machine."""
    return {
        "TORCHELASTIC_RUN_ID": "7",
        "RANK": str(rank),
        "GROUP_RANK": str(rank),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }


@pytest.mark.slow
@pytest.mark.parametrize("started", [under_srun, under_torchrun])
def test_two_machines_draw_different_batches_and_together_those_of_the_plan(
    started: Callable[[int, str], dict[str, str]], folder: Path, tmp_path: Path
) -> None:
    port, out = free_port(), tmp_path / "run"
    overrides = ["training.num_nodes=2", f"training.accumulate_grad_batches={FORWARD_PASSES}"]
    logs = [tmp_path / f"log{rank}" for rank in range(2)]
    processes = [
        start_process(
            *(training_of_a_rank, folder, out, tmp_path / f"rank{rank}", overrides, started(rank, port)),
            out=logs[rank],
            err=logs[rank],
        )
        for rank in range(2)
    ]
    for process, log in zip(processes, logs, strict=True):
        process.join(timeout=120)
        end_process(process)
        assert process.exitcode == 0, log.read_text(encoding="utf-8")
    drawn = [[int(line) for line in (tmp_path / f"rank{rank}").read_text().splitlines()] for rank in range(2)]
    n_batches = STEPS * FORWARD_PASSES
    assert drawn == [list(range(rank, 2 * n_batches, 2)) for rank in range(2)]
    plan = read_plan(out / "plan.json")
    assert plan is not None
    assert plan.max_steps == STEPS
    assert not list(out.glob("hpc_ckpt*"))


def test_clips_of_a_step_are_those_of_all_passes_devices_and_machines() -> None:
    config = TrainingConfig(
        batch_size=3, accumulate_grad_batches=5, machine=MachineConfig(devices=2, num_nodes=7)
    )
    assert config.clips_per_step == 210


def slurm(tasks: int, per_node: int | None, nodes: int | None) -> dict[str, str]:
    given = {"NTASKS": tasks, "NTASKS_PER_NODE": per_node, "NNODES": nodes, "JOB_NAME": "train", "PROCID": 0}
    return {f"SLURM_{key}": str(value) for key, value in given.items() if value is not None}


def torchrun(processes: int, here: int) -> dict[str, str]:
    return {
        "TORCHELASTIC_RUN_ID": "7",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(here),
        "RANK": "0",
    }


# What a launcher sets, devices, machines.
MISMATCHES: dict[str, tuple[dict[str, str], int, int]] = {
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
MATCHES: dict[str, tuple[dict[str, str], int, int]] = {
    "nothing": ({}, 2, 1),
    "srun of one": (slurm(1, None, None), 1, 1),
    "srun of four": (slurm(4, 2, 2), 2, 2),
    "srun that speaks PMI": ({**slurm(4, 2, 2), "PMI_SIZE": "4"}, 2, 2),
    "an interactive job": ({**slurm(4, None, 1), "SLURM_JOB_NAME": "interactive"}, 2, 1),
    "torchrun of four": (torchrun(4, 2), 2, 2),
    "MPI of one": ({"OMPI_COMM_WORLD_SIZE": "1"}, 2, 1),
}


def launched(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for key in list(os.environ):
        if key.startswith(("SLURM_", "TORCHELASTIC_", "OMPI_", "PMI_")):
            monkeypatch.delenv(key)
    for key, value in variables.items():
        monkeypatch.setenv(key, value)


@pytest.mark.parametrize(("variables", "devices", "num_nodes"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_launch_of_another_size_is_refused_and_nothing_is_written(
    variables: dict[str, str],
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
    variables: dict[str, str], devices: int, num_nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, variables)
    require_processes_as_set(MachineConfig(devices=devices, num_nodes=num_nodes))
