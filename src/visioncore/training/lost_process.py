"""When one of the processes that train together ends, the others say which, and end too: none waits for ever.

A process that ends with an error leaves its reason in the store through which the processes have found each other. One
that was killed leaves none there, and so is known too.
"""

import contextlib
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import lightning
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from visioncore.errors import TrainingError
from visioncore.run_folder import RunFolder

logger = logging.getLogger(__name__)

OTHERS_MAY_TAKE_S = 3.0
"""To leave their reason."""
MAIN_THREAD_MAY_TAKE_S = 20.0
"""To find out by itself that a process is lost. On GPUs it may stand in a call that does not return."""
_SAID_OF_OTHERS = ("peer", "gloo", "NCCL", "Timed out", "timed out")
_NO_STORE = (RuntimeError, OSError, KeyError)
_LOST = "lost another process"
_started: list[subprocess.Popen] = []
"""The other processes of this machine, where Lightning started them from this one."""


@contextlib.contextmanager
def naming_lost_processes(folder: RunFolder, n_processes: int) -> Iterator[None]:
    """Inside, the end of another process is an error of ours, and an error here is told to the others.

    Args:
        folder: the run, to say from where it goes on.

    Raises:
        TrainingError: another process is gone.
    """
    try:
        yield
    except Exception as error:
        if n_processes == 1:
            raise
        said_of_others = any(said in str(error) for said in _SAID_OF_OTHERS)
        try:
            if isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and said_of_others):
                raise TrainingError(_account(folder, n_processes, error)) from None
            _leave(str(error) or type(error).__name__)
            raise
        finally:
            for process in _started:
                process.kill()


class StartedProcesses(Callback):
    """Watches the processes that Lightning has started from this one, in place of its own watch.

    That one kills this process with SIGKILL: nothing could be said.
    """

    def __init__(self, folder: RunFolder, fine: tuple[int, ...] = (0,)) -> None:
        """`fine`: exit codes that are no failure."""
        self._folder, self._fine = folder, fine

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        launcher: Any = trainer.strategy.launcher
        watched_by_lightning = getattr(launcher, "procs", [])
        if watched_by_lightning:
            _started[:] = launcher.procs = list(watched_by_lightning)
            # Without a process to watch, its watch ends.
            watched_by_lightning.clear()
            threading.Thread(target=self._watch, args=(list(_started),), daemon=True).start()

    def _watch(self, processes: list[subprocess.Popen]) -> None:
        while all(code is None or code in self._fine for code in (process.poll() for process in processes)):
            time.sleep(0.5)
            if all(process.returncode is not None for process in processes):
                return
        time.sleep(MAIN_THREAD_MAY_TAKE_S)
        codes = [process.poll() for process in processes]
        rank, code = next((r, c) for r, c in enumerate(codes, 1) if c is not None and c not in self._fine)
        logger.error("error: process %d ended with code %d. %s", rank, code, _how_to_go_on(self._folder))
        for process in processes:
            process.kill()
        os._exit(1)


def _account(folder: RunFolder, n_processes: int, error: Exception) -> str:
    if not dist.is_initialized():
        return (
            f"not all of {n_processes} processes came together ({_first_line(error)}); look for what the others say, "
            "start all of them at the same time, and let each machine reach the first one, at MASTER_ADDR and "
            f"MASTER_PORT ({os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}). "
            f"{_how_to_go_on(folder)}"
        )
    rank = dist.get_rank()
    reasons = _reasons(n_processes)
    gone = [other for other in range(n_processes) if other != rank and other not in reasons]
    failed = {other: reason for other, reason in reasons.items() if other != rank and reason != _LOST}
    if failed:
        ended = "; ".join(
            f"process {other} ended with an error: {reason}" for other, reason in failed.items()
        )
    elif gone:
        names = f"process{'es' if len(gone) > 1 else ''} {', '.join(map(str, gone))}"
        ended = f"{names} ended, and left no reason: killed, out of memory, the machine is gone, or see its own output"
    else:
        ended = f"the processes no longer reach each other: {_first_line(error)}"
    return (
        f"process {rank} of {n_processes} (they count from 0) cannot go on: {ended}. {_how_to_go_on(folder)}"
    )


def _how_to_go_on(folder: RunFolder) -> str:
    step, _ = folder.training_so_far()
    if step is None or not folder.last.exists():
        return f"Nothing is saved in {folder.path} yet: the same command starts the run again."
    return f"{folder.last} is whole: the same command, for all processes, goes on from there (step {step} or later)."


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


# --- What processes leave for each other --------------------------------------------------------------------------


def _store() -> Any:
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    # PyTorch says on many lines that nobody answers.
    socket.create_connection((address, port), timeout=OTHERS_MAY_TAKE_S).close()
    # A store of its own: that of the process group may stand in a call.
    patience = timedelta(seconds=OTHERS_MAY_TAKE_S)
    return dist.TCPStore(address, port, None, False, patience, wait_for_workers=False)  # type: ignore[attr-defined]


def _key(rank: int) -> str:
    return f"visioncore/ended/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{rank}"


def _leave(reason: str) -> None:
    if dist.is_initialized():
        with contextlib.suppress(*_NO_STORE):
            _store().set(_key(dist.get_rank()), reason)


def _reasons(n_processes: int) -> dict[int, str]:
    """What each process has left; the first holds the store mostly, and where it is gone no other is known of."""
    rank = dist.get_rank()
    try:
        store = _store()
        store.set(_key(rank), _LOST)
        ends = time.monotonic() + OTHERS_MAY_TAKE_S
        left: dict[int, str] = {}
        while len(left) < n_processes and time.monotonic() < ends:
            time.sleep(0.1)
            for other in range(n_processes):
                if other not in left and store.check([_key(other)]):
                    left[other] = store.get(_key(other)).decode()
        return left
    except _NO_STORE:
        return dict.fromkeys(range(1, n_processes), _LOST)
