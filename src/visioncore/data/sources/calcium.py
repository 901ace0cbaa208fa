"""Simulated calcium imaging of hundreds of V1 cells in running animals, with known ground truth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from visioncore.config import ComponentConfig
from visioncore.data.recording import RecordingInfo, SessionRecording
from visioncore.data.simulator.calcium import CalciumSessionConfig, simulate_calcium_session
from visioncore.data.simulator.drawn import simulation_fingerprint
from visioncore.data.simulator.images import PictureLibrary, photographs_digest
from visioncore.data.simulator.locomotion import BEHAVIOUR_NAMES

CALCIUM_VERSION = 1
"""Raised whenever the same parameters come to yield other recordings."""


class CalciumConfig(ComponentConfig, CalciumSessionConfig):
    """`type: calcium`; docs/simulator.md describes what it yields."""

    type: Literal["calcium"] = "calcium"
    subjects: tuple[str, ...] = Field(default=("A", "B"), min_length=1)
    """One session per entry, each with units of its own."""

    @model_validator(mode="after")
    def _subjects_have_names(self) -> Self:
        if not all(self.subjects):
            raise ValueError("a subject's name is empty")
        return self

    def build(self, base_dir: Path) -> "CalciumSource":
        """The source; it reads no files of the user's, so `base_dir` plays no part."""
        return CalciumSource(self)


class CalciumSource:
    """A `RecordingSource` that simulates its sessions, one in memory at a time."""

    def __init__(self, config: CalciumConfig) -> None:
        self._config = config

    def info(self) -> RecordingInfo:
        """The screen in front of a head-fixed animal, in pixels."""
        return RecordingInfo(
            sampling_rate_hz=self._config.sampling_rate_hz,
            response_kind="trace",
            channels=1,
            height=self._config.height,
            width=self._config.width,
            behaviour_names=BEHAVIOUR_NAMES,
        )

    def fingerprint(self) -> str:
        """Digest of the parameters, the generator's version and the photographs."""
        return simulation_fingerprint(self._config, CALCIUM_VERSION, photographs=photographs_digest())

    def sessions(self) -> Iterator[SessionRecording]:
        """Sessions A1, ..., B1, ... in the order of `subjects`."""
        library = PictureLibrary(self._config.seed)
        for index, subject in enumerate(self._config.subjects):
            number = self._config.subjects[: index + 1].count(subject)
            yield simulate_calcium_session(self._config, f"{subject}{number}", subject, index, library)
