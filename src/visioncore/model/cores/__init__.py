"""The cores, a closed union by `type`.

A new core is one file with its config, its module and `tiny()`, and one line here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.model.cores.base import BaseCoreConfig, Core
from visioncore.model.cores.blind import BlindConfig
from visioncore.model.cores.none import NoCoreConfig
from visioncore.model.cores.resnet import ResNetConfig
from visioncore.model.cores.vivit import ViViTConfig
from visioncore.model.cores.x3d import X3DConfig

CoreConfig = Annotated[
    ViViTConfig | ResNetConfig | X3DConfig | BlindConfig | NoCoreConfig, Field(discriminator="type")
]

__all__ = [
    "BaseCoreConfig",
    "BlindConfig",
    "Core",
    "CoreConfig",
    "NoCoreConfig",
    "ResNetConfig",
    "ViViTConfig",
    "X3DConfig",
]
