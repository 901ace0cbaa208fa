"""A simulated white-noise experiment on retina- and LGN-like cells with known ground truth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from visioncore.config import ComponentConfig
from visioncore.data.recording import RecordingInfo, SessionRecording
from visioncore.data.simulator.drawn import simulation_fingerprint
from visioncore.data.simulator.white_noise import (
    NoiseSessionConfig,
    SlowRetinaSessionConfig,
    simulate_white_noise,
)

WHITE_NOISE_VERSION = 1
"""Raised whenever the same parameters come to yield other recordings."""


class WhiteNoiseConfig(ComponentConfig, NoiseSessionConfig):
    """`type: white_noise`; docs/simulator.md describes what it yields."""

    type: Literal["white_noise"] = "white_noise"

    def build(self, base_dir: Path) -> "NoiseSource":
        """The source; it reads no files, so `base_dir` plays no part."""
        return NoiseSource(self, WHITE_NOISE_VERSION, "N1", "N")


class NoiseSource:
    """A `RecordingSource` of one simulated session under noise."""

    def __init__(
        self,
        config: NoiseSessionConfig | SlowRetinaSessionConfig,
        version: int,
        session_id: str,
        subject: str,
    ) -> None:
        self._config, self._version = config, version
        self._session_id, self._subject = session_id, subject

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
        return simulation_fingerprint(self._config, self._version)

    def sessions(self) -> Iterator[SessionRecording]:
        """One session."""
        yield simulate_white_noise(self._config, self._session_id, self._subject)
