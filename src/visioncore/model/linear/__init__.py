"""The linear paths, a closed union by `type`: what is added to a core's drive before the nonlinearity.

A new one is one file with its config and its module, and one line here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.model.linear.base import BaseLinearConfig, LinearPath, gain_factor
from visioncore.model.linear.low_rank import SHORTEST_WINDOW_S, LowRankLinear, LowRankLinearConfig
from visioncore.model.linear.none import NoLinearConfig

LinearConfig = Annotated[NoLinearConfig | LowRankLinearConfig, Field(discriminator="type")]

__all__ = [
    "SHORTEST_WINDOW_S",
    "BaseLinearConfig",
    "LinearConfig",
    "LinearPath",
    "LowRankLinear",
    "LowRankLinearConfig",
    "NoLinearConfig",
    "gain_factor",
]
