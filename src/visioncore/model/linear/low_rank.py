"""Per unit a low-rank spatiotemporal filter."""

from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from visioncore.model.bend import Bend
from visioncore.model.linear.base import BaseLinearConfig, LinearPath
from visioncore.model.state import last_steps
from visioncore.shapes import VideoShape

SHORTEST_WINDOW_S = 0.2
"""What `window_s: auto` begins with."""


class LowRankLinearConfig(BaseLinearConfig):
    """`rank` pairs of a spatial and a temporal filter per unit, smooth in time by a raised-cosine basis."""

    type: Literal["low_rank"] = "low_rank"
    rank: PositiveInt = 2
    window_s: PositiveFloat | Literal["auto"] = "auto"
    """How far back the filter sees; `auto` finds it from the training data before training begins
    (`training/window.py`), and is `SHORTEST_WINDOW_S` until then."""
    num_basis: PositiveInt = 12
    knots: Annotated[int, Field(ge=3)] | None = None
    """Of a bend of the filters' drive, for units whose data support one (see `model/bend.py`); none when left out."""
    gain: bool = False
    """Whether the core scales the filters' drive, unit by unit, by what it sees where the unit looks."""

    @classmethod
    def tiny(cls) -> "LowRankLinearConfig":
        return cls(window_s=0.06, num_basis=4)

    def build(self, video: VideoShape, n_units: int, sampling_rate_hz: float) -> "LowRankLinear":
        window_s = SHORTEST_WINDOW_S if self.window_s == "auto" else self.window_s
        return LowRankLinear(
            video=video,
            n_units=n_units,
            rank=self.rank,
            window_s=window_s,
            lags=max(round(window_s * sampling_rate_hz), 1),
            num_basis=self.num_basis,
            knots=self.knots,
        )


def cosine_basis_over_lags(lags: int, num_basis: int) -> Float[Tensor, "basis lags"]:
    """Bumps that tile `lags` frames into the past on a logarithmic axis, finest near lag 0; each sums to one.

    Source: Pillow et al. 2008, supplementary methods.
    """
    if num_basis >= lags:
        return torch.from_numpy(np.eye(lags, dtype=np.float32))
    warped = np.log1p(np.arange(lags) / (lags / 8))
    centres = np.linspace(0, warped[-1], num_basis)
    spacing = centres[1] if num_basis > 1 else warped[-1]
    phase = ((warped - centres[:, None]) / spacing * np.pi / 2).clip(-np.pi, np.pi)
    bumps = (1 + np.cos(phase)) / 2
    return torch.from_numpy((bumps / bumps.sum(axis=1, keepdims=True)).astype(np.float32))


class LowRankLinear(LinearPath):
    """Causal low-rank filters of one session's units. Zero until initialised from data, so that it does no harm."""

    def __init__(
        self,
        *,
        video: VideoShape,
        n_units: int,
        rank: int,
        window_s: float,
        lags: int,
        num_basis: int,
        knots: int | None = None,
    ) -> None:
        super().__init__()
        self.window_s = window_s
        self.n_units, self.rank = n_units, rank
        self.basis: Tensor
        self.register_buffer("basis", cosine_basis_over_lags(lags, num_basis), persistent=False)
        n_pixels = video.channels * video.height * video.width
        # Stored at unit scale: a step of the optimiser moves thousands of pixels at once, and would drown a filter
        # of the size that acts.
        self.spatial_scale = n_pixels**-0.5
        self.spatial = nn.Parameter(torch.randn(n_units, rank, n_pixels))
        self.temporal = nn.Parameter(torch.zeros(n_units, rank, len(self.basis)))
        self.bend = None if knots is None else Bend(n_units, knots)

    @property
    def lags(self) -> int:
        return self.basis.shape[1]

    @property
    def filters(self) -> tuple[nn.Parameter, ...]:
        return (self.spatial,)

    def advance(
        self,
        state: Float[Tensor, "batch recent filters"] | None,
        video: Float[Tensor, "batch channels time height width"],
    ) -> tuple[Float[Tensor, "batch time units"], Float[Tensor, "batch kept filters"]]:
        frames = video.transpose(1, 2).flatten(2)
        projected = frames @ (self.spatial.flatten(0, 1).T * self.spatial_scale)
        if state is None:
            state = projected.new_zeros(len(projected), self.lags - 1, projected.shape[-1])
        history = torch.cat((state, projected), dim=1)
        kernel = (self.temporal.flatten(0, 1) @ self.basis).flip(-1)
        filtered = functional.conv1d(history.transpose(1, 2), kernel[:, None], groups=len(kernel))
        drive = filtered.unflatten(1, (self.n_units, self.rank)).sum(dim=2).transpose(1, 2)
        return drive, last_steps(history, self.lags - 1)

    def bent(self, drive: Float[Tensor, "batch time units"]) -> Float[Tensor, "batch time units"]:
        return drive if self.bend is None else self.bend(drive)
