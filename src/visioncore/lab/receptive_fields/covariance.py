"""Spike-triggered covariance: the axes along which a unit's stimuli vary more, or less, than all stimuli do.

Source: Schwartz, Pillow, Rust & Simoncelli 2006 (eigenvalues against shuffled spikes). The stimulus around the unit's
field is first brought to a few smooth waves over space and time, and whitened there, since natural frames are
correlated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from visioncore.lab.receptive_fields.watched import Watched

CYCLES, TIME_WAVES = 2.0, 6
"""Cosines over the patch have at most so many cycles, in any direction; and so many are there over time."""
SHUFFLES = 10
MAX_BINS = 20_000
PATCH_SIGMAS = 2.0
"""The patch reaches so many of the field's deviations to each side."""
WIDEST_PX = 24
"""Of the grid, from one side of a patch to the other."""


@dataclass(frozen=True)
class Axes:
    """A unit's spike-triggered covariance."""

    eigenvalues: Float64[np.ndarray, " axes"]
    """In descending order; 1 is the variance of all stimuli."""
    null: tuple[float, float]
    """Smallest and largest eigenvalue of any shuffle."""
    kernels: Float32[np.ndarray, "axes lags rows columns"]
    """Of the two largest and the two smallest eigenvalues, on the patch."""
    corner: tuple[int, int]
    """Where the patch begins on the grid."""

    @property
    def excitatory(self) -> int:
        """Axes with more variance than any shuffle."""
        return int((self.eigenvalues > self.null[1]).sum())

    @property
    def suppressive(self) -> int:
        """Axes with less variance than any shuffle."""
        return int((self.eigenvalues < self.null[0]).sum())


def triggered_covariance(
    watched: Watched,
    columns: Sequence[int],
    centre_px: Float64[np.ndarray, " 2"],
    sigma_px: float,
    generator: np.random.Generator,
    shuffles: int = SHUFFLES,
) -> list[Axes | None]:
    """The axes of one unit, around a place of the display: for each kind of responses, None where there are too few.

    Args:
        columns: of the responses; several where several kinds of one unit's responses stand side by side.
        sigma_px: deviation of the unit's field.
    """
    lags, grid, px = watched.lags, watched.grid, watched.px
    (top, bottom), (left, right) = (_span(centre_px[axis] / px, sigma_px / px, grid[axis]) for axis in (0, 1))
    patch = watched.frames.reshape(-1, *grid)[:, top:bottom, left:right]
    space, time = _waves(*patch.shape[1:]), _cosines(lags, TIME_WAVES)
    used = np.flatnonzero(watched.weight[lags - 1 :, columns].all(1))
    used = used[:: max(-(-len(used) // MAX_BINS), 1)]
    if len(used) < 10 * space.shape[1] * time.shape[1]:
        return [None] * len(columns)
    projected = patch.reshape(len(patch), -1) @ space
    history = np.lib.stride_tricks.sliding_window_view(projected, lags, axis=0)[..., ::-1]
    stimuli = (history[used] @ time).reshape(len(used), -1)
    whiten = _whitening(stimuli)
    white = ((stimuli - stimuli.mean(0)) @ whiten).astype(np.float32)
    # An axis in the whitened space stands for the stimulus that moves along it.
    back = np.linalg.pinv(whiten).T
    found: list[Axes | None] = []
    for column in columns:
        drive = np.maximum(watched.responses[used + lags - 1, column].astype(np.float64), 0)
        if drive.sum() <= 0:
            found.append(None)
            continue
        values, vectors = np.linalg.eigh(_weighted_covariance(white, drive))
        shifts = generator.integers(len(used) // 10, len(used) - len(used) // 10, shuffles)
        null = [
            np.linalg.eigvalsh(_weighted_covariance(white, np.roll(drive, int(shift)))) for shift in shifts
        ]
        order = np.argsort(values)[::-1]
        shown = [*order[:2], *order[-2:][::-1]]
        axes = (back @ vectors[:, shown]).T.reshape(len(shown), space.shape[1], time.shape[1])
        kernels = (space @ axes @ time.T).transpose(0, 2, 1).reshape(len(shown), -1, *patch.shape[1:])
        found.append(
            Axes(
                eigenvalues=values[order],
                null=(float(np.min(null)), float(np.max(null))),
                kernels=kernels.astype(np.float32),
                corner=(top, left),
            )
        )
    return found


def _span(centre: float, sigma: float, size: int) -> tuple[int, int]:
    half = min(PATCH_SIGMAS * sigma, WIDEST_PX / 2)
    start = int(np.clip(np.floor(centre - half), 0, max(size - 2, 0)))
    return start, int(np.clip(np.ceil(centre + half), start + 2, size))


def _cosines(size: int, count: int) -> np.ndarray:
    """The slowest cosines over so many samples (DCT-II), of unit length: (size, count)."""
    waves = np.cos(np.pi * (np.arange(size)[:, None] + 0.5) * np.arange(min(count, size)) / size)
    return np.asarray(waves / np.linalg.norm(waves, axis=0))


def _waves(rows: int, columns: int) -> np.ndarray:
    """Products of cosines over rows and columns, none with more than `CYCLES` over the patch: (pixels, waves)."""
    most = round(2 * CYCLES)
    down, across = _cosines(rows, most + 1), _cosines(columns, most + 1)
    each = [
        np.outer(down[:, i], across[:, j]).ravel()
        for i in range(down.shape[1])
        for j in range(across.shape[1])
        if i * i + j * j <= most * most
    ]
    return np.stack(each, axis=1)


def _whitening(stimuli: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(np.cov(stimuli.T))
    kept = values > 1e-4 * values.max()
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]))


def _weighted_covariance(white: np.ndarray, responses: np.ndarray) -> np.ndarray:
    """Around the triggered average, so that a linear unit alone has no axis."""
    weight = (responses / responses.sum()).astype(np.float32)
    mean = weight @ white
    return np.asarray((white * weight[:, None]).T @ white - np.outer(mean, mean), np.float64)
