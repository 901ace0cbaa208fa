"""Rotary position embedding: 1-D over time, over the grid of places axial 2-D (or, to compare, 1-D).

Source: Su et al. 2021 (RoFormer), eq. 34; the axial form splits the head between rows and columns
(Heo et al. 2024, "Rotary position embedding for vision transformer").
"""

import torch
from jaxtyping import Complex64, Float, Int
from torch import Tensor

TIME_BASE = 10_000.0
SPACE_BASE = 100.0
"""Grids have tens of rows, not thousands of words: a short base keeps every frequency useful (Heo et al. 2024)."""


Rotation = Complex64[Tensor, "positions half_head_dim"]
"""exp(i · angle) of each position, one complex number per pair of channels."""


def rotate(
    x: Float[Tensor, "*batch positions head_dim"], rotation: Rotation
) -> Float[Tensor, "*batch positions head_dim"]:
    """Turn each pair of channels of `x` by its position's angle; float32 inside, whatever the precision outside."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).to(x.dtype)


def temporal_rotation(positions: Int[Tensor, " positions"], head_dim: int) -> Rotation:
    """Angles of integer time positions. `head_dim` must be even."""
    return _rotation(_angles(positions, head_dim // 2, TIME_BASE))


def axial_rotation(rows: int, columns: int, head_dim: int, device: torch.device) -> Rotation:
    """Angles of a rows x columns grid in raster order: half of the head for each axis. `head_dim` divides by 4."""
    row = torch.arange(rows, device=device).repeat_interleave(columns)
    column = torch.arange(columns, device=device).repeat(rows)
    quarter = head_dim // 4
    return _rotation(
        torch.cat((_angles(row, quarter, SPACE_BASE), _angles(column, quarter, SPACE_BASE)), dim=-1)
    )


def raster_rotation(rows: int, columns: int, head_dim: int, device: torch.device) -> Rotation:
    """Angles of a grid's places by their number in raster order alone, blind to rows and columns: the ablation."""
    return temporal_rotation(torch.arange(rows * columns, device=device), head_dim)


def _angles(positions: Tensor, n_frequencies: int, base: float) -> Tensor:
    # float64 until after the cosine: a float32 product of position and frequency is wrong by hour ten.
    exponent = torch.arange(n_frequencies, dtype=torch.float64, device=positions.device) / n_frequencies
    return positions.double()[:, None] * base**-exponent


def _rotation(angles: Tensor) -> Rotation:
    return torch.complex(angles.cos().float(), angles.sin().float())
