"""The closed union of recording formats: the `type` and `params` of a data YAML.

A new format is one file with its config and its source, and one name here. Simulated recordings have a union of their
own in `simulation/`.
"""

from typing import Annotated

from pydantic import Field

from visioncore.data.sources.arrays import ArraysConfig
from visioncore.data.sources.events_config import EventsConfig
from visioncore.data.sources.experanto import ExperantoConfig
from visioncore.data.sources.nwb import NwbConfig
from visioncore.data.sources.retina import RetinaConfig
from visioncore.data.sources.sensorium import SensoriumConfig
from visioncore.simulation import SimulationConfig

SourceConfig = Annotated[
    SimulationConfig
    | ArraysConfig
    | EventsConfig
    | ExperantoConfig
    | NwbConfig
    | RetinaConfig
    | SensoriumConfig,
    Field(discriminator="type"),
]
