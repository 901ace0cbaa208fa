"""The `arrays` format: a file per session with video, responses and what else is known, bin by bin.

The file is an NPZ, HDF5, MATLAB 7.3, a Zarr group or a folder of .npy files.
"""

import hashlib
import json
import logging
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat

from visioncore.config import ComponentConfig, dump_config
from visioncore.data.sources.array_file import ArrayFile
from visioncore.data.sources.arrays_config import ArraysSessionConfig
from visioncore.data.sources.arrays_session import ArraysSession, video_shape
from visioncore.data.sources.open_array_file import open_array_file
from visioncore.data.sources.turned import TurnedFile
from visioncore.errors import DataError
from visioncore.recording import RecordingSource
from visioncore.spec import Geometry, ResponseKind, Sampling

_KEYS = (
    "video",
    "responses",
    "unit_ids",
    "behaviour",
    "trial_start",
    "trial",
    "split",
    "stimulus_id",
    "group",
    "rates",
)

_logger = logging.getLogger(__name__)


class ArraysConfig(ComponentConfig):
    """Recordings as files of arrays whose signals share one clock."""

    type: Literal["arrays"] = "arrays"
    sampling_rate_hz: PositiveFloat
    response_kind: ResponseKind
    degrees_per_pixel: PositiveFloat | None = None
    sessions: tuple[ArraysSessionConfig, ...] = Field(min_length=1)

    def build(self, base_dir: Path) -> "ArraysSource":
        """The source; `base_dir` is the folder of the YAML, from which paths count."""
        return ArraysSource(self, base_dir)


class ArraysSource(RecordingSource):
    """A `RecordingSource` over files of arrays."""

    def __init__(self, config: ArraysConfig, base_dir: Path) -> None:
        self._config = config
        self._base_dir = base_dir
        self._sessions = {session.id: session for session in config.sessions}
        ids = [session.id for session in config.sessions]
        for twice in sorted({i for i in ids if ids.count(i) > 1}):
            raise DataError(
                f"session id '{twice}' appears {ids.count(twice)} times; give every session its own"
            )

    def sampling(self) -> Sampling:
        """One clock, and the frame size of the first session."""
        first = self._config.sessions[0]
        _, channels, height, width = video_shape(self._file(first.id), first.video)
        return Sampling(channels=channels, height=height, width=width, rate_hz=self._config.sampling_rate_hz)

    def session_ids(self) -> tuple[str, ...]:
        """In the order of the YAML."""
        return tuple(self._sessions)

    def fingerprint(self, session_id: str) -> str:
        """Digest of the settings and of the file's own checksums; where the file lies makes no difference."""
        dumped = dump_config(self._sessions[session_id])
        del dumped["path"]
        if not dumped["axes"]:
            # A key of later versions: without it, stores of before are found again.
            del dumped["axes"]
        shared = dump_config(self._config)["params"]
        del shared["sessions"]
        content = [shared, dumped, self._content(session_id)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def check(self) -> None:
        """Refuse a recording that is named twice: trained on under one id, it would be tested on under the other.

        Raises:
            DataError: naming both sessions.
        """
        contents = [(session, self._content(session.id)) for session in self._config.sessions]
        for (session, one), (other, two) in combinations(contents, 2):
            if not one["responses"] or one["responses"] != two["responses"]:
                continue
            told = (
                f"{self._file(other.id).where}, key '{other.responses}': holds the same responses as session "
                f"'{session.id}' ({Path(session.path).name}, key '{session.responses}')"
            )
            if one == two:
                raise DataError(f"{told}, and so do all other arrays; name a recording once, as one session")
            _logger.warning("%s: are these one recording? Then name it once", told)

    def session(self, session_id: str) -> ArraysSession:
        """The session, its signals read a piece at a time.

        Raises:
            DataError: naming session, key, what was found and what to do.
        """
        config = self._sessions[session_id]
        geometry = config.geometry
        if geometry == Geometry():
            geometry = Geometry(degrees_per_pixel=self._config.degrees_per_pixel)
        return ArraysSession(config, self._file(session_id), self._config.response_kind, geometry)

    def _content(self, session_id: str) -> dict[str, list[Any]]:
        """What identifies each array of a session, by the file's own checksums."""
        session, file = self._sessions[session_id], self._file(session_id)
        keys = {name: key for name in _KEYS if (key := getattr(session, name)) is not None}
        keys |= {f"units.{name}": key for name, key in session.units.items()}
        keys |= {f"trials.{name}": key for name, key in session.trial_columns.items()}
        keys |= {"valid" if k == 0 else f"valid.{k}": key for k, key in enumerate(session.masks)}
        return {"responses": [], **{name: file.digest(key) for name, key in keys.items()}}

    def _file(self, session_id: str) -> ArrayFile:
        session = self._sessions[session_id]
        file = open_array_file(self._base_dir / session.path, session_id)
        return TurnedFile(file, session) if session.axes else file
