"""What an output is: the last stage, from a unit's drive to its expected response.

For counts the drive goes through a nonlinearity whose bend matters. At 240 Hz a bin expects a few hundredths of a
spike, far below the bend of log(1 + exp(x)), which is an exponential there: drives multiply. With a sharpness of
about 1 / (mean count per bin) the bend lies at the mean rate, and drives rather add.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visioncore.config import ComponentConfig

SMALLEST_RATE = 1e-6
"""Counts per bin that a silent unit starts from."""


class BaseOutputConfig(ComponentConfig):
    """Base of the outputs' configs. Must provide `build`, and `tiny` for the tests."""

    @abstractmethod
    def build(self, n_units: int, count_scale: Sequence[float] = ()) -> "CountOutput":
        """The output of `n_units` units; `count_scale` as in `Normalisation`."""


class RateOutput(nn.Module, ABC):
    """Base of all outputs: `bias` and `scale` per unit. Must provide `response_scale`, `initialise` and `forward`."""

    def __init__(self, n_units: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_units))
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(n_units))

    @property
    @abstractmethod
    def response_scale(self) -> Float[Tensor, " units"]:
        """What errors of each unit are measured in, so that none drowns the others in the loss."""

    @abstractmethod
    def initialise(self, mean: Float[Tensor, " units"], std: Float[Tensor, " units"]) -> None:
        """Start every unit at its mean response."""

    def shift(self, drive: Float[Tensor, " units"]) -> None:
        """Move the biases by what a constant drive would."""
        with torch.no_grad():
            self.bias.add_(drive)

    @abstractmethod
    def forward(self, drive: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        """The expected response at this drive, in counts per bin or in the trace's own units."""


class CountOutput(RateOutput):
    """A nonlinearity of bias + scale · drive. Must provide `curve`, its `inverse` and its `slope`.

    Whatever the nonlinearity, at a unit's mean rate a step of the drive changes the rate by what the plain softplus
    would: learning rates, readouts and the filters set from data keep their meaning. That is what `scale` is for.
    Units with more than one count per bin are modelled in multiples of their mean (`count_scale`): one that fires 500
    times per bin is then no other problem than one that fires once.
    """

    def __init__(self, n_units: int, count_scale: Sequence[float] = ()) -> None:
        """`count_scale`: as in `Normalisation`, one per unit; 1 for all when left out."""
        super().__init__(n_units)
        self.count_scale: Tensor
        scales = torch.tensor(tuple(count_scale) or (1.0,) * n_units)
        self.register_buffer("count_scale", scales, persistent=False)

    @property
    def response_scale(self) -> Float[Tensor, " units"]:
        return self.count_scale

    @abstractmethod
    def curve(self, x: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        """Rate at x."""

    @abstractmethod
    def inverse(self, rate: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
        """The x at which `curve` gives this rate."""

    @abstractmethod
    def slope(self, rate: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
        """Derivative of `curve` where it gives this rate."""

    def initialise(self, mean: Float[Tensor, " units"], std: Float[Tensor, " units"]) -> None:
        with torch.no_grad():
            rate = (mean / self.count_scale).clamp_min(SMALLEST_RATE)
            self.bias.copy_(self.inverse(rate))
            self.scale.copy_(-torch.expm1(-rate) / self.slope(rate))

    def shift(self, drive: Float[Tensor, " units"]) -> None:
        super().shift(self.scale * drive)

    def forward(self, drive: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        return self.curve(self.scale * drive + self.bias) * self.count_scale
