"""What simulated recordings have in common: a config that says how, and sessions computed when they are asked for."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from visioncore.config import ComponentConfig, dump_config
from visioncore.errors import DataError
from visioncore.recording import ArrayRecording, RecordingSource
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


Simulator = Callable[[SimulatedSession], ArrayRecording]
"""A pure function of a session, once the settings are given."""


class PresetConfig(ComponentConfig):
    """Base of the simulated recordings' configs. Must provide `VERSION`, `sessions` and `simulator`; may provide
    `pictures`.

    A preset gives the settings below their defaults, and adds its own.
    """

    VERSION: ClassVar[int]
    """Raised whenever the same settings come to yield other recordings."""

    seed: NonNegativeInt
    sampling_rate_hz: PositiveFloat
    """Of the screen, and of the bins."""
    height: PositiveInt
    width: PositiveInt

    @abstractmethod
    def sessions(self) -> tuple[SimulatedSession, ...]:
        """Which sessions there are, in their order."""

    @abstractmethod
    def simulator(self) -> Simulator:
        """What computes a session. Made once per source, so it may keep what all sessions show."""

    def pictures(self) -> Mapping[str, str]:
        """Digests of what is shown and does not follow from the settings, by a name for each."""
        return {}

    def build(self, base_dir: Path) -> "SimulatedSource":
        """The source; it reads no files of the user's, so `base_dir` plays no part."""
        return SimulatedSource(
            self,
            self.VERSION,
            Sampling(channels=1, height=self.height, width=self.width, rate_hz=self.sampling_rate_hz),
            self.sessions(),
            self.simulator(),
            self.pictures(),
        )


class SimulatedSource(RecordingSource):
    """A `RecordingSource` whose sessions are pure functions of the settings.

    Args:
        version: raised whenever the same settings come to yield other recordings.
        pictures: digests of what the generator draws on beside its settings.

    Raises:
        DataError: two sessions would have one id.
    """

    def __init__(
        self,
        config: ComponentConfig,
        version: int,
        sampling: Sampling,
        sessions: Sequence[SimulatedSession],
        simulate: Simulator,
        pictures: Mapping[str, str],
    ) -> None:
        self._config, self._version, self._sampling = config, version, sampling
        self._sessions = {session.id: session for session in sessions}
        if len(self._sessions) < len(sessions):
            raise DataError("two subjects' sessions would have one id; name the subjects otherwise")
        self._simulate, self._pictures = simulate, dict(pictures)

    def sampling(self) -> Sampling:
        """The simulated screen."""
        return self._sampling

    def session_ids(self) -> tuple[str, ...]:
        """In the order of the config."""
        return tuple(self._sessions)

    def fingerprint(self, session_id: str) -> str:
        """Digest of the settings, the generator's version, the pictures, and which session it is."""
        config = dump_config(self._config)
        config.get("params", {}).pop("subjects", None)
        content = [self._version, config, self._pictures, self._sessions[session_id]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def session(self, session_id: str) -> ArrayRecording:
        """The session, simulated now."""
        return self._simulate(self._sessions[session_id])
