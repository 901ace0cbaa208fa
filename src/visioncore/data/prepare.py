"""From a data config to a prepared recording: session stores that are missing are written, then the plan over them.

Both are built beside their final place and renamed when everything is on the disk; behind a URL a session's manifest
comes last. A session store is named by the content of its session, the plan by that of all of them and by how they are
divided: neither is ever stale.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from visioncore.config import dump_config
from visioncore.data.config import DataConfig, LocatedSource
from visioncore.data.manifest import write_manifest
from visioncore.data.plan import Preparation, plan_recording
from visioncore.data.session_making import Order, is_made, make_session, remove_abandoned, sync_folder
from visioncore.data.signals import SessionSignals
from visioncore.data.store import SESSIONS_FOLDER, RecordingStore
from visioncore.data.usability import require_usable
from visioncore.data.workers import make_sessions
from visioncore.errors import ConfigError, DataError
from visioncore.recording import RecordingSource
from visioncore.remote import AnyPath, RemotePath, placed

PREPARATION = 3
"""Raised when a session may be written otherwise than before, or a recording planned otherwise: all is made anew then,
under other names."""

_logger = logging.getLogger(__name__)


def prepare(config: DataConfig, base_dir: Path, workers: int = 1) -> RecordingStore:
    """The prepared recording: opened where it exists; where it does not, what is missing of it is made.

    Safe to interrupt at any moment and to run twice at once: what has its final name is complete. Paths in the config
    are relative to `base_dir`, the folder of the data YAML.

    Args:
        workers: how many processes write sessions at once. Each needs the memory that one session needs.

    Raises:
        DataError: the recording is inconsistent, or what exists of it is damaged. Sessions that were finished stay.
        ConfigError: `workers` is no positive number, or a script that has no `if __name__ == "__main__"` asks for
            several.
    """
    if workers < 1:
        raise ConfigError(f"workers is {workers}; expected 1 or more processes")
    sources = [(located, located.build(base_dir)) for located in config.recordings]
    wanted = [_Wanted.of(located, source, id_) for located, source in sources for id_ in source.session_ids()]
    _require_own_ids(wanted)
    how = _preparation(config)
    divided = {key: value for key, value in dump_config(how).items() if key != "sources"}
    fingerprint = _digest([PREPARATION, [w.fingerprint for w in wanted], divided])
    folder = placed(base_dir, config.store)
    if isinstance(folder, RemotePath) and folder.of_one_process and workers > 1:
        raise ConfigError(f"{folder}: no other process sees what is in memory; prepare with one worker")
    name = "+".join(dict.fromkeys(located.source.type for located, _ in sources))
    target = folder / f"{name}-{fingerprint[:16]}.json"
    missing = [w for w in wanted if not is_made(w.folder_in(folder))]
    if missing or not target.exists():
        if isinstance(folder, Path):
            _say_what_is_old(folder, name)
        built = [source for _, source in sources]
        _make(built, wanted, missing, how, fingerprint, target, base_dir, workers)
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
    located: LocatedSource
    id: str
    fingerprint: str

    @classmethod
    def of(cls, located: LocatedSource, source: RecordingSource, id_: str) -> "_Wanted":
        content = [PREPARATION, id_, dump_config(source.sampling()), source.fingerprint(id_)]
        return cls(source, located, id_, _digest(content))

    def folder_in(self, folder: AnyPath) -> AnyPath:
        return folder / SESSIONS_FOLDER / f"{self.located.source.type}-{self.fingerprint[:16]}"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _preparation(config: DataConfig) -> Preparation:
    return Preparation(
        sources=tuple(located.content() for located in config.recordings),
        split=config.split,
        burn_in_s=config.burn_in_s,
        normalisation=config.normalisation,
    )


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
    sources: Sequence[RecordingSource],
    wanted: Sequence[_Wanted],
    missing: Sequence[_Wanted],
    how: Preparation,
    fingerprint: str,
    target: AnyPath,
    base_dir: Path,
    workers: int,
) -> None:
    for source in sources:
        source.check()
    sessions = target.parent / SESSIONS_FOLDER
    if isinstance(sessions, Path):
        sessions.mkdir(parents=True, exist_ok=True)
    for place in (sessions, target.parent):
        remove_abandoned(place)
    orders = [Order(w.located, base_dir, w.id, w.fingerprint, w.folder_in(target.parent)) for w in missing]
    with _progress(len(orders)) as progress:
        if min(workers, len(orders)) > 1:
            try:
                make_sessions(orders, workers, progress.session)
            finally:
                remove_abandoned(sessions)
        else:
            for order, session in zip(orders, missing, strict=True):
                make_session(order, session.source, progress.session(order.id))
    stored = [SessionSignals(w.folder_in(target.parent)) for w in wanted]
    plan = plan_recording(stored, how, fingerprint)
    require_usable(RecordingStore.of(plan, stored, target), f"{target.name.partition('-')[0]} recording")
    write_manifest(target, plan)
    if isinstance(target, Path):
        sync_folder(target.parent)


class _Bars:
    """How far each session is that is being written, and how many are finished.

    Of several sessions, one that is finished loses its bar: a terminal has few lines.
    """

    def __init__(self, progress: Progress, n_sessions: int) -> None:
        self._progress, self._n_sessions, self._n_finished = progress, n_sessions, 0
        self._all = progress.add_task(f"0 of {n_sessions} sessions", total=n_sessions, visible=n_sessions > 1)

    def session(self, id_: str) -> "_Bar":
        return _Bar(self._progress, id_, self._finished)

    def _finished(self, task: TaskID) -> None:
        self._n_finished += 1
        said = f"{self._n_finished} of {self._n_sessions} sessions"
        self._progress.update(self._all, completed=self._n_finished, description=said)
        self._progress.update(task, visible=self._n_sessions == 1)


class _Bar:
    """A `Watcher` of one session."""

    def __init__(self, progress: Progress, id_: str, finished: Callable[[TaskID], None]) -> None:
        self._progress, self._id, self._finished = progress, id_, finished
        self._task = progress.add_task(f"session {id_}: reading", total=None)

    def begin(self, n_bins: int) -> None:
        self._progress.update(self._task, description=f"session {self._id}", total=n_bins)

    def advance(self, n_bins: int) -> None:
        self._progress.advance(self._task, n_bins)

    def finish(self) -> None:
        self._finished(self._task)


@contextlib.contextmanager
def _progress(n_sessions: int) -> Iterator[_Bars]:
    columns = (TextColumn("prepare {task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bars(progress, n_sessions)
