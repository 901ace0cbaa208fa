"""A learned bend of the drive of a unit's linear filters: piecewise linear over equal steps, the identity until it is
set from data. What a core adds comes after it, so that a drive of the core excites wherever the filters' drive stands.

With a softplus behind it any nonlinearity of one drive can be had: one that stays flat and then rises steeply, or one
that rises to both sides, as in ON–OFF cells. Source: Pillow & Simoncelli 2006 for splines as spiking nonlinearities.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Bend(nn.Module):
    """drive + f(drive), f given at `knots` places from `low` in steps of `step`, and level beyond the two ends.

    A unit whose `step` is zero has no bend, and learns none: the data did not support one.
    """

    never_decayed: ClassVar[frozenset[str]] = frozenset({"values"})

    def __init__(self, n_units: int, knots: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(n_units, knots))
        self.low: Tensor
        self.step: Tensor
        self.register_buffer("low", torch.zeros(n_units))
        self.register_buffer("step", torch.zeros(n_units))

    def place(self, low: Float[Tensor, " units"], high: Float[Tensor, " units"]) -> None:
        """Spread the knots from `low` to `high`, in units of the drive; where the two are equal there is no bend."""
        with torch.no_grad():
            self.low.copy_(low)
            self.step.copy_((high - low) / (self.values.shape[1] - 1))

    def forward(self, drive: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        return drive + bend(drive, self.values, self.low, self.step)


def bend(
    drive: Float[Tensor, "*batch units"],
    values: Float[Tensor, "units knots"],
    low: Float[Tensor, " units"],
    step: Float[Tensor, " units"],
) -> Float[Tensor, "*batch units"]:
    """What is added to the drive."""
    units, knots = values.shape
    used = step > 0
    place = ((drive - low) / step.where(used, 1.0)).clamp(0, knots - 1)
    before = place.detach().floor().clamp(max=knots - 2)
    share = place - before
    index = (before.long() + torch.arange(units, device=drive.device) * knots).flatten()
    # Gathered: the gradient of indexing is many times slower on a CPU.
    flat = values.flatten()
    start, end = (flat.gather(0, i).view_as(share) for i in (index, index + 1))
    between = torch.lerp(start, end, share)
    return between.where(used, 0.0)
