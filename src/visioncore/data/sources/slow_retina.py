"""A simulated white-noise experiment on slow retinal ganglion cells with known ground truth."""

from pathlib import Path
from typing import Literal

from visioncore.config import ComponentConfig
from visioncore.data.simulator.white_noise import SlowRetinaSessionConfig
from visioncore.data.sources.white_noise import NoiseSource

SLOW_RETINA_VERSION = 1
"""Raised whenever the same parameters come to yield other recordings."""


class SlowRetinaConfig(ComponentConfig, SlowRetinaSessionConfig):
    """`type: slow_retina`; docs/simulator.md describes what it yields."""

    type: Literal["slow_retina"] = "slow_retina"

    def build(self, base_dir: Path) -> NoiseSource:
        """The source; it reads no files, so `base_dir` plays no part."""
        return NoiseSource(self, SLOW_RETINA_VERSION, "R1", "R")
