"""Ranks are told apart however they were started: two machines under srun, two under torchrun, one with two devices."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from visioncore.config import dump_yaml
from visioncore.training.experiment import TrainingConfig
from visioncore.training.plan import read_plan

MODEL = {"sampling_rate": 60, "convnet": {"type": "none"}, "linear": {"type": "low_rank"}}
TRAINING = {"max_epochs": 2, "steps_per_epoch": 3, "batch_size": 2, "clip_frames": 30, "accelerator": "cpu"}
STEPS, FORWARD_PASSES = 6, 2
# Writes down which batches this process draws.
SCRIPT = """
import os, sys
from pathlib import Path
from visioncore.data import ClipDataset
from visioncore.training.experiment import read_experiment
from visioncore.training.run import train

folder, out, drawn = (Path(argument) for argument in sys.argv[1:4])
draw = ClipDataset.__getitem__

def noted(self, index):
    with open(drawn, "a") as file:
        file.write(f"{index}\\n")
    return draw(self, index)

ClipDataset.__getitem__ = noted
files = (folder / "model.yaml", folder / "data.yaml", folder / "training.yaml")
train(read_experiment(*files, sys.argv[4:]), out)
"""


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
    started: object, folder: Path, tmp_path: Path
) -> None:
    assert callable(started)
    port, out = free_port(), tmp_path / "run"
    overrides = ["training.num_nodes=2", f"training.accumulate_grad_batches={FORWARD_PASSES}"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, folder, out, tmp_path / f"rank{rank}", *overrides],
            env={**os.environ, "OMP_NUM_THREADS": "1", **started(rank, port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
    drawn = [[int(line) for line in (tmp_path / f"rank{rank}").read_text().splitlines()] for rank in range(2)]
    n_batches = STEPS * FORWARD_PASSES
    assert drawn == [list(range(rank, 2 * n_batches, 2)) for rank in range(2)]
    plan = read_plan(out / "plan.json")
    assert plan is not None
    assert plan.max_steps == STEPS
    assert not list(out.glob("hpc_ckpt*"))


def test_clips_of_a_step_are_those_of_all_passes_devices_and_machines() -> None:
    config = TrainingConfig(batch_size=3, accumulate_grad_batches=5, devices=2, num_nodes=7)
    assert config.clips_per_step == 210
