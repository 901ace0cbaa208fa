"""A simulated white-noise experiment on slow retinal ganglion cells with known ground truth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from visioncore.config import ComponentConfig
from visioncore.data.recording import RecordingInfo, SessionRecording
from visioncore.data.simulator.drawn import simulation_fingerprint
from visioncore.data.simulator.white_noise import SlowRetinaSessionConfig, simulate_white_noise

SLOW_RETINA_VERSION = 1
"""Raised whenever the same parameters come to yield other recordings."""


class SlowRetinaConfig(ComponentConfig, SlowRetinaSessionConfig):
    """`type: slow_retina`; docs/simulator.md describes what it yields."""

    type: Literal["slow_retina"] = "slow_retina"

    def build(self, base_dir: Path) -> "SlowRetinaSource":
        """The source; it reads no files, so `base_dir` plays no part."""
        return SlowRetinaSource(self)


class SlowRetinaSource:
    """A `RecordingSource` of one simulated session."""

    def __init__(self, config: SlowRetinaConfig) -> None:
        self._config = config

    def info(self) -> RecordingInfo:
        """The checkerboard, in pixels only: what a pixel is in degrees depends on the eye."""
        return RecordingInfo(
            sampling_rate_hz=self._config.sampling_rate_hz,
            response_kind="counts",
            channels=1,
            height=self._config.height,
            width=self._config.width,
        )

    def fingerprint(self) -> str:
        """Digest of the parameters and the generator's version."""
        return simulation_fingerprint(self._config, SLOW_RETINA_VERSION)

    def sessions(self) -> Iterator[SessionRecording]:
        """One session."""
        yield simulate_white_noise(self._config, "R1", "R")
