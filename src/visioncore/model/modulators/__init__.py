"""The modulators, a closed union by `type`.

A new one is one file with its config, its module and `tiny()`, and one line here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.model.modulators.base import BaseModulatorConfig, Modulator
from visioncore.model.modulators.concat import ConcatConfig
from visioncore.model.modulators.convgru import ConvGRUConfig
from visioncore.model.modulators.film import FiLM, FiLMConfig
from visioncore.model.modulators.none import NoModulatorConfig

ModulatorConfig = Annotated[
    NoModulatorConfig | ConvGRUConfig | FiLMConfig | ConcatConfig, Field(discriminator="type")
]

__all__ = [
    "BaseModulatorConfig",
    "ConcatConfig",
    "ConvGRUConfig",
    "FiLM",
    "FiLMConfig",
    "Modulator",
    "ModulatorConfig",
    "NoModulatorConfig",
]
