"""A small experiment of three unequal sessions, and the processes that train it together."""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from forked import end_process, start_process
from visioncore.config import dump_yaml

Variables = dict[str, str]
MODEL = {
    "sampling_rate": 60,
    "convnet": {
        "type": "vivit",
        "params": {
            **{"embedding_dim": 8, "num_spatial_blocks": 1, "num_temporal_blocks": 1, "num_heads": 1},
            **{"head_dim": 8, "patch_size": [3, 3, 3], "stride": [2, 2, 2], "padding": "same"},
            **{"patch_dropout": 0.0, "ff_dropout": 0.0, "drop_path": 0.0},
        },
    },
    "linear": {"type": "low_rank", "params": {"rank": 1, "num_basis": 4}},
}
TRAINING = {
    **{"max_epochs": 2, "steps_per_epoch": 3, "batch_size": 4, "clip_frames": 30, "learning_rate": 0.01},
    **{"accelerator": "cpu", "initialise": {"linear": False}, "machine": {"timeout_minutes": 1}},
}
# Bins and units: of validation, the first session has many blocks and the last a single one.
SESSIONS = {"long": (2400, 3), "short": (700, 2), "shorter": (480, 4)}


def unequal_sessions(folder: Path) -> Path:
    """Writes the recording and the three YAML files."""
    rng = np.random.default_rng(0)
    sessions = []
    for number, (name, (n_bins, n_units)) in enumerate(SESSIONS.items()):
        video = rng.integers(0, 256, (n_bins, 6, 8), dtype=np.uint8)
        rates = np.full((n_bins, n_units), 0.2)
        rates[1:, 1] = 0.8 * (video[:-1, 2, 3] > 127)
        np.savez(folder / f"{name}.npz", stim=video, spikes=rng.poisson(rates))
        subject = "m1" if number else "m0"
        of_file = {"path": f"{name}.npz", "video": "stim", "responses": "spikes"}
        sessions.append({"id": name, "subject": subject, **of_file})
    data = {
        "type": "arrays",
        "params": {"sampling_rate_hz": 60, "response_kind": "counts", "sessions": sessions},
        "split": {"block_s": 2.0, "split_gap_s": 0.25, "test": 0.2, "validation": 0.2},
        "burn_in_s": 0.1,
    }
    for name, raw in (("model", MODEL), ("data", data), ("training", TRAINING)):
        (folder / f"{name}.yaml").write_text(dump_yaml(raw))
    return folder


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def under_srun(rank: int, port: str) -> Variables:
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


def under_torchrun(rank: int, port: str) -> Variables:
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


class Trained:
    """Two processes that have trained together: how each ended, what it said, which clips it drew."""

    def __init__(
        self,
        folder: Path,
        out: Path,
        overrides: Sequence[str] = (),
        *,
        started: Callable[[int, str], Variables] = under_torchrun,
        moments: Sequence[tuple[str, int] | None] = (None, None),
    ) -> None:
        """`moments`: where each rank comes to harm, as `training_of_a_rank` has them."""
        port = free_port()
        logs = [out.with_name(f"{out.name}.log{rank}") for rank in range(2)]
        noted = [out.with_name(f"{out.name}.drawn{rank}") for rank in range(2)]
        for path in (*logs, *noted):
            path.unlink(missing_ok=True)
        machines = ["training.machine.num_nodes=2", *overrides]
        processes = [
            start_process(
                *(training_of_a_rank, folder, out, noted[rank], machines, started(rank, port)),
                moments[rank],
                out=logs[rank],
                err=logs[rank],
            )
            for rank in range(2)
        ]
        self.codes: list[int | None] = []
        """How each ended."""
        for process in processes:
            process.join(timeout=120)
            self.codes.append(process.exitcode)
        for process in processes:
            end_process(process)
        self.said = [log.read_text(encoding="utf-8") for log in logs]
        self.drawn = [
            [int(line) for line in path.read_text().splitlines()] if path.exists() else [] for path in noted
        ]
        """The numbers of the clips that each has drawn, in their order; those that DataLoader's workers draw are not
        among them.
        """

    def well(self) -> "Trained":
        assert self.codes == [0, 0], "\n".join(self.said)
        return self


def training_of_a_rank(
    folder: Path,
    out: Path,
    drawn: Path,
    overrides: list[str],
    variables: Variables,
    moment: tuple[str, int] | None = None,
) -> None:
    """Train in the environment that a launcher gives, and write down which clips this process draws.

    Args:
        moment: what comes over it ("killed", "told" to stop, "fails", "not finite") at which of its forward passes.
    """
    import sys

    from visioncore.data import ClipDataset
    from visioncore.errors import VisionCoreError
    from visioncore.training.experiment import read_experiment
    from visioncore.training.lit_twin import LitTwin
    from visioncore.training.run import train

    os.environ.update(variables)
    window_of, loss_of, passes = ClipDataset._window, LitTwin.loss, [0]

    def noted(self: ClipDataset, session: Any, number: int) -> Any:
        with drawn.open("a") as file:
            file.write(f"{number}\n")
        return window_of(self, session, number)

    def harmed(self: Any, *arguments: Any) -> Any:
        passes[0] += 1
        loss, extras = loss_of(self, *arguments)
        if moment is not None and passes[0] == moment[1]:
            if moment[0] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if moment[0] == "told":
                os.kill(os.getpid(), signal.SIGUSR1)
                return loss, extras
            if moment[0] == "fails":
                raise OSError("the disk of this machine is gone")
            loss = loss * float("inf")
        return loss, extras

    vars_of: Any = (ClipDataset, LitTwin)
    vars_of[0]._window, vars_of[1].loss = noted, harmed
    files = (folder / "model.yaml", folder / "data.yaml", folder / "training.yaml")
    try:
        train(read_experiment(*files, overrides), out)
    except (VisionCoreError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
