"""The last stage: from a unit's drive to its expected response.

For counts the drive goes through a nonlinearity whose bend matters. At 240 Hz a bin expects a few hundredths of a
spike, far below the bend of log(1 + exp(x)), which is an exponential there: drives multiply. With a sharpness of
about 1 / (mean count per bin) the bend lies at the mean rate, and drives rather add.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from visioncore.config import ComponentConfig

SMALLEST_RATE = 1e-6
"""Counts per bin that a silent unit starts from."""
GENTLE = 0.15
"""Sharpness in multiples of the mean count: a compromise between exponential cells and rectifying ones."""


class SoftplusOutputConfig(ComponentConfig):
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


class ExponentialOutputConfig(ComponentConfig):
    """rate = exp(x), in counts per bin: the canonical link of Poisson counts; nothing bounds how steep it gets."""

    type: Literal["exponential"] = "exponential"

    @classmethod
    def tiny(cls) -> "ExponentialOutputConfig":
        return cls()

    def build(self, n_units: int, count_scale: Sequence[float] = ()) -> "ExponentialOutput":
        return ExponentialOutput(n_units, count_scale)


OutputConfig = Annotated[SoftplusOutputConfig | ExponentialOutputConfig, Field(discriminator="type")]


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


class ExponentialOutput(CountOutput):
    """Source: Paninski 2004, for its convexity."""

    def curve(self, x: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        return x.exp()

    def inverse(self, rate: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
        return rate.log()

    def slope(self, rate: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
        return rate
