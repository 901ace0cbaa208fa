"""The `arrays` format: one NPZ per session with video, responses and what else is known, bin by bin."""

import hashlib
import json
import logging
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat

from visioncore.config import ComponentConfig
from visioncore.data.recording import RecordingInfo, SessionRecording
from visioncore.data.sources.aligned import (
    ArraysSessionConfig,
    behaviour_names_of,
    read_session,
    video_shape,
)
from visioncore.data.sources.npz import NpzFile
from visioncore.errors import DataError

_KEYS = (
    "video",
    "responses",
    "unit_ids",
    "behaviour",
    "valid",
    "trial_start",
    "trial",
    "split",
    "stimulus_id",
    "group",
    "rates",
)

_logger = logging.getLogger(__name__)


class ArraysConfig(ComponentConfig):
    """Recordings as NPZ files of aligned arrays."""

    type: Literal["arrays"] = "arrays"
    sampling_rate_hz: PositiveFloat
    response_kind: Literal["counts", "trace"]
    degrees_per_pixel: PositiveFloat | None = None
    sessions: tuple[ArraysSessionConfig, ...] = Field(min_length=1)

    def build(self, base_dir: Path) -> "ArraysSource":
        """The source; `base_dir` is the folder of the YAML, from which paths count."""
        return ArraysSource(self, base_dir)


class ArraysSource:
    """A `RecordingSource` over NPZ files."""

    def __init__(self, config: ArraysConfig, base_dir: Path) -> None:
        self._config = config
        self._base_dir = base_dir
        ids = [session.id for session in config.sessions]
        for twice in sorted({i for i in ids if ids.count(i) > 1}):
            raise DataError(
                f"session id '{twice}' appears {ids.count(twice)} times; give every session its own"
            )

    def info(self) -> RecordingInfo:
        """What the sessions have in common, as the first one has it.

        Raises:
            DataError: a session's behaviour is named otherwise than the first one's, or in another order.
        """
        first = self._config.sessions[0]
        file = self._file(first)
        _, channels, height, width = video_shape(file, first.video)
        behaviour_names = behaviour_names_of(first, file)
        for other in self._config.sessions[1:]:
            self._require_behaviour_names(other, behaviour_names)
        return RecordingInfo(
            sampling_rate_hz=self._config.sampling_rate_hz,
            response_kind=self._config.response_kind,
            channels=channels,
            height=height,
            width=width,
            behaviour_names=behaviour_names,
            degrees_per_pixel=self._config.degrees_per_pixel,
        )

    def fingerprint(self) -> str:
        """Digest of the settings and of the files' own checksums; where the files lie makes no difference."""
        settings = self._config.model_dump(mode="json")
        for session, dumped in zip(self._config.sessions, settings["params"]["sessions"], strict=True):
            del dumped["path"]
            for newer in ("missing", "group"):
                if dumped[newer] is None:
                    del dumped[newer]  # as in fingerprints of before there was the key
            dumped["content"] = self._content(session)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def sessions(self) -> Iterator[SessionRecording]:
        """Each session with everything but its video in memory.

        Raises:
            DataError: naming session, key, what was found and what to do.
        """
        self._require_different_recordings()
        for session in self._config.sessions:
            recording = read_session(session, self._file(session), self._config.response_kind)
            try:
                yield recording
            finally:
                recording.stream.close()

    def _require_different_recordings(self) -> None:
        """Trained on under one id, a recording would be tested on under the other."""
        contents = [(session, self._content(session)) for session in self._config.sessions]
        for (session, one), (other, two) in combinations(contents, 2):
            if one["responses"] != two["responses"]:
                continue
            told = (
                f"{self._file(other).where}, key '{other.responses}': holds the same responses as session "
                f"'{session.id}' ({Path(session.path).name}, key '{session.responses}')"
            )
            if one == two:
                raise DataError(f"{told}, and so do all other arrays; name a recording once, as one session")
            _logger.warning("%s: are these one recording? Then name it once", told)

    def _content(self, session: ArraysSessionConfig) -> dict[str, list[Any]]:
        """What identifies each array of a session, by the files' own checksums."""
        file = self._file(session)
        return {name: file.digest(key) for name in _KEYS if (key := getattr(session, name)) is not None}

    def _require_behaviour_names(self, session: ArraysSessionConfig, expected: tuple[str, ...]) -> None:
        """Columns are matched across sessions by place, so their names must be the same, order included."""
        file = self._file(session)
        found = behaviour_names_of(session, file)
        # Behaviour that only some sessions have is refused when they are read.
        if found and expected and found != expected:
            raise DataError(
                f"{file.where}, key '{session.behaviour}': its signals are {', '.join(found)}, but those of "
                f"session '{self._config.sessions[0].id}' are {', '.join(expected)}; give every session the "
                "same behaviour_names in the same order, and its columns in that order"
            )

    def _file(self, session: ArraysSessionConfig) -> NpzFile:
        return NpzFile(self._base_dir / session.path, session.id)
