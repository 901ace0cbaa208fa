"""A white-noise experiment on slow ganglion cells of the retina."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import PositiveInt

from visioncore.simulation.base import SimulatedSession
from visioncore.simulation.noise import NoiseConfig, NoisePopulation
from visioncore.simulation.retinal_cells import RetinalCellsConfig, draw_retinal_population


class SlowRetinaConfig(NoiseConfig):
    """`type: slow_retina`; docs/simulator.md describes what it yields."""

    VERSION: ClassVar[int] = 1
    ONLY: ClassVar[SimulatedSession] = SimulatedSession("R1", "R", 0)

    type: Literal["slow_retina"] = "slow_retina"
    height: PositiveInt = 36
    width: PositiveInt = 64
    cells: RetinalCellsConfig = RetinalCellsConfig()

    def population(self, generator: np.random.Generator) -> NoisePopulation:
        """Slow cells, ON, OFF and both."""
        size = (self.n_units, self.height, self.width, self.sampling_rate_hz)
        return draw_retinal_population(self.cells, *size, generator)
