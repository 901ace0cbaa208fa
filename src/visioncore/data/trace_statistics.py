"""Mean and spread of traces, such that a handful of wild values does not decide them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from visioncore.data.splits import Block
from visioncore.data.stored_array import StoredArray

TAIL = 0.005
"""Share of the values at each end that the bulk is measured without."""
SAMPLED_VALUES = 20_000_000
SAMPLED_BINS = 20_000
_PIECE_VALUES = 4_000_000
_ROUNDING = 1e-6
"""Of a unit's size: a spread below it is that of a constant in single precision."""


@dataclass(frozen=True)
class TraceStatistics:
    """Per unit, over the valid training bins of one session.

    A unit has outliers where what lies further from the bulk than the bulk is wide makes most of its variance. Mean
    and spread are then those of the values clipped to `low` and `high`; else these are infinite, and both are plain.
    """

    mean: Float64[np.ndarray, " units"]
    std: Float64[np.ndarray, " units"]
    """Positive: 1 for a unit that never changes."""
    low: Float64[np.ndarray, " units"]
    high: Float64[np.ndarray, " units"]
    n_outliers: Int64[np.ndarray, " units"]
    constant: Bool[np.ndarray, " units"]
    """Units that never change, up to rounding."""


def trace_statistics(
    responses: StoredArray,
    valid: StoredArray,
    blocks: tuple[Block, ...],
    train_mean: Float64[np.ndarray, " units"],
) -> TraceStatistics:
    """The statistics of one session's training blocks; reads them twice, a piece at a time."""
    low, high = _bulk(responses, valid, blocks)
    n_units = responses.shape[1]
    n, outliers = np.zeros(n_units, np.int64), np.zeros(n_units, np.int64)
    plain, first, second = (np.zeros(n_units) for _ in range(3))
    for values, good in _pieces(responses, valid, blocks):
        n += good.sum(0)
        outliers += (good & ((values < low) | (values > high))).sum(0)
        deviation = np.where(good, values - train_mean, 0.0)
        clipped = np.where(good, np.clip(values, low, high) - train_mean, 0.0)
        plain += np.square(deviation).sum(0)
        first += clipped.sum(0)
        second += np.square(clipped).sum(0)
    n = np.maximum(n, 1)
    robust = np.maximum(second / n - np.square(first / n), 0.0)
    wild = (outliers > 0) & (plain / n > 2 * robust)
    std = np.sqrt(np.where(wild, robust, plain / n))
    constant = std <= _ROUNDING * np.abs(train_mean)
    return TraceStatistics(
        mean=np.where(wild, train_mean + first / n, train_mean),
        std=np.where(constant, 1.0, std),
        low=np.where(wild, low, -np.inf),
        high=np.where(wild, high, np.inf),
        n_outliers=np.where(wild, outliers, 0),
        constant=constant,
    )


def _bulk(
    responses: StoredArray, valid: StoredArray, blocks: tuple[Block, ...]
) -> tuple[Float64[np.ndarray, " units"], Float64[np.ndarray, " units"]]:
    """The ends of the bulk, moved outwards by its width; from bins that are spread over the training blocks."""
    total = sum(block.n_bins for block in blocks if block.split == "train")
    wanted = min(SAMPLED_BINS, max(SAMPLED_VALUES // responses.shape[1], 1))
    every = max(total // wanted, 1)
    sample = [
        np.where(good[::every], values[::every], np.nan) for values, good in _pieces(responses, valid, blocks)
    ]
    known = np.concatenate([np.empty((0, responses.shape[1])), *sample])
    # A unit that is valid in no sampled bin has no bulk, and so no outliers.
    empty = np.isnan(known).all(axis=0)
    known[:, empty] = 0.0
    bottom, top = np.nanquantile(known, [TAIL, 1 - TAIL], axis=0)
    width = np.where(empty, np.inf, top - bottom)
    return bottom - width, top + width


def _pieces(
    responses: StoredArray, valid: StoredArray, blocks: tuple[Block, ...]
) -> Iterator[tuple[Shaped[np.ndarray, "time units"], Bool[np.ndarray, "time units"]]]:
    rows = max(_PIECE_VALUES // responses.shape[1], 1)
    for block in blocks:
        if block.split != "train":
            continue
        for start in range(block.start, block.stop, rows):
            stop = min(start + rows, block.stop)
            values = responses.read(start, stop).astype(np.float64)
            yield values, np.broadcast_to(valid.read(start, stop), values.shape)
