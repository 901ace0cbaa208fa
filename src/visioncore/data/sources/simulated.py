"""The embedded default recording: a simulated V1 population with known ground truth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from visioncore.config import ComponentConfig
from visioncore.data.behaviour import eye_feature_names
from visioncore.data.recording import RecordingInfo, SessionRecording
from visioncore.data.simulator.drawn import simulation_fingerprint
from visioncore.data.simulator.images import PictureLibrary, photographs_digest
from visioncore.data.simulator.session import SessionConfig, simulate_session

SIMULATOR_VERSION = 2
"""Raised whenever the same parameters come to yield other recordings."""


class SimulatedConfig(ComponentConfig, SessionConfig):
    """`type: simulated`; docs/simulator.md describes what it yields."""

    type: Literal["simulated"] = "simulated"
    subjects: tuple[str, ...] = Field(default=("A", "A", "B"), min_length=1)
    """One session per entry, each with units of its own."""

    @model_validator(mode="after")
    def _subjects_have_names(self) -> Self:
        if not all(self.subjects):
            raise ValueError("a subject's name is empty")
        return self

    def build(self, base_dir: Path) -> "SimulatedSource":
        """The source; it reads no files of the user's, so `base_dir` plays no part."""
        return SimulatedSource(self)


class SimulatedSource:
    """A `RecordingSource` that simulates its sessions, one in memory at a time."""

    def __init__(self, config: SimulatedConfig) -> None:
        self._config = config

    def info(self) -> RecordingInfo:
        """The gaze-contingent field, centred on the fovea."""
        return RecordingInfo(
            sampling_rate_hz=self._config.sampling_rate_hz,
            response_kind="counts",
            channels=1,
            height=self._config.height,
            width=self._config.width,
            behaviour_names=eye_feature_names(),
            degrees_per_pixel=self._config.degrees_per_pixel,
            centre_deg=(0.0, 0.0),
        )

    def fingerprint(self) -> str:
        """Digest of the parameters, the simulator's version and the photographs."""
        return simulation_fingerprint(self._config, SIMULATOR_VERSION, photographs=photographs_digest())

    def sessions(self) -> Iterator[SessionRecording]:
        """Sessions A1, A2, ..., B1, ... in the order of `subjects`."""
        library = PictureLibrary(self._config.seed)
        for index, subject in enumerate(self._config.subjects):
            number = self._config.subjects[: index + 1].count(subject)
            yield simulate_session(self._config, f"{subject}{number}", subject, index, library)
