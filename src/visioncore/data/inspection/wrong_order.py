"""Whether a checkerboard's bits were read in the wrong order, as spike-triggered averages tell.

A field is a few stixels side by side. Read in the wrong order, it falls apart into pieces that lie a column's (or a
row's) length apart, and a model fits these as well as it can and looks merely weak. Stixels that were drawn one after
the other are neighbours in any order; what tells orders apart is which stixels lie beside these.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

from visioncore.data.sources.checkerboard import Order

_SURELY = 6.0
"""Standard deviations of noise by which another order must join the fields better."""
_TIMES = 1.5
"""And how many times better."""
_LOUDEST = 12.0
"""A stixel counts as at most so many standard deviations: one alone must not decide."""


def wrong_order_note(
    averages: Float[np.ndarray, "units lags rows columns"], order: Order | Literal["unknown"] = "rows"
) -> str | None:
    """What to do about fields that another order of the same bits would join; None where they are whole.

    Args:
        averages: spike-triggered averages of units, frames before the spike along lags; of any scale.
        order: in which the bits were read.
    """
    rows, columns = averages.shape[-2:]
    if rows == columns or min(rows, columns) < 2:
        return None  # the other order is a mirror image, and has the same neighbours
    maps = _maps(averages)
    # As they were drawn: along rows, or along columns.
    drawn = maps if order != "columns" else maps.swapaxes(-1, -2)
    length = drawn.shape[-1]
    bits = drawn.reshape(len(drawn), -1)
    as_read, otherwise = _joined(bits, length), _joined(bits, bits.shape[1] // length)
    if otherwise - as_read < _SURELY or otherwise < _TIMES * as_read:
        return None
    other = "columns" if order != "columns" else "rows"
    return (
        f"spike-triggered averages of {len(maps)} units fall apart into places {bits.shape[1] // length} stixels apart "
        f"along the order in which bits were drawn; they would be joined by `order: {other}` (or by {columns} rows of "
        f"{rows} columns, read as they are now): neighbouring stixels agree by {otherwise:.3g} standard deviations of "
        f"chance then, and by {as_read:.3g} now"
    )


def _maps(
    averages: Float[np.ndarray, "units lags rows columns"],
) -> Float64[np.ndarray, "units rows columns"]:
    """Each unit's lag of the strongest stixel, in standard deviations of its noise."""
    flat = averages.astype(np.float64).reshape(*averages.shape[:2], -1)
    flat = flat - np.median(flat, axis=(1, 2), keepdims=True)
    noise = 1.4826 * np.median(np.abs(flat), axis=(1, 2), keepdims=True)
    spread = np.where(noise > 0, noise, np.maximum(flat.std(axis=(1, 2), keepdims=True), 1e-12))
    scores = np.clip(flat / spread, -_LOUDEST, _LOUDEST)
    best = np.abs(scores).max(axis=-1).argmax(axis=-1)
    return scores[np.arange(len(scores)), best].reshape(len(scores), *averages.shape[-2:])


def _joined(bits: Float64[np.ndarray, "units stixels"], length: int) -> float:
    """How much neighbours agree where `length` stixels make a line: sum of products, in standard deviations."""
    lines = bits.reshape(len(bits), -1, length)
    across, along = lines[:, 1:] * lines[:, :-1], lines[..., 1:] * lines[..., :-1]
    return float((across.sum() + along.sum()) / np.sqrt(across.size + along.size))
