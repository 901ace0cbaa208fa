"""A rectifier with a soft bend."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from visioncore.model.outputs.base import BaseOutputConfig, CountOutput

GENTLE = 0.15
"""Sharpness in multiples of the mean count: a compromise between exponential cells and rectifying ones."""


class SoftplusOutputConfig(BaseOutputConfig):
    """rate = log(1 + exp(sharpness · x)) / sharpness, in counts per bin.

    Of units with more than one count per bin, in multiples of their mean, and with a sharpness that falls with its cube
    down to `GENTLE`.
    """

    type: Literal["softplus"] = "softplus"
    sharpness: PositiveFloat = 1.0
    """Inverse width of the bend: an exponential well below 1 / sharpness counts per bin, a straight line well above."""
    learn_sharpness: bool = False
    """Train a sharpness per unit, which starts at `sharpness`."""

    @classmethod
    def tiny(cls) -> "SoftplusOutputConfig":
        return cls(sharpness=3.0, learn_sharpness=True)

    def build(self, n_units: int, count_scale: Sequence[float] = ()) -> "SoftplusOutput":
        return SoftplusOutput(self, n_units, count_scale)


class SoftplusOutput(CountOutput):
    """Source: Dugas et al. 2001, with a sharpness as tuned by Baikulov 2023 (his beta)."""

    def __init__(self, config: SoftplusOutputConfig, n_units: int, count_scale: Sequence[float] = ()) -> None:
        super().__init__(n_units, count_scale)
        # Of units with many counts per bin a bend far below the mean would leave a rectifier.
        gentlest = min(config.sharpness, GENTLE)
        start = (config.sharpness / self.count_scale**3).clamp_min(gentlest)
        self.log_sharpness = nn.Parameter(start.log()) if config.learn_sharpness else None
        self.fixed_sharpness: Tensor
        self.register_buffer("fixed_sharpness", start, persistent=False)

    @property
    def sharpness(self) -> Float[Tensor, " units"]:
        """Of each unit, in multiples of its `count_scale`."""
        return self.fixed_sharpness if self.log_sharpness is None else self.log_sharpness.exp()

    def curve(self, x: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        return functional.softplus(self.sharpness * x) / self.sharpness

    def inverse(self, rate: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
        return rate + torch.log(-torch.expm1(-self.sharpness * rate)) / self.sharpness

    def slope(self, rate: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
        return -torch.expm1(-self.sharpness * rate)
