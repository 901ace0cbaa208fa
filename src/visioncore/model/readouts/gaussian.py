"""A Gaussian over the field per unit: where it looks, and what it reads there.

Positions and widths are in coordinates of the unpadded stimulus, so they keep their meaning when the feature grid,
the patch or the padding changes.
"""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from visioncore.model.readouts.base import BaseReadoutConfig, PlacedReadout
from visioncore.model.readouts.column_map import ColumnMap, measured_columns
from visioncore.shapes import FeatureShape, VideoShape
from visioncore.spec import SessionSpec

UNITS_AT_ONCE = 512
"""Pooled features are formed for this many units at a time, so that 8,000 units stay within memory."""
FAINTEST = -60.0
"""Natural logarithm of the least weight of a place beside a unit's greatest; lesser ones are zero. No rate would feel
them, and near the end of float32's range (-87 to -103) they are subnormal, which CPUs are slow to multiply."""


class GaussianReadoutConfig(BaseReadoutConfig):
    type: Literal["gaussian"] = "gaussian"
    initial_width: PositiveFloat = 0.12
    """Initial standard deviation of a unit's Gaussian, as a share of the field's height."""
    phase_rank: PositiveInt = 4
    """Rank of what tells the bins under one token apart."""
    position_columns: tuple[str, ...] = ()
    """What was measured of units (cortical coordinates, say) and says where they look, by a small network per session.
    Left out: each unit has a position of its own."""
    position_hidden: NonNegativeInt = 8
    """Hidden units of that network; with 0 it is a linear map."""

    @classmethod
    def tiny(cls) -> "GaussianReadoutConfig":
        return cls(phase_rank=2)

    def build(
        self,
        features: FeatureShape,
        video: VideoShape,
        session: SessionSpec,
        *,
        gain: bool = False,
        shared: nn.Module | None = None,
    ) -> "DynamicGaussianReadout":
        if self.position_columns:
            columns = measured_columns(session, self.position_columns)
            return MappedGaussianReadout(self, features, video, columns, gain=gain)
        return DynamicGaussianReadout(self, features, video, len(session.unit_ids), gain=gain)


class DynamicGaussianReadout(PlacedReadout):
    """A rotated Gaussian over the field per unit, and feature weights; gives the drive before the nonlinearity.

    The bins under one token (its phases) share the feature weights W; phase p reads W (I + A_p) with a low-rank A_p
    that starts at zero, plus a bias of its own. The gain signal is one per token, and starts at zero.
    """

    never_decayed: ClassVar[frozenset[str]] = frozenset({"position", "log_width", "angle", "phase_bias"})

    def __init__(
        self,
        config: GaussianReadoutConfig,
        features: FeatureShape,
        video: VideoShape,
        n_units: int,
        *,
        gain: bool = False,
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
        self.gain_weight: nn.Parameter | None = nn.Parameter(torch.zeros(n_units, channels)) if gain else None

    def centres_px(self) -> Float[Tensor, "units 2"]:
        # Clamped to the field, with the gradient let through, so that a unit at the border can come back.
        position = self._positions()
        inside = position + (position.clamp(-1, 1) - position).detach()
        return (inside + 1) / 2 * inside.new_tensor(self.field_px)

    def widths_px(self) -> Float[Tensor, "units 2"]:
        return self.log_width.exp() * self.field_px[0]

    def angles(self) -> Float[Tensor, " units"]:
        return self.angle

    def feature_weights(self) -> Float[Tensor, "units dim"]:
        return self.weight

    def place(self, centres_px: Float[Tensor, "units 2"]) -> None:
        with torch.no_grad():
            field = self.log_width.new_tensor(self.field_px)
            self._set_positions((centres_px.to(field) / field * 2 - 1).clamp(-1, 1))

    def _positions(self) -> Float[Tensor, "units 2"]:
        """Row and column of each unit, from -1 to 1 over the field."""
        return self.position

    def _set_positions(self, positions: Float[Tensor, "units 2"]) -> None:
        self.position.copy_(positions)

    def masks(self, moved_px: tuple[int, int] = (0, 0)) -> Float[Tensor, "units places"]:
        """Their sum is one whatever the width, so no unit loses its mask."""
        offset = self.grid_px - self.grid_px.new_tensor(moved_px) - self.centres_px()[:, None]
        cos, sin = self.angle.cos()[:, None], self.angle.sin()[:, None]
        along = torch.stack(
            (cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]), dim=-1
        )
        exponent = -0.5 * (along / self.widths_px()[:, None]).square().sum(-1)
        faint = exponent < exponent.detach().amax(dim=-1, keepdim=True) + FAINTEST
        return exponent.masked_fill(faint, -math.inf).softmax(dim=-1)

    def signals(
        self, features: Float[Tensor, "batch dim tokens rows columns"], moved_px: tuple[int, int] = (0, 0)
    ) -> Float[Tensor, "batch bins signals units"]:
        flat = features.flatten(3).permute(0, 2, 3, 1)  # (B, tokens, places, dim)
        masks = self.masks(moved_px)
        weighed = []
        for start in range(0, len(masks), UNITS_AT_ONCE):
            slice_ = slice(start, start + UNITS_AT_ONCE)
            arguments = (flat, masks[slice_], self._weights(slice_))
            if len(masks) > UNITS_AT_ONCE and torch.is_grad_enabled():
                weighed.append(checkpoint(_pool_and_weigh, *arguments, use_reentrant=False))
            else:
                weighed.append(_pool_and_weigh(*arguments))
        phases, gains = torch.cat(weighed, dim=-1).tensor_split([self.stride], dim=2)
        drive = phases + self.phase_bias
        signals = torch.cat(
            (drive[:, :, :, None], gains[:, :, None].expand(-1, -1, self.stride, -1, -1)), dim=3
        )
        return signals.flatten(1, 2)

    def _weights(self, units: slice) -> Float[Tensor, "weighings units dim"]:
        """Those of the phases, and last those of the gain."""
        weight = self.weight[units]
        phases = weight + (weight @ self.phase_in) @ self.phase_out
        return phases if self.gain_weight is None else torch.cat((phases, self.gain_weight[units][None]))


class MappedGaussianReadout(DynamicGaussianReadout):
    """The same, but positions come from what was measured of the units, and no unit has one of its own."""

    def __init__(
        self,
        config: GaussianReadoutConfig,
        features: FeatureShape,
        video: VideoShape,
        measured: Float[Tensor, "units columns"],
        *,
        gain: bool = False,
    ) -> None:
        super().__init__(config, features, video, len(measured), gain=gain)
        del self.position
        self.position_map = ColumnMap(measured, config.position_hidden)

    def _positions(self) -> Float[Tensor, "units 2"]:
        return self.position_map()

    def _set_positions(self, positions: Float[Tensor, "units 2"]) -> None:
        self.position_map.fit(positions)


def _pool_and_weigh(
    flat: Float[Tensor, "batch tokens places dim"],
    masks: Float[Tensor, "units places"],
    weights: Float[Tensor, "weighings units dim"],
) -> Float[Tensor, "batch tokens weighings units"]:
    pooled = masks @ flat
    return torch.einsum("btud,wud->btwu", pooled, weights.to(pooled.dtype))


def _grid_px(features: FeatureShape) -> Float[Tensor, "places 2"]:
    axes = []
    for n, (start, stop) in (
        (features.rows, features.row_edges_px),
        (features.columns, features.column_edges_px),
    ):
        step = (stop - start) / n
        axes.append(start + step * (torch.arange(n, dtype=torch.float32) + 0.5))
    return torch.cartesian_prod(*axes)
