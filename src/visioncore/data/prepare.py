"""From a data config to a prepared recording: session stores that are missing are written, then the plan over them.

Both are built beside their final place and renamed when everything is on the disk. A session store is named by the
content of its session, the plan by that of all of them and by how they are divided: neither is ever stale.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from visioncore.config import dump_config
from visioncore.data.config import DataConfig, LocatedSource
from visioncore.data.manifest import write_manifest
from visioncore.data.plan import Preparation, plan_recording
from visioncore.data.session_writer import write_session
from visioncore.data.signals import SessionSignals
from visioncore.data.store import SESSIONS_FOLDER, RecordingStore
from visioncore.data.usability import require_usable
from visioncore.errors import DataError
from visioncore.recording import RecordingSource

PREPARATION = 3
"""Raised when a session may be written otherwise than before, or a recording planned otherwise: all is made anew then,
under other names."""

_logger = logging.getLogger(__name__)


def prepare(config: DataConfig, base_dir: Path) -> RecordingStore:
    """The prepared recording: opened where it exists; where it does not, what is missing of it is made.

    Safe to interrupt at any moment and to run twice at once: what has its final name is complete. Paths in the config
    are relative to `base_dir`, the folder of the data YAML.

    Raises:
        DataError: the recording is inconsistent, or what exists of it is damaged.
    """
    sources = [(located, located.build(base_dir)) for located in config.recordings]
    wanted = [_Wanted.of(located, source, id_) for located, source in sources for id_ in source.session_ids()]
    _require_own_ids(wanted)
    fingerprint = _digest([PREPARATION, [w.fingerprint for w in wanted], _how_it_is_divided(config)])
    folder = base_dir / config.store
    name = "+".join(dict.fromkeys(located.source.type for located, _ in sources))
    target = folder / f"{name}-{fingerprint[:16]}.json"
    missing = [w for w in wanted if not w.folder_in(folder).exists()]
    if missing or not target.exists():
        _say_what_is_old(folder, name)
        _make(config, [source for _, source in sources], wanted, missing, fingerprint, target)
    store = RecordingStore(target, cache=config.cache)
    if store.fingerprint != fingerprint:
        raise DataError(
            f"{target} holds another recording (fingerprint {store.fingerprint[:16]}); "
            "was it renamed? Move it away and prepare again"
        )
    return store


class _Wanted(NamedTuple):
    """A session of the recording, and what its store is called."""

    source: RecordingSource
    type: str
    id: str
    fingerprint: str

    @classmethod
    def of(cls, located: LocatedSource, source: RecordingSource, id_: str) -> "_Wanted":
        content = [PREPARATION, id_, dump_config(source.sampling()), source.fingerprint(id_)]
        return cls(source, located.source.type, id_, _digest(content))

    def folder_in(self, folder: Path) -> Path:
        return folder / SESSIONS_FOLDER / f"{self.type}-{self.fingerprint[:16]}"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _how_it_is_divided(config: DataConfig) -> dict[str, JsonValue]:
    split = dump_config(config.split)
    if not config.split.cut_stimuli:
        del split["cut_stimuli"]  # which recordings of before did not have: they keep their names
    return {
        "split": split,
        "burn_in_s": config.burn_in_s,
        "normalisation": config.normalisation,
    }


def _require_own_ids(wanted: Sequence[_Wanted]) -> None:
    if not wanted:
        raise DataError("the recording has no session")
    ids = [w.id for w in wanted]
    for twice in sorted({i for i in ids if ids.count(i) > 1}):
        raise DataError(f"session id '{twice}' appears {ids.count(twice)} times; give every session its own")


def _say_what_is_old(folder: Path, name: str) -> None:
    for old in folder.glob(f"{name}-*/store.json"):
        _logger.warning(
            "%s was prepared by an older version: preparing anew; delete it when nothing of that version needs it",
            old.parent,
        )


def _make(
    config: DataConfig,
    sources: Sequence[RecordingSource],
    wanted: Sequence[_Wanted],
    missing: Sequence[_Wanted],
    fingerprint: str,
    target: Path,
) -> None:
    for source in sources:
        source.check()
    sessions = target.parent / SESSIONS_FOLDER
    sessions.mkdir(parents=True, exist_ok=True)
    for place in (sessions, target.parent):
        _remove_abandoned(place)
    with _progress() as progress:
        for session in missing:
            _write_atomically(session, session.folder_in(target.parent), progress)
    stored = [SessionSignals(w.folder_in(target.parent)) for w in wanted]
    plan = plan_recording(
        stored,
        Preparation(config.split, config.burn_in_s, config.normalisation),
        fingerprint,
        {
            "sources": [dump_config(located.source) for located in config.recordings],
            **_how_it_is_divided(config),
        },
    )
    require_usable(RecordingStore.of(plan, stored, target), f"{target.name.partition('-')[0]} recording")
    write_manifest(target, plan)
    _sync_folder(target.parent)


def _write_atomically(session: _Wanted, target: Path, progress: Progress) -> None:
    building = target.parent / f".building-{target.name}-{socket.gethostname()}-{os.getpid()}"
    task = progress.add_task(f"session {session.id}: reading", total=None)
    try:
        with contextlib.closing(session.source.session(session.id)) as recording:
            progress.update(task, description=f"session {session.id}", total=recording.n_bins)
            advance = partial(progress.advance, task)
            write_session(recording, session.source.sampling(), session.fingerprint, building, advance)
        try:
            building.rename(target)
        except OSError:
            # Another process finished the same store first; its content is the same.
            if not target.exists():
                raise
        _sync_folder(target.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    columns = (TextColumn("prepare {task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress
