"""The outputs of traces."""

from abc import abstractmethod
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn import functional

from visioncore.config import ComponentConfig
from visioncore.model.outputs.base import RateOutput

_LEAST_MEAN = 0.01
"""In standard deviations of a unit: what a softplus starts from where the mean is smaller, or negative."""


class BaseTraceOutputConfig(ComponentConfig):
    """Base of the outputs of traces. Must provide `build`."""

    @abstractmethod
    def build(self, n_units: int) -> RateOutput:
        """The output of `n_units` units."""


class AffineTraceConfig(BaseTraceOutputConfig):
    """Any value, in units of each trace's standard deviation."""

    type: Literal["affine"] = "affine"

    def build(self, n_units: int) -> "TraceOutput":
        return TraceOutput(n_units)


class SoftplusTraceConfig(BaseTraceOutputConfig):
    """log(1 + exp(sharpness · x)) / sharpness, in units of each trace's standard deviation: never negative.

    Source: a small sharpness, 0.07, is what the winner of Sensorium 2023 settled on (Baikulov 2023).
    """

    type: Literal["softplus"] = "softplus"
    sharpness: PositiveFloat = 0.1

    def build(self, n_units: int) -> "SoftplusTraceOutput":
        return SoftplusTraceOutput(n_units, self.sharpness)


TraceOutputConfig = Annotated[AffineTraceConfig | SoftplusTraceConfig, Field(discriminator="type")]


class TraceOutput(RateOutput):
    """An affine map to the trace's own units, scaled by each unit's standard deviation."""

    @property
    def response_scale(self) -> Float[Tensor, " units"]:
        return self.scale

    def initialise(self, mean: Float[Tensor, " units"], std: Float[Tensor, " units"]) -> None:
        with torch.no_grad():
            self.scale.copy_(std)
            self.bias.copy_(mean / std)

    def forward(self, drive: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        return (drive + self.bias) * self.scale


class SoftplusTraceOutput(TraceOutput):
    """For traces that are never negative. At a unit's mean, a step of the drive counts as in the affine map."""

    def __init__(self, n_units: int, sharpness: float) -> None:
        super().__init__(n_units)
        self.sharpness = sharpness
        self.slope: Tensor
        self.register_buffer("slope", torch.ones(n_units))

    def initialise(self, mean: Float[Tensor, " units"], std: Float[Tensor, " units"]) -> None:
        with torch.no_grad():
            level = (mean / std).clamp_min(_LEAST_MEAN)
            shut = -torch.expm1(-self.sharpness * level)
            self.scale.copy_(std)
            self.bias.copy_(level + torch.log(shut) / self.sharpness)
            self.slope.copy_(shut)

    def shift(self, drive: Float[Tensor, " units"]) -> None:
        super().shift(drive / self.slope)

    def forward(self, drive: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        x = self.bias + drive / self.slope
        return functional.softplus(self.sharpness * x) / self.sharpness * self.scale
