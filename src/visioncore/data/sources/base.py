"""The closed union of recording formats: the `type` and `params` of a data YAML.

A new format is one file with its config and its source, and one name here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.data.sources.arrays import ArraysConfig
from visioncore.data.sources.calcium import CalciumConfig
from visioncore.data.sources.simulated import SimulatedConfig
from visioncore.data.sources.subunit_cascade import SubunitCascadeConfig
from visioncore.data.sources.white_noise import SlowRetinaConfig, WhiteNoiseConfig

SourceConfig = Annotated[
    SimulatedConfig
    | WhiteNoiseConfig
    | SlowRetinaConfig
    | CalciumConfig
    | SubunitCascadeConfig
    | ArraysConfig,
    Field(discriminator="type"),
]
