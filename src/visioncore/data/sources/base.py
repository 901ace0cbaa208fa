"""The closed union of recording formats: the `type` and `params` of a data YAML.

A new format is one file with its config and its source, and one name here. Simulated recordings have a union of their
own in `simulation/`.
"""

from typing import Annotated

from pydantic import Field

from visioncore.data.sources.arrays import ArraysConfig
from visioncore.data.sources.nwb import NwbConfig
from visioncore.simulation import SimulationConfig

SourceConfig = Annotated[SimulationConfig | ArraysConfig | NwbConfig, Field(discriminator="type")]
