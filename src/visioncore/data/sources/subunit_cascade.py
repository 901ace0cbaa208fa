"""A simulated cortical population of another make than the default, to see whether recipes generalise."""

from functools import cache
from pathlib import Path
from typing import Literal

from visioncore.config import ComponentConfig
from visioncore.data.simulator.cascade_session import CascadeSessionConfig, simulate_cascade_session
from visioncore.data.simulator.moving_textures import LeavesLibrary
from visioncore.data.sources.simulation import SimulatedSource, Subjects, numbered
from visioncore.spec import Sampling

CASCADE_VERSION = 1
"""Raised whenever the same parameters come to yield other recordings."""


class SubunitCascadeConfig(ComponentConfig, CascadeSessionConfig):
    """`type: subunit_cascade`; docs/simulator.md describes what it yields."""

    type: Literal["subunit_cascade"] = "subunit_cascade"
    subjects: Subjects = ("C", "D", "D")

    def build(self, base_dir: Path) -> SimulatedSource:
        """The source; it reads no files, so `base_dir` plays no part."""
        library = cache(lambda: LeavesLibrary(self.seed))
        return SimulatedSource(
            self,
            CASCADE_VERSION,
            Sampling(channels=1, height=self.height, width=self.width, rate_hz=self.sampling_rate_hz),
            numbered(self.subjects),
            lambda session: simulate_cascade_session(self, *session, library()),
        )
