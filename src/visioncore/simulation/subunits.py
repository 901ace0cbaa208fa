"""A mosaic of small centre-surround subunits with rectified ON and OFF outputs, as LGN cells are to the cortex."""

import numpy as np
from jaxtyping import Float64, UInt8
from pydantic import NonNegativeFloat, PositiveFloat

from visioncore.simulation.drawn import DrawnConfig
from visioncore.simulation.projection import on_grid, project
from visioncore.simulation.temporal import gamma
from visioncore.stimuli import GREY


class SubunitsConfig(DrawnConfig):
    """One make of subunit, everywhere in the field."""

    spacing_px: PositiveFloat = 2.0
    """Of the mosaic of subunits."""
    centre_sigma_px: PositiveFloat = 0.9
    surround_sigma_px: PositiveFloat = 1.9
    surround_weight: NonNegativeFloat = 0.9
    early_delay_s: PositiveFloat = 0.022
    late_delay_s: PositiveFloat = 0.045
    """Mean delays of the two lobes of the subunits' kernel, gammas of orders 3 and 4."""
    transience: NonNegativeFloat = 0.7
    knee: PositiveFloat = 0.05
    """Contrast below which a subunit's output grows as the square, and above which in proportion."""


def mosaic(
    config: SubunitsConfig, height: int, width: int
) -> tuple[Float64[np.ndarray, " subunits"], Float64[np.ndarray, " subunits"]]:
    """Rows and columns of the subunits' centres, a square lattice."""
    rows, columns = (np.arange(config.spacing_px / 2, size, config.spacing_px) for size in (height, width))
    grid = np.meshgrid(rows, columns, indexing="ij")
    return grid[0].ravel(), grid[1].ravel()


def subunit_filters(
    config: SubunitsConfig, height: int, width: int
) -> Float64[np.ndarray, "pixels subunits"]:
    """Differences of Gaussians, of unit absolute sum."""
    rows, columns = mosaic(config, height, width)
    down = np.arange(height)[:, None, None] + 0.5 - rows
    right = np.arange(width)[None, :, None] + 0.5 - columns
    square = down**2 + right**2
    centre, surround = (
        np.exp(-square / (2 * sigma**2)) / sigma**2
        for sigma in (config.centre_sigma_px, config.surround_sigma_px)
    )
    # Each lobe has its volume at the field's edge too, where a uniform field would else drive the subunits more.
    centre, surround = centre / centre.sum((0, 1)), surround / surround.sum((0, 1))
    filters = (centre - config.surround_weight * surround).reshape(-1, len(rows))
    return on_grid(filters / np.abs(filters).sum(0))


def subunit_kernel(
    config: SubunitsConfig, signal: Float64[np.ndarray, "*batch time"], sampling_rate_hz: float
) -> Float64[np.ndarray, "*batch time"]:
    """The signal through the subunits' biphasic temporal kernel."""
    early = gamma(signal, config.early_delay_s * sampling_rate_hz, 3)
    late = gamma(signal, config.late_delay_s * sampling_rate_hz, 4)
    return early - config.transience * late


def on_off(
    config: SubunitsConfig,
    video: UInt8[np.ndarray, "trials time height width"],
    filters: Float64[np.ndarray, "pixels subunits"],
    sampling_rate_hz: float,
) -> Float64[np.ndarray, "trials time twice_subunits"]:
    """Rectified outputs of the mosaic, ON before OFF, as multiples of 2^-20; each trial starts from rest."""
    spatial = project(video.reshape(-1, len(filters)), filters) / GREY
    signal = np.ascontiguousarray(np.moveaxis(spatial.reshape(*video.shape[:2], -1), 1, 2))
    linear = np.moveaxis(subunit_kernel(config, signal, sampling_rate_hz), 2, 1)
    sides = np.concatenate([np.maximum(linear, 0), np.maximum(-linear, 0)], -1)
    return on_grid(sides**2 / (sides + config.knee))
