"""A simulated cortical population of another make than the default, to see whether recipes generalise."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from visioncore.config import ComponentConfig
from visioncore.data.behaviour import eye_feature_names
from visioncore.data.recording import RecordingInfo, SessionRecording
from visioncore.data.simulator.cascade_session import CascadeSessionConfig, simulate_cascade_session
from visioncore.data.simulator.drawn import simulation_fingerprint
from visioncore.data.simulator.moving_textures import LeavesLibrary

CASCADE_VERSION = 1
"""Raised whenever the same parameters come to yield other recordings."""


class SubunitCascadeConfig(ComponentConfig, CascadeSessionConfig):
    """`type: subunit_cascade`; docs/simulator.md describes what it yields."""

    type: Literal["subunit_cascade"] = "subunit_cascade"
    subjects: tuple[str, ...] = Field(default=("C", "D", "D"), min_length=1)
    """One session per entry, each with units of its own."""

    @model_validator(mode="after")
    def _subjects_have_names(self) -> Self:
        if not all(self.subjects):
            raise ValueError("a subject's name is empty")
        return self

    def build(self, base_dir: Path) -> "SubunitCascadeSource":
        """The source; it reads no files, so `base_dir` plays no part."""
        return SubunitCascadeSource(self)


class SubunitCascadeSource:
    """A `RecordingSource` that simulates its sessions, one in memory at a time."""

    def __init__(self, config: SubunitCascadeConfig) -> None:
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
        """Digest of the parameters and the generator's version."""
        return simulation_fingerprint(self._config, CASCADE_VERSION)

    def sessions(self) -> Iterator[SessionRecording]:
        """Sessions C1, ..., D1, ... in the order of `subjects`."""
        library = LeavesLibrary(self._config.seed)
        for index, subject in enumerate(self._config.subjects):
            number = self._config.subjects[: index + 1].count(subject)
            yield simulate_cascade_session(self._config, f"{subject}{number}", subject, index, library)
