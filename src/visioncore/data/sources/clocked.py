"""What sources have in common whose signals have clocks of their own: ids, fingerprints, one `align`."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from visioncore.config import Config, dump_config
from visioncore.data.align import ClockedSession, align
from visioncore.errors import DataError
from visioncore.recording import RecordingSource, SessionRecording
from visioncore.spec import Geometry, Sampling

_WHOLE_BYTES, _PIECES, _PIECE_BYTES = 2**26, 256, 2**16


class ClockedSessionConfig(Config):
    """What every session of such a source has."""

    id: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    geometry: Geometry = Geometry()
    missing: tuple[float, ...] | None = None
    """Values that stand for missing samples. `[]`: there are none."""


class ClockedSource(RecordingSource):
    """A `RecordingSource` of sessions that `align` brings to bins.

    A format provides `open`, which may read times but leaves pictures and long signals to be read later, and `files`.
    """

    sessions: Sequence[ClockedSessionConfig]
    base_dir: Path
    rate_hz: float | None

    @abstractmethod
    def open(self, session: Any) -> ClockedSession:
        """A session, each signal on its own clock.

        Raises:
            DataError: naming session, file and field, what was found and what to do.
        """

    @abstractmethod
    def files(self, session: Any) -> Iterable[Path]:
        """Every file that a session is read from, in an order of its own."""

    @abstractmethod
    def settings(self, session: Any) -> Any:
        """Every setting that changes what is read of a session, without the places of files, as JSON."""

    def session_ids(self) -> tuple[str, ...]:
        """In the order of the YAML."""
        return tuple(self._by_id)

    def sampling(self) -> Sampling:
        """One clock, and the frame size of the first session."""
        channels, height, width = self._opened(next(iter(self._by_id))).frames.pictures.shape
        return Sampling(channels=channels, height=height, width=width, rate_hz=self.rate_hz)

    def fingerprint(self, session_id: str) -> str:
        """Digest of the settings and of the files' content (of large files: of pieces), wherever they lie."""
        session = self._by_id[session_id]
        content = [self.settings(session), [file_digest(path) for path in self.files(session)]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def session(self, session_id: str) -> SessionRecording:
        """The session on bins.

        Raises:
            DataError: naming session, file and field, what was found and what to do.
        """
        if self.rate_hz is None:
            raise DataError(f"session '{session_id}': a source without a rate brings its own bins")
        return align(self._opened(session_id), self.rate_hz)

    def path(self, name: str) -> Path:
        """A path of the YAML."""
        return self.base_dir / name

    @cached_property
    def _by_id(self) -> dict[str, ClockedSessionConfig]:
        by_id: dict[str, ClockedSessionConfig] = {}
        for session in self.sessions:
            if session.id in by_id:
                raise DataError(
                    f"session id '{session.id}' appears more than once; give every session its own"
                )
            by_id[session.id] = session
        return by_id

    @cached_property
    def _open_sessions(self) -> dict[str, ClockedSession]:
        return {}

    def _opened(self, session_id: str) -> ClockedSession:
        if session_id not in self._open_sessions:
            self._open_sessions[session_id] = self.open(self._by_id[session_id])
        return self._open_sessions[session_id]


def settings_without_places(config: Config, session: Config, places: Iterable[str]) -> Any:
    """A source's and a session's settings as JSON, but for the other sessions and the keys that hold paths."""
    shared, own = dump_config(config)["params"], dump_config(session)
    del shared["sessions"]
    for key in places:
        own.pop(key, None)
    return [shared, own]


def file_digest(path: Path) -> str:
    """Of a file's content: of all of it up to 64 MiB, else of its size and of 256 pieces spread over it.

    A large file that was changed in place between the pieces, and kept its size, is not noticed.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if size <= _WHOLE_BYTES:
                return hashlib.file_digest(file, "sha256").hexdigest()
            digest = hashlib.sha256(str(size).encode())
            for piece in range(_PIECES):
                file.seek((size - _PIECE_BYTES) * piece // (_PIECES - 1))
                digest.update(file.read(_PIECE_BYTES))
            return digest.hexdigest()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; paths count from the folder of the data YAML") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
