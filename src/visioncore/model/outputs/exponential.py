"""The exponential."""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from visioncore.model.outputs.base import BaseOutputConfig, CountOutput


class ExponentialOutputConfig(BaseOutputConfig):
    """rate = exp(x), in counts per bin: the canonical link of Poisson counts; nothing bounds how steep it gets."""

    type: Literal["exponential"] = "exponential"

    @classmethod
    def tiny(cls) -> "ExponentialOutputConfig":
        return cls()

    def build(self, n_units: int, count_scale: Sequence[float] = ()) -> "ExponentialOutput":
        return ExponentialOutput(n_units, count_scale)


class ExponentialOutput(CountOutput):
    """Source: Paninski 2004, for its convexity."""

    def curve(self, x: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        return x.exp()

    def inverse(self, rate: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
        return rate.log()

    def slope(self, rate: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
        return rate
