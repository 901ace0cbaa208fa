"""The grid layers of ViViT, a closed union by `type`.

A new one is one file with its config, its module and `tiny()`, and one line here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.model.grid_layers.base import GridLayer
from visioncore.model.grid_layers.space import SpaceLayerConfig
from visioncore.model.grid_layers.time import TimeLayerConfig

GridLayerConfig = Annotated[SpaceLayerConfig | TimeLayerConfig, Field(discriminator="type")]

__all__ = ["GridLayer", "GridLayerConfig", "SpaceLayerConfig", "TimeLayerConfig"]
