"""Simulated recordings with known ground truth, a closed union by `type`. The generators are frozen.

A new preset is one file with its config and its generator, and one line here.
"""

from visioncore.simulation.base import PresetConfig, SimulatedSource
from visioncore.simulation.calcium import CalciumConfig
from visioncore.simulation.simulated import SimulatedConfig
from visioncore.simulation.slow_retina import SlowRetinaConfig
from visioncore.simulation.subunit_cascade import SubunitCascadeConfig
from visioncore.simulation.white_noise import WhiteNoiseConfig

SimulationConfig = (
    SimulatedConfig | WhiteNoiseConfig | SlowRetinaConfig | CalciumConfig | SubunitCascadeConfig
)

__all__ = [
    "CalciumConfig",
    "PresetConfig",
    "SimulatedConfig",
    "SimulatedSource",
    "SimulationConfig",
    "SlowRetinaConfig",
    "SubunitCascadeConfig",
    "WhiteNoiseConfig",
]
