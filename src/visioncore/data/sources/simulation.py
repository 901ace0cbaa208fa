"""What sources that simulate have in common: sessions that are computed when they are asked for."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

from pydantic import Field

from visioncore.config import ComponentConfig, dump_config
from visioncore.data.recording import ArrayRecording, RecordingSource
from visioncore.errors import DataError
from visioncore.spec import Sampling

Subjects = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
"""One session per entry, each with units of its own."""


class SimulatedSession(NamedTuple):
    """A session to simulate."""

    id: str
    subject: str
    number: int
    """Its place among the sessions, from 0."""


def numbered(subjects: Sequence[str]) -> tuple[SimulatedSession, ...]:
    """Sessions A1, A2, ..., B1, ... in the order of `subjects`."""
    return tuple(
        SimulatedSession(f"{subject}{subjects[: index + 1].count(subject)}", subject, index)
        for index, subject in enumerate(subjects)
    )


class SimulatedSource(RecordingSource):
    """A `RecordingSource` whose sessions are pure functions of the parameters.

    Args:
        version: raised whenever the same parameters come to yield other recordings.
        pictures: digests of what the generator draws on beside its parameters.
    """

    def __init__(
        self,
        config: ComponentConfig,
        version: int,
        sampling: Sampling,
        sessions: Sequence[SimulatedSession],
        simulate: Callable[[SimulatedSession], ArrayRecording],
        **pictures: str,
    ) -> None:
        self._config, self._version, self._sampling = config, version, sampling
        self._sessions = {session.id: session for session in sessions}
        if len(self._sessions) < len(sessions):
            raise DataError("two subjects' sessions would have one id; name the subjects otherwise")
        self._simulate, self._pictures = simulate, pictures

    def sampling(self) -> Sampling:
        """The simulated screen."""
        return self._sampling

    def session_ids(self) -> tuple[str, ...]:
        """In the order of the config."""
        return tuple(self._sessions)

    def fingerprint(self, session_id: str) -> str:
        """Digest of the parameters, the generator's version, the pictures, and which session it is."""
        config = dump_config(self._config)
        config.get("params", {}).pop("subjects", None)
        content = [self._version, config, self._pictures, self._sessions[session_id]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def session(self, session_id: str) -> ArrayRecording:
        """The session, simulated now."""
        return self._simulate(self._sessions[session_id])
