"""From features to units: where in the field each unit looks, and what it reads there.

Positions and widths are in coordinates of the unpadded stimulus, so they keep their meaning when the feature grid,
the patch or the padding changes.
"""

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from visioncore.config import ComponentConfig
from visioncore.shapes import FeatureShape, VideoShape

UNITS_AT_ONCE = 512
"""Pooled features are formed for this many units at a time, so that 8,000 units stay within memory."""


class GaussianReadoutConfig(ComponentConfig):
    type: Literal["gaussian"] = "gaussian"
    initial_width: PositiveFloat = 0.12
    """Initial standard deviation of a unit's Gaussian, as a share of the field's height."""
    phase_rank: PositiveInt = 4
    """Rank of what tells the bins under one token apart."""

    @classmethod
    def tiny(cls) -> "GaussianReadoutConfig":
        return cls(phase_rank=2)

    def build(self, features: FeatureShape, video: VideoShape, n_units: int) -> "DynamicGaussianReadout":
        return DynamicGaussianReadout(self, features, video, n_units)


ReadoutConfig = Annotated[GaussianReadoutConfig, Field()]


class DynamicGaussianReadout(nn.Module):
    """A rotated Gaussian over the field per unit, and feature weights; gives the drive before the nonlinearity.

    The bins under one token (its phases) share the feature weights W; phase p reads W (I + A_p) with a low-rank A_p
    that starts at zero, plus a bias of its own.
    """

    def __init__(
        self, config: GaussianReadoutConfig, features: FeatureShape, video: VideoShape, n_units: int
    ) -> None:
        super().__init__()
        self.stride = features.stride
        self.field_px = (video.height, video.width)
        self.grid_px: Tensor
        self.register_buffer("grid_px", _grid_px(features), persistent=False)
        channels, rank = features.channels, config.phase_rank
        # Raw position: the field runs from -1 to 1 on both axes.
        self.position = nn.Parameter(torch.zeros(n_units, 2))
        self.log_width = nn.Parameter(torch.full((n_units, 2), math.log(config.initial_width)))
        self.angle = nn.Parameter(torch.zeros(n_units))
        self.weight = nn.Parameter(torch.randn(n_units, channels) * channels**-0.5 * 0.1)
        self.phase_in = nn.Parameter(torch.randn(features.stride, channels, rank) * channels**-0.5)
        self.phase_out = nn.Parameter(torch.zeros(features.stride, rank, channels))
        self.phase_bias = nn.Parameter(torch.zeros(features.stride, n_units))

    def centres_px(self) -> Float[Tensor, "units 2"]:
        """Row and column of each unit's centre in pixels of the stimulus (0 to height, 0 to width)."""
        # Clamped to the field, with the gradient let through, so that a unit at the border can come back.
        inside = self.position + (self.position.clamp(-1, 1) - self.position).detach()
        return (inside + 1) / 2 * inside.new_tensor(self.field_px)

    def widths_px(self) -> Float[Tensor, "units 2"]:
        """Standard deviations along each unit's own two axes, in pixels."""
        return self.log_width.exp() * self.field_px[0]

    def place(self, centres_px: Float[Tensor, "units 2"]) -> None:
        """Put the units' centres at these rows and columns of the stimulus."""
        with torch.no_grad():
            field = self.position.new_tensor(self.field_px)
            self.position.copy_((centres_px.to(self.position) / field * 2 - 1).clamp(-1, 1))

    def masks(self) -> Float[Tensor, "units places"]:
        """How much each unit weighs each place; sums to one, whatever the width, so no unit loses its mask."""
        offset = self.grid_px - self.centres_px()[:, None]
        cos, sin = self.angle.cos()[:, None], self.angle.sin()[:, None]
        along = torch.stack(
            (cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]), dim=-1
        )
        return (-0.5 * (along / self.widths_px()[:, None]).square().sum(-1)).softmax(dim=-1)

    def forward(
        self,
        features: Float[Tensor, "batch dim tokens rows columns"] | Float[Tensor, "batch dim rows columns"],
    ) -> Float[Tensor, "batch units"]:
        """Drive at the newest frame of the last token."""
        newest = features[:, :, None] if features.ndim == 4 else features[:, :, -1:]
        return self.dense(newest)[:, 0]

    def dense(
        self, features: Float[Tensor, "batch dim tokens rows columns"]
    ) -> Float[Tensor, "batch bins units"]:
        """Drive of every bin under every token: token j's phases 0 … stride-1 are consecutive bins."""
        flat = features.flatten(3).permute(0, 2, 3, 1)  # (B, tokens, places, dim)
        masks = self.masks()
        drives = []
        for start in range(0, len(masks), UNITS_AT_ONCE):
            slice_ = slice(start, start + UNITS_AT_ONCE)
            arguments = (flat, masks[slice_], self._phase_weights(slice_))
            if len(masks) > UNITS_AT_ONCE and torch.is_grad_enabled():
                drives.append(checkpoint(_pool_and_weigh, *arguments, use_reentrant=False))
            else:
                drives.append(_pool_and_weigh(*arguments))
        drive = torch.cat(drives, dim=-1) + self.phase_bias
        return drive.flatten(1, 2)

    def _phase_weights(self, units: slice) -> Float[Tensor, "phases units dim"]:
        weight = self.weight[units]
        return weight + (weight @ self.phase_in) @ self.phase_out


def _pool_and_weigh(
    flat: Float[Tensor, "batch tokens places dim"],
    masks: Float[Tensor, "units places"],
    weights: Float[Tensor, "phases units dim"],
) -> Float[Tensor, "batch tokens phases units"]:
    pooled = masks @ flat
    return torch.einsum("btud,pud->btpu", pooled, weights.to(pooled.dtype))


def _grid_px(features: FeatureShape) -> Float[Tensor, "places 2"]:
    axes = []
    for n, (start, stop) in (
        (features.rows, features.row_edges_px),
        (features.columns, features.column_edges_px),
    ):
        step = (stop - start) / n
        axes.append(start + step * (torch.arange(n, dtype=torch.float32) + 0.5))
    return torch.cartesian_prod(*axes)
