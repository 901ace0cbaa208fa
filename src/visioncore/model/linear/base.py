"""What a linear path is: video in, a drive for every unit of one session out, at full frame rate.

With no core it is the linear-nonlinear model; with one, the core learns what is left, and may scale it.
"""

import math
from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from visioncore.config import ComponentConfig
from visioncore.shapes import VideoShape


class BaseLinearConfig(ComponentConfig):
    """Base of the linear paths' configs. Must provide `build`, and `tiny` for the tests."""

    @abstractmethod
    def build(self, video: VideoShape, n_units: int, sampling_rate_hz: float) -> "LinearPath | None":
        """The linear path of one session's units."""


class LinearPath(nn.Module, ABC):
    """Base of all linear paths. Must provide `window_s`, `lags` and `advance`, and `bent` where it bends the drive."""

    window_s: float
    """How far back it sees, as it was asked for."""

    @property
    @abstractmethod
    def lags(self) -> int:
        """Frames that it sees, the present one included."""

    @abstractmethod
    def advance(
        self,
        state: Float[Tensor, "batch recent filters"] | None,
        video: Float[Tensor, "batch channels time height width"],
    ) -> tuple[Float[Tensor, "batch time units"], Float[Tensor, "batch kept filters"]]:
        """Drive at every bin of the chunk, from the frames up to that bin; before the video stands mean grey.

        It is still to be scaled, where a core does that, and then to be `bent`.
        """

    @property
    def filters(self) -> tuple[nn.Parameter, ...]:
        """What training holds where it is told to leave filters as they were set from data (`fixed_filters`)."""
        return ()

    def bent(self, drive: Float[Tensor, "batch time units"]) -> Float[Tensor, "batch time units"]:
        """The drive after each unit's bend, where it has one."""
        return drive


def gain_factor(signal: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """What a drive is multiplied by: 1 where the signal is 0, and never negative.

    A linear drive under such a gain is the usual form of contrast normalisation (Heeger 1992) and gain control.
    """
    return functional.softplus(signal + math.log(math.e - 1))
