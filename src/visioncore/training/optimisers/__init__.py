"""The optimisers, a closed union by `type`.

A new one is one file with its config and its class, and one line here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.training.optimisers.adamw import AdamWConfig
from visioncore.training.optimisers.base import BaseOptimiserConfig
from visioncore.training.optimisers.muon import MuonConfig

OptimiserConfig = Annotated[AdamWConfig | MuonConfig, Field(discriminator="type")]

__all__ = ["AdamWConfig", "BaseOptimiserConfig", "MuonConfig", "OptimiserConfig"]
