"""One session from its source to its final name: whole, or not at all."""

import contextlib
import os
import shutil
import socket
from pathlib import Path
from typing import NamedTuple, Protocol

from visioncore.data.config import LocatedSource
from visioncore.data.session_writer import write_session
from visioncore.errors import DataError, VisionCoreError
from visioncore.recording import RecordingSource


class Order(NamedTuple):
    """A session that is to be written, in words that another process understands."""

    located: LocatedSource
    base_dir: Path
    """That paths in `located` are relative to."""
    id: str
    fingerprint: str
    target: Path
    """Of the session store."""


class Watcher(Protocol):
    """Is told how far a session is."""

    def begin(self, n_bins: int) -> None:
        """The session is open, and has so many bins."""
        ...

    def advance(self, n_bins: int) -> None:
        """So many more bins of it are being written."""
        ...

    def finish(self) -> None:
        """It has its final name."""
        ...


def make_session(order: Order, source: RecordingSource, watcher: Watcher) -> None:
    """Write one session store under its final name.

    Args:
        source: what `order.located` builds.

    Raises:
        DataError: names the session; nothing is left of it.
    """
    try:
        _write_atomically(order, source, watcher)
        watcher.finish()
    except OSError as error:
        raise DataError(f"session '{order.id}': {error}") from error
    except VisionCoreError as error:
        if f"'{order.id}'" in str(error):
            raise
        raise type(error)(f"session '{order.id}': {error}") from error


def _write_atomically(order: Order, source: RecordingSource, watcher: Watcher) -> None:
    target = order.target
    building = target.parent / f".building-{target.name}-{socket.gethostname()}-{os.getpid()}"
    try:
        with contextlib.closing(source.session(order.id)) as recording:
            watcher.begin(recording.n_bins)
            write_session(recording, source.sampling(), order.fingerprint, building, watcher.advance)
        try:
            building.rename(target)
        except OSError:
            # Another process finished the same store first; its content is the same.
            if not target.exists():
                raise
        sync_folder(target.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes of this machine left behind (and an earlier process with our own id)."""
    for left in folder.glob(f".building-*-{socket.gethostname()}-*"):
        pid = left.name.rpartition("-")[2]
        if pid.isdigit() and (int(pid) == os.getpid() or not _is_running(int(pid))):
            # A session store, or a plan.
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
