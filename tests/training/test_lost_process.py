"""When one of two processes ends, the other says so and ends too, and the run goes on as if nothing had been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ranks import Trained, free_port, unequal_sessions
from visioncore.run_folder import RunFolder

pytestmark = pytest.mark.slow
LIMIT_S = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unequal_sessions(tmp_path_factory.mktemp("lost"))


@pytest.fixture(scope="module")
def left_alone(folder: Path) -> Path:
    Trained(folder, folder / "left_alone", ["training.num_workers=1"]).well()
    return folder / "left_alone"


def losses(run: Path) -> list[tuple[int, float, float, float]]:
    epochs = RunFolder(run).history()
    return [(e.step, e.train_loss, e.validation_loss, e.validation_score) for e in epochs]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_is_killed_is_named_by_the_other_and_the_run_goes_on(
    lost: int, folder: Path, left_alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    broken = Trained(folder, out, moments=[("killed", 5) if rank == lost else None for rank in range(2)])
    assert broken.codes[lost] == -signal.SIGKILL
    assert broken.codes[1 - lost] == 1
    (said,) = (line for line in broken.said[1 - lost].splitlines() if line.startswith("error:"))
    assert f"process {1 - lost} of 2" in said
    assert f"process {lost} ended, and left no reason" in said
    assert f"{out}/last.ckpt is whole: the same command" in said
    assert "(step 3 or later)" in said
    assert "Traceback" not in broken.said[1 - lost]
    Trained(folder, out).well()
    assert losses(out) == losses(left_alone)


def test_a_process_that_fails_leaves_its_reason_to_the_other(folder: Path, tmp_path: Path) -> None:
    broken = Trained(folder, tmp_path / "run", moments=(None, ("fails", 2)))
    assert broken.codes == [1, 1]
    assert "process 1 ended with an error: the disk of this machine is gone" in broken.said[0]
    assert "Nothing is saved" in broken.said[0]


def test_a_loss_that_is_not_finite_ends_all_processes_at_that_step(folder: Path, tmp_path: Path) -> None:
    broken = Trained(folder, tmp_path / "run", moments=(None, ("not finite", 5)))
    assert broken.codes == [1, 1]
    assert "the gradient is not finite at step 4" in broken.said[0]
    assert "the loss is inf at step 4 (clips: " in broken.said[1]


def command(folder: Path, out: Path, *settings: str) -> list[str]:
    """The arguments of Python."""
    files = [f"--{name}={folder / f'{name}.yaml'}" for name in ("model", "data", "training")]
    sets = [part for setting in settings for part in ("--set", setting)]
    return ["-m", "visioncore.cli", "train", *files, f"--out={out}", *sets]


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()] if found.exists() else []


def test_what_lightning_starts_is_watched_and_nothing_is_left_behind(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    endless = ("training.machine.devices=2", "training.max_epochs=100000")
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(
            [sys.executable, *command(folder, out, *endless)],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        ends = time.monotonic() + LIMIT_S
        while not (out / "last.ckpt").exists() and first.poll() is None and time.monotonic() < ends:
            time.sleep(0.1)
        (second,) = (
            child
            for child in children(first.pid)
            if b"visioncore.cli" in Path(f"/proc/{child}/cmdline").read_bytes()
        )
        os.kill(second, signal.SIGKILL)
        first.wait(LIMIT_S)
        said = (tmp_path / "log").read_text()
        assert first.returncode == 1, said
        assert "process 1 ended, and left no reason" in said
        assert "Traceback" not in said
        assert not Path(f"/proc/{second}").exists()
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()


def test_two_agents_of_torchrun_train_one_run(folder: Path, left_alone: Path, tmp_path: Path) -> None:
    out, port = tmp_path / "run", free_port()
    agents = []
    for rank in range(2):
        launcher = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}"]
        where = ["--master-addr=127.0.0.1", f"--master-port={port}"]
        with (tmp_path / f"log{rank}").open("w") as log:
            agents.append(
                subprocess.Popen(
                    [
                        sys.executable,
                        *launcher,
                        *where,
                        *command(folder, out, "training.machine.num_nodes=2"),
                    ],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
    try:
        codes = [agent.wait(LIMIT_S) for agent in agents]
        assert codes == [0, 0], [(tmp_path / f"log{rank}").read_text() for rank in range(2)]
    finally:
        for agent in agents:
            if agent.poll() is None:
                os.killpg(agent.pid, signal.SIGKILL)
                agent.wait()
    assert losses(out) == losses(left_alone)
