"""One session from its source to its final name: whole, or not at all."""

import contextlib
import os
import shutil
import socket
from pathlib import Path
from typing import NamedTuple, Protocol

from visioncore.data.config import LocatedSource
from visioncore.data.session_writer import write_session
from visioncore.data.signals import MANIFEST_NAME
from visioncore.errors import DataError, VisionCoreError
from visioncore.recording import RecordingSource
from visioncore.remote import AnyPath, RemotePath


class Order(NamedTuple):
    """A session that is to be written, in words that another process understands."""

    located: LocatedSource
    base_dir: Path
    """That paths in `located` are relative to."""
    id: str
    fingerprint: str
    target: AnyPath
    """The session store."""


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
        if isinstance(order.target, RemotePath):
            _write_marked(order, source, order.target, watcher)
        else:
            _write_atomically(order, source, order.target, watcher)
        watcher.finish()
    except OSError as error:
        raise DataError(f"session '{order.id}': {error}") from error
    except VisionCoreError as error:
        if f"'{order.id}'" in str(error):
            raise
        raise type(error)(f"session '{order.id}': {error}") from error


def is_made(target: AnyPath) -> bool:
    """Whether a session store is there, as a whole."""
    return (target / MANIFEST_NAME).exists() if isinstance(target, RemotePath) else target.exists()


def _write_marked(order: Order, source: RecordingSource, target: RemotePath, watcher: Watcher) -> None:
    """Where nothing can be renamed: under the final name, with the manifest last. What has none is no session store.

    What was interrupted stays, for another process may be writing the same files with the same content; it is written
    over next time. What the data make fail fails for all, and is removed.
    """
    try:
        _write(order, source, target, watcher)
    except DataError:
        if not is_made(target):
            target.remove()
        raise


def _write(order: Order, source: RecordingSource, folder: AnyPath, watcher: Watcher) -> None:
    with contextlib.closing(source.session(order.id)) as recording:
        watcher.begin(recording.n_bins)
        write_session(recording, source.sampling(), order.fingerprint, folder, watcher.advance)


def _write_atomically(order: Order, source: RecordingSource, target: Path, watcher: Watcher) -> None:
    building = target.parent / f".building-{target.name}-{socket.gethostname()}-{os.getpid()}"
    try:
        _write(order, source, building, watcher)
        try:
            building.rename(target)
        except OSError:
            # Another process finished the same store first; its content is the same.
            if not target.exists():
                raise
        sync_folder(target.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def remove_abandoned(folder: AnyPath) -> None:
    """Remove what killed processes of this machine left in a folder (and an earlier process with our own id)."""
    if isinstance(folder, RemotePath):
        return
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
