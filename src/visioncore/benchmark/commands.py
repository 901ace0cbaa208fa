"""`visioncore` in processes of its own, their output in a log that only one of us works on at a time."""

import fcntl
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from visioncore.errors import ConfigError

POLL_S = 0.5
PATIENCE_S = 60.0
"""How long a process that is asked to end may take, before it is ended."""


@contextmanager
def only_here(log_path: Path, what: str) -> Iterator[IO[bytes]]:
    """The log, locked. A process inherits the lock, and so keeps it should the benchmark itself be killed.

    Raises:
        ConfigError: `what` is being worked on elsewhere.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{what} is being worked on by another process, maybe one that a killed benchmark left; wait "
                f"for it or end it (its output: {log_path})"
            ) from None
        yield log


def command(arguments: Sequence[str], log: IO[bytes], tick: Callable[[], None]) -> bool:
    """Run `visioncore` in a process of its own; whether it went well. It ends with us, whatever ends us."""
    log.write(f"$ visioncore {shlex.join(arguments)}\n".encode())
    log.flush()
    process = subprocess.Popen(
        [sys.executable, "-m", "visioncore.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        while process.poll() is None:
            tick()
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return process.returncode == 0
