"""What a student writes in thirty lines: the independent yardstick for the linear-nonlinear model.

A spike-triggered average in 9 x 9 pixels around its peak, 20 lags, cut to rank 2, and a nonlinearity from 30 quantiles
of the drive. NumPy alone, and nothing of the package but the store that it reads.
"""

import numpy as np
from jaxtyping import Float64

from visioncore.data import SessionStore

LAGS, SIDE, QUANTILES = 20, 9, 30


def sta_scores(session: SessionStore, burn_in_bins: int) -> Float64[np.ndarray, " units"]:
    """Bits per spike of each unit on the test blocks, over its mean count in training."""
    train = [(b.start, b.stop) for b in session.blocks_in("train")]
    test = [(b.start, b.stop) for b in session.blocks_in("test")]
    return np.array(
        [_unit(session, unit, train, test, burn_in_bins) for unit in range(len(session.unit_ids))]
    )


def _unit(
    session: SessionStore, unit: int, train: list[tuple[int, int]], test: list[tuple[int, int]], burn_in: int
) -> float:
    mean = np.mean([session.video(*block).mean() for block in train])
    videos = [session.video(*block)[:, 0].astype(np.float32) - mean for block in train]
    counts = [session.responses(*block)[:, unit].astype(np.float64) for block in train]
    average = np.zeros((LAGS, *videos[0].shape[1:]))
    for video, count in zip(videos, counts, strict=True):
        for lag in range(LAGS):
            average[lag] += np.einsum("t,thw->hw", count[LAGS:], video[LAGS - lag : len(video) - lag])
    row, column = np.unravel_index((average**2).sum(0).argmax(), average.shape[1:])
    box = (
        slice(max(row - SIDE // 2, 0), row + SIDE // 2 + 1),
        slice(max(column - SIDE // 2, 0), column + SIDE // 2 + 1),
    )
    u, s, v = np.linalg.svd(average[:, *box].reshape(LAGS, -1), full_matrices=False)
    kernel = (u[:, :2] * s[:2]) @ v[:2]

    def drive(video: np.ndarray) -> np.ndarray:
        pixels = video[:, *box].reshape(len(video), -1)
        delayed = [np.pad(pixels @ kernel[lag], (lag, 0))[: len(video)] for lag in range(LAGS)]
        return np.sum(delayed, 0)

    known = [(drive(v)[burn_in:], c[burn_in:]) for v, c in zip(videos, counts, strict=True)]
    x, y = (np.concatenate(parts) for parts in zip(*known, strict=True))
    edges = np.quantile(x, np.linspace(0, 1, QUANTILES + 1)[1:-1])
    place = np.digitize(x, edges)
    levels = np.array([max(y[place == q].mean(), 1e-4) for q in range(QUANTILES)])
    null, bits, spikes = y.mean(), 0.0, 0.0
    for block in test:
        video = session.video(*block)[:, 0].astype(np.float32) - mean
        rate = levels[np.digitize(drive(video), edges)][burn_in:]
        count = session.responses(*block)[burn_in:, unit].astype(np.float64)
        bits += (count * np.log2(rate / null) - (rate - null) / np.log(2)).sum()
        spikes += count.sum()
    return float(bits / spikes)
