"""The embedded default recording: a simulated V1 population with known ground truth."""

from functools import cache
from pathlib import Path
from typing import Literal

from visioncore.config import ComponentConfig
from visioncore.data.simulator.images import PictureLibrary, photographs_digest
from visioncore.data.simulator.session import SessionConfig, simulate_session
from visioncore.data.sources.simulation import SimulatedSource, Subjects, numbered
from visioncore.spec import Sampling

SIMULATOR_VERSION = 2
"""Raised whenever the same parameters come to yield other recordings."""


class SimulatedConfig(ComponentConfig, SessionConfig):
    """`type: simulated`; docs/simulator.md describes what it yields."""

    type: Literal["simulated"] = "simulated"
    subjects: Subjects = ("A", "A", "B")

    def build(self, base_dir: Path) -> SimulatedSource:
        """The source; it reads no files of the user's, so `base_dir` plays no part."""
        library = cache(lambda: PictureLibrary(self.seed))
        return SimulatedSource(
            self,
            SIMULATOR_VERSION,
            Sampling(channels=1, height=self.height, width=self.width, rate_hz=self.sampling_rate_hz),
            numbered(self.subjects),
            lambda session: simulate_session(self, *session, library()),
            photographs=photographs_digest(),
        )
