"""Simulated white-noise experiments on retina- and LGN-like cells and on slow retinal ones, with known ground truth."""

from pathlib import Path
from typing import Literal

from visioncore.config import ComponentConfig
from visioncore.data.simulator.white_noise import (
    NoiseSessionConfig,
    SlowRetinaSessionConfig,
    simulate_white_noise,
)
from visioncore.data.sources.simulation import SimulatedSession, SimulatedSource
from visioncore.spec import Sampling

WHITE_NOISE_VERSION = SLOW_RETINA_VERSION = 1
"""Raised whenever the same parameters come to yield other recordings."""


class WhiteNoiseConfig(ComponentConfig, NoiseSessionConfig):
    """`type: white_noise`; docs/simulator.md describes what it yields."""

    type: Literal["white_noise"] = "white_noise"

    def build(self, base_dir: Path) -> SimulatedSource:
        """The source; it reads no files, so `base_dir` plays no part."""
        return _noise_source(self, WHITE_NOISE_VERSION, SimulatedSession("N1", "N", 0))


class SlowRetinaConfig(ComponentConfig, SlowRetinaSessionConfig):
    """`type: slow_retina`; docs/simulator.md describes what it yields."""

    type: Literal["slow_retina"] = "slow_retina"

    def build(self, base_dir: Path) -> SimulatedSource:
        """The source; it reads no files, so `base_dir` plays no part."""
        return _noise_source(self, SLOW_RETINA_VERSION, SimulatedSession("R1", "R", 0))


def _noise_source(
    config: WhiteNoiseConfig | SlowRetinaConfig, version: int, only: SimulatedSession
) -> SimulatedSource:
    """One session; what a pixel is in degrees depends on the eye."""
    return SimulatedSource(
        config,
        version,
        Sampling(channels=1, height=config.height, width=config.width, rate_hz=config.sampling_rate_hz),
        [only],
        lambda session: simulate_white_noise(config, session.id, session.subject),
    )
