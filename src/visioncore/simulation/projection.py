"""Spatial filters applied to video, exactly: sums that do not depend on threads, chunks or order.

Weights are multiples of 2^-20 and pixels are integers, so no float64 sum of their products is ever rounded.
"""

import numpy as np
from jaxtyping import Float64, UInt8

from visioncore.stimuli import GREY

_STEP = 2.0**-20
_CHUNK_FRAMES = 4096


def on_grid(values: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """The nearest multiples of 2^-20."""
    return np.rint(values / _STEP) * _STEP


def project(
    video: UInt8[np.ndarray, "time pixels"],
    weights: Float64[np.ndarray, "pixels filters"],
    squared: bool = False,
) -> Float64[np.ndarray, "time filters"]:
    """Each frame's weighted sums of its pixels' distances from grey, or of their squares; in grey levels.

    Args:
        weights: as `on_grid` returns them.
    """
    sums = np.empty((len(video), weights.shape[1]))
    for start in range(0, len(video), _CHUNK_FRAMES):
        piece = slice(start, start + _CHUNK_FRAMES)
        pixels = video[piece].astype(np.float64) - GREY
        sums[piece] = (pixels**2 if squared else pixels) @ weights
    return sums
