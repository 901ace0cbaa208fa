"""A white-noise experiment on cells of retina, LGN or V1's input layer."""

from typing import ClassVar, Literal

import numpy as np

from visioncore.simulation.base import SimulatedSession
from visioncore.simulation.early_cells import EarlyCellsConfig, draw_early_population
from visioncore.simulation.noise import NoiseConfig, NoisePopulation


class WhiteNoiseConfig(NoiseConfig):
    """`type: white_noise`; docs/simulator.md describes what it yields."""

    VERSION: ClassVar[int] = 1
    ONLY: ClassVar[SimulatedSession] = SimulatedSession("N1", "N", 0)

    type: Literal["white_noise"] = "white_noise"
    cells: EarlyCellsConfig = EarlyCellsConfig()

    def population(self, generator: np.random.Generator) -> NoisePopulation:
        """Fast cells of several classes."""
        size = (self.n_units, self.height, self.width, self.sampling_rate_hz)
        return draw_early_population(self.cells, *size, generator)
