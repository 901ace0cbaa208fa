"""Spike-triggered averages: of the recording, and in the same way of what a twin predicts for the same frames."""

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch.nn import functional

from visioncore.lab.receptive_fields.kernels import Kernels
from visioncore.lab.receptive_fields.watched import Watched
from visioncore.training.ridge import RIDGES, LagMoments

SHUFFLES = 39
"""With so many, the smallest p is 1 in 40."""
SHUFFLE_PIXELS, SHUFFLE_LAGS = 600, 8
"""Shuffled spikes are averaged on coarser frames, and over fewer lags."""
SHORTEST_SHIFT_S = 5.0
TESTED_EVERY = 5
"""One stretch in so many is held out, to choose how much the stimulus' own correlations are taken out."""
STRETCHES = 50


def triggered_average(watched: Watched) -> Kernels:
    """Mean frame before a response less the mean frame, in deviations of the recording's pixels.

    Source: Chichilnisky 2001, eq. 1-2. Natural frames are correlated, so it is blurred by their correlations.
    """
    total = np.abs((watched.responses * watched.weight).sum(0))
    values = _cross(watched.frames, watched.centred, watched.lags) / np.maximum(total, 1e-9)[:, None, None]
    return Kernels(values.reshape(len(total), watched.lags, *watched.grid), watched.lag_s, watched.px)


def _cross(
    frames: Float32[np.ndarray, "time pixels"], centred: Float32[np.ndarray, "time units"], lags: int
) -> Float32[np.ndarray, "units lags pixels"]:
    x, r = torch.from_numpy(frames), torch.from_numpy(np.ascontiguousarray(centred))
    sums = [r[lag:].T @ x[: len(x) - lag] for lag in range(lags)]
    return torch.stack(sums, dim=1).numpy()


def decorrelated(watched: Watched, kinds: int = 1) -> Kernels | None:
    """The kernels that predict responses best, by ridge regression; for Gaussian frames the triggered average divided
    by the stimulus' covariance (Paninski 2004). None where no pixel ever changes.

    Args:
        kinds: of responses that stand side by side. The ridge of a unit is what predicts held-out stretches of its
            responses of the first kind best, and the same for all kinds.
    """
    held = (
        np.arange(len(watched.frames)) * STRETCHES // len(watched.frames)
    ) % TESTED_EVERY == TESTED_EVERY - 1
    tested = watched.weight * held[:, None]
    tested[: watched.lags] = 0
    moments = LagMoments.of(
        torch.from_numpy(watched.frames),
        (1, *watched.grid),
        watched.lags,
        torch.from_numpy(watched.responses),
        torch.from_numpy(watched.weight - tested),
        torch.from_numpy(tested),
    )
    if moments is None:
        return None
    n = watched.responses.shape[1]
    scores = np.stack([moments.score(moments.solve(ridge), rank=2).double().numpy() for ridge in RIDGES])
    ridges = np.tile(np.array(RIDGES)[scores[:, : n // kinds].argmax(0)], kinds)
    values = np.zeros((n, watched.lags, watched.frames.shape[1]), np.float32)
    for ridge in np.unique(ridges):
        mine = ridges == ridge
        values[mine] = moments.solve(float(ridge)).numpy()[mine]
    return Kernels(values.reshape(n, watched.lags, *watched.grid), watched.lag_s, watched.px)


def significance(
    watched: Watched, generator: np.random.Generator, shuffles: int = SHUFFLES
) -> Float64[np.ndarray, " units"]:
    """How often spikes that are moved against the video (around its end) have a triggered average with as large a peak.

    p = (1 + number of such) / (1 + shuffles); a unit without responses has 1.
    """
    rows, columns = watched.grid
    shrink = max(round((rows * columns / SHUFFLE_PIXELS) ** 0.5), 1)
    frames = functional.avg_pool2d(
        torch.from_numpy(watched.frames).view(-1, 1, rows, columns), shrink, ceil_mode=True
    )
    coarse = frames.flatten(1).numpy()
    lags = min(watched.lags, SHUFFLE_LAGS)
    own = watched.centred
    # Pixels that vary more have larger averages by chance.
    spread = np.maximum(coarse.std(0), 1e-6)

    def peaks(responses: np.ndarray) -> np.ndarray:
        return np.abs(_cross(coarse, responses, lags) / spread).max((1, 2))

    shortest = min(round(SHORTEST_SHIFT_S / watched.lag_s), len(own) // 3)
    observed = peaks(own)
    larger = np.zeros(own.shape[1])
    for shift in generator.integers(shortest, max(len(own) - shortest, shortest + 1), shuffles):
        # Bins that do not count are 0 and move along; their frames are as good as any.
        larger += peaks(np.roll(own, int(shift), axis=0)) >= observed
    return (1 + larger) / (1 + shuffles)
