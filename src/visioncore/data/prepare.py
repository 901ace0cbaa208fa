"""From a data config to a session store: read, check, divide, fit the constants; all or nothing.

A store is built in a folder of its own beside its final place and renamed when everything is on the disk.
Its name holds a fingerprint of the source's content and of every setting that matters, so it is never stale.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import zarr
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from visioncore.config import dump_config
from visioncore.data.config import DataConfig
from visioncore.data.recording import RecordingInfo, RecordingSource
from visioncore.data.session_writer import WrittenSession, write_session
from visioncore.data.splits import assign_blocks
from visioncore.data.store import (
    MANIFEST_NAME,
    STORE_VERSION,
    RecordingStore,
    SessionManifest,
    StoreManifest,
    write_manifest,
)
from visioncore.data.stored_array import file_sha256
from visioncore.data.train_statistics import fit_normalisation, train_response
from visioncore.data.usability import require_usable
from visioncore.errors import DataError
from visioncore.shapes import DataSpec, SessionSpec

FIRST_PREPARATION, PREPARATION = 1, 2
"""Raised when a recording may be prepared otherwise than before: stores are then made anew, under another name."""

_logger = logging.getLogger(__name__)


def prepare(config: DataConfig, base_dir: Path) -> RecordingStore:
    """The session store of a recording: opened where it exists, built where it does not.

    Safe to interrupt at any moment and to run twice at once: a folder under the final name is complete. Paths
    in the config are relative to `base_dir`, the folder of the data YAML.

    Raises:
        DataError: the recording is inconsistent, or an existing store is damaged.
    """
    source = config.source.build(base_dir)
    identity = Identity.of(config, source)
    folder = base_dir / config.store
    target = folder / f"{config.source.type}-{identity.now[:16]}"
    if not target.exists():
        unchecked = folder / f"{config.source.type}-{identity.as_before[:16]}"
        if unchecked.exists():
            _logger.warning(
                "%s was prepared with fewer checks than there are now: preparing anew; delete it when nothing of an "
                "older version needs it",
                unchecked,
            )
        _build_atomically(config, source, identity, target)
    store = RecordingStore(target, cache=config.cache)
    if store.fingerprint not in (identity.now, identity.as_before):
        raise DataError(
            f"{target} holds another recording (fingerprint {store.fingerprint[:16]}); "
            "was it renamed? Move it away and prepare again"
        )
    return store


class Identity(NamedTuple):
    """Names of a prepared recording: hex digests of the source's content and of every setting that matters.

    What the first version of preparation made of a recording, this one makes too, or refuses it; only how groups of
    trials are divided has changed, and only where they had not fitted. So a recording keeps the fingerprint by which
    older runs know it, unless its trials are divided otherwise now.
    """

    as_before: str
    now: str

    @classmethod
    def of(cls, config: DataConfig, source: RecordingSource) -> "Identity":
        """The identity of what `source` yields, prepared by `config`."""
        content = [source.fingerprint(), dump_config(config.split), config.burn_in_s]
        versions = (FIRST_PREPARATION, PREPARATION)
        return cls(
            *(
                hashlib.sha256(json.dumps([version, *content], sort_keys=True).encode()).hexdigest()
                for version in versions
            )
        )


def _build_atomically(config: DataConfig, source: RecordingSource, identity: Identity, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target.parent)
    building = target.parent / f".building-{target.name}-{socket.gethostname()}-{os.getpid()}"
    try:
        _build(config, source, identity, building)
        require_usable(RecordingStore(building), f"{config.source.type} recording")
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
            shutil.rmtree(left, ignore_errors=True)


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


def _build(config: DataConfig, source: RecordingSource, identity: Identity, folder: Path) -> None:
    info = source.info()
    zarr.create_group(str(folder))
    sessions = _write_sessions(source, info, folder)
    burn_in_bins = round(config.burn_in_s * info.sampling_rate_hz)
    trials = {session.id: session.trials for session in sessions}
    blocks = assign_blocks(trials, info.sampling_rate_hz, burn_in_bins, config.split)
    responses = [
        train_response(
            session.arrays,
            blocks[session.id],
            session.unit_ids,
            burn_in_bins,
            info.response_kind,
            f"session '{session.id}'",
        )
        for session in sessions
    ]
    manifests = tuple(
        SessionManifest(
            folder=session.folder.name,
            n_bins=session.n_bins,
            blocks=blocks[session.id],
            train_mean=tuple(response.mean.tolist()),
            silent_units=tuple(np.array(session.unit_ids)[response.silent].tolist()),
            unit_truth=session.unit_truth,
            arrays=session.manifests,
        )
        for session, response in zip(sessions, responses, strict=True)
    )
    groups = ["zarr.json", *(f"{session.folder.name}/zarr.json" for session in sessions)]
    manifest = StoreManifest(
        store_version=STORE_VERSION,
        fingerprint=identity.as_before if blocks.as_before else identity.now,
        settings={
            "source": dump_config(config.source),
            "split": dump_config(config.split),
            "burn_in_s": config.burn_in_s,
        },
        burn_in_bins=burn_in_bins,
        spec=_data_spec(info, sessions),
        normalisation=fit_normalisation(
            [(s.arrays, blocks[s.id]) for s in sessions], [response.mean for response in responses], info
        ),
        sessions=manifests,
        group_sha256={name: file_sha256(folder / name) for name in groups},
    )
    write_manifest(folder / MANIFEST_NAME, manifest)


def _write_sessions(source: RecordingSource, info: RecordingInfo, folder: Path) -> list[WrittenSession]:
    written: list[WrittenSession] = []
    recordings = source.sessions()
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(_progress())
        if isinstance(recordings, Generator):
            stack.callback(recordings.close)  # also on an error, so that the source closes its files now
        while True:
            index = len(written)
            task = progress.add_task(f"session {index + 1}: reading", total=None)
            recording = next(recordings, None)
            if recording is None:
                progress.remove_task(task)
                break
            if recording.id in {session.id for session in written}:
                raise DataError(f"session id '{recording.id}' appears twice; give every session its own")
            progress.update(task, description=f"session {recording.id}", total=recording.n_bins)
            session_folder = folder / f"session_{index:03d}"
            written.append(write_session(recording, info, session_folder, partial(progress.advance, task)))
    if not written:
        raise DataError("the recording has no session")
    kinds = {session.manifests["video"].dtype: session.id for session in written}
    if len(kinds) > 1:
        found = ", ".join(f"{dtype} in session '{session}'" for dtype, session in sorted(kinds.items()))
        raise DataError(f"the sessions' videos are of different types: {found}; all must be on one scale")
    return written


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    columns = (TextColumn("prepare {task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress


def _data_spec(info: RecordingInfo, sessions: list[WrittenSession]) -> DataSpec:
    return DataSpec(
        channels=info.channels,
        height=info.height,
        width=info.width,
        sampling_rate_hz=float(info.sampling_rate_hz),
        response_kind=info.response_kind,
        behaviour_names=info.behaviour_names,
        degrees_per_pixel=info.degrees_per_pixel,
        centre_deg=info.centre_deg,
        sessions=tuple(SessionSpec(id=s.id, subject=s.subject, unit_ids=s.unit_ids) for s in sessions),
    )
