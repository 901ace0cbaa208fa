"""Parametric visual stimuli in contrast units: 0 is mean grey, -1 black, +1 white.

Positions are continuous pixel coordinates of the field (pixel i covers [i, i+1), row 0 at the top).
Orientation is the direction of modulation, in degrees, counter-clockwise from rightwards as seen on the
screen: 0 gives vertical bars, and a grating of direction 0 drifts to the right.
"""

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from scipy.ndimage import gaussian_filter

GREY = 127
"""The uint8 value of zero contrast; contrast +-1 is GREY +- GREY."""


def to_uint8(contrast: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Contrast as the grey levels a screen shows; what lies outside [-1, 1] saturates."""
    return np.rint(np.clip(contrast, -1, 1) * GREY + GREY).astype(np.uint8)


def wave_vector(orientation_deg: float, period_px: float) -> tuple[float, float]:
    """Radians per pixel along (rows downwards, columns rightwards) of a grating."""
    angle = np.deg2rad(orientation_deg)
    wave_number = 2 * np.pi / period_px
    return float(-wave_number * np.sin(angle)), float(wave_number * np.cos(angle))


def gabor_pair(
    height: int,
    width: int,
    *,
    row_px: float,
    column_px: float,
    sigma_px: float,
    orientation_deg: float,
    period_px: float,
) -> Float64[np.ndarray, "2 height width"]:
    """The even and odd Gabor at one place: a quadrature pair, both with zero sum, peak envelope 1."""
    rows = np.arange(height)[:, None] + 0.5 - row_px
    columns = np.arange(width)[None, :] + 0.5 - column_px
    along_rows, along_columns = wave_vector(orientation_deg, period_px)
    phase = along_rows * rows + along_columns * columns
    envelope = np.exp(-(rows**2 + columns**2) / (2 * sigma_px**2))
    pair = envelope * np.stack([np.cos(phase), np.sin(phase)])
    return pair - envelope * (pair.sum((1, 2)) / envelope.sum())[:, None, None]


def drifting_grating(
    row_shift_px: Float64[np.ndarray, " time"],
    column_shift_px: Float64[np.ndarray, " time"],
    height: int,
    width: int,
    *,
    orientation_deg: float,
    period_px: float,
    phase: Float64[np.ndarray, " time"],
    contrast: float,
) -> Float32[np.ndarray, "time height width"]:
    """A full-field grating, shifted by so many pixels (down, right) and moved on by `phase[t]` radians."""
    along_rows, along_columns = wave_vector(orientation_deg, period_px)
    row_phase = along_rows * (np.arange(height)[None, :] + 0.5 - row_shift_px[:, None])
    column_phase = along_columns * (np.arange(width)[None, :] + 0.5 - column_shift_px[:, None])
    total = row_phase[:, :, None] + (column_phase - phase[:, None])[:, None, :]
    return (contrast * np.cos(total)).astype(np.float32)


def gabor_texture(
    height: int, width: int, *, gabors_per_px: float, contrast: float, generator: np.random.Generator
) -> Float32[np.ndarray, "height width"]:
    """Random Gabors of all orientations and phases, spread evenly (also over the edges).

    A Gabor with a round envelope is the real part of (complex column) times (complex row), so that all of
    them are one product of two small matrices.
    """
    margin = 8.0
    count = max(1, round(gabors_per_px * (height + 2 * margin) * (width + 2 * margin)))
    rows = generator.uniform(-margin, height + margin, count)
    columns = generator.uniform(-margin, width + margin, count)
    sigma = generator.uniform(1.5, 4.0, count)
    wave_number = 2 * np.pi / (sigma * generator.uniform(1.8, 3.6, count))
    angle, phase = generator.uniform(0, 2 * np.pi, (2, count))

    def waves(size: int, centres: np.ndarray, along: np.ndarray) -> np.ndarray:
        offset = np.arange(size)[None, :] + 0.5 - centres[:, None]
        return np.exp(1j * along[:, None] * offset - offset**2 / (2 * sigma[:, None] ** 2))

    vertical = waves(height, rows, -wave_number * np.sin(angle)) * np.exp(1j * phase)[:, None]
    horizontal = waves(width, columns, wave_number * np.cos(angle))
    # einsum sums in a fixed order on one thread; a threaded matrix product may not.
    texture = np.einsum("gr,gc->rc", vertical.real, horizontal.real) - np.einsum(
        "gr,gc->rc", vertical.imag, horizontal.imag
    )
    return (contrast * texture).astype(np.float32)


def dead_leaves(
    height: int, width: int, *, radius_px: tuple[float, float], generator: np.random.Generator
) -> Float32[np.ndarray, "height width"]:
    """Opaque ellipses that occlude each other, of the sizes (p(r) ~ 1/r^3) that make natural statistics.

    Source: Lee, Mumford & Huang 2001, "Occlusion models for natural images".
    """
    smallest, largest = radius_px
    image = np.zeros((height, width), np.float32)
    count = round(3.0 * height * width / (2 * np.pi * smallest**2 * np.log(largest / smallest)))
    radii = (smallest**-2 - generator.random(count) * (smallest**-2 - largest**-2)) ** -0.5
    rows, columns = generator.uniform(0, height, count), generator.uniform(0, width, count)
    aspects, angles = generator.uniform(1.0, 2.0, count), generator.uniform(0, np.pi, count)
    levels = generator.uniform(-1, 1, count).astype(np.float32)
    slopes = generator.normal(0, 0.3, (count, 2)).astype(np.float32)
    for radius, row, column, aspect, angle, level, slope in zip(
        radii, rows, columns, aspects, angles, levels, slopes, strict=True
    ):
        reach = radius * np.sqrt(aspect)
        top, bottom = max(0, int(row - reach)), min(height, int(row + reach) + 2)
        left, right = max(0, int(column - reach)), min(width, int(column + reach) + 2)
        down = np.arange(top, bottom)[:, None] + 0.5 - row
        across = np.arange(left, right)[None, :] + 0.5 - column
        cosine, sine = np.cos(angle), np.sin(angle)
        long, short = cosine * across + sine * down, cosine * down - sine * across
        inside = long**2 / aspect + short**2 * aspect < radius**2
        shade = level + (slope[0] * long + slope[1] * short) / radius
        np.copyto(image[top:bottom, left:right], shade.astype(np.float32), where=inside)
    return gaussian_filter(image, 0.6)
