"""The readouts, a closed union by `type`.

A new one is one file with its config, its module and `tiny()`, and one line here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.model.readouts.base import BaseReadoutConfig, PlacedReadout, Readout
from visioncore.model.readouts.gaussian import DynamicGaussianReadout, GaussianReadoutConfig

ReadoutConfig = Annotated[GaussianReadoutConfig, Field(discriminator="type")]

__all__ = [
    "BaseReadoutConfig",
    "DynamicGaussianReadout",
    "GaussianReadoutConfig",
    "PlacedReadout",
    "Readout",
    "ReadoutConfig",
]
