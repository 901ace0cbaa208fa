"""The effective triggered average: a predictor's rates under white noise, averaged as one averages spikes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from scipy.linalg import toeplitz

from visioncore.lab.receptive_fields.kernels import Kernels
from visioncore.lab.rig import Progress, Rig

MINUTES = 8.0
REFRESH_HZ = 60.0
STIMULUS_S = 6.0
SKIP_S = 0.5
"""After its onset a stimulus is not averaged."""
CHECKS_ACROSS = 32
"""About how many checks the longer side of the frame has."""
CONTRAST = 0.5
WINDOW_S = 0.25


@dataclass(frozen=True)
class WhiteNoise:
    """Averages under white noise."""

    raw: Kernels
    clean: Kernels
    """Without what noise alone would give; see `without_noise`."""


def effective_average(
    rig: Rig,
    generator: np.random.Generator,
    minutes: float | None = None,
    contrast: float = CONTRAST,
    progress: Progress | None = None,
) -> WhiteNoise:
    """Spikes per second (or the trace) per unit of contrast, at each lag and check of binary noise.

    For a linear-nonlinear unit it is the filter times a gain (Chichilnisky 2001); whatever the unit, it is the linear
    part of what it does under this noise. Checks are redrawn every `REFRESH_HZ`.
    """
    display = rig.display
    contrast = min(contrast, display.max_contrast)
    hold = max(round(display.rate_hz / REFRESH_HZ), 1)
    check = max(round(max(display.height, display.width) / CHECKS_ACROSS), 1)
    grid = (-(-display.height // check), -(-display.width // check))
    refreshes = max(round(STIMULUS_S * display.rate_hz / hold), 2)
    lags = max(round(WINDOW_S * display.rate_hz / hold), 1)
    skip = max(round(SKIP_S * display.rate_hz / hold), lags)
    count = max(round((minutes or MINUTES) * 60 / STIMULUS_S), 1)
    at_once = 8
    cross = np.zeros((len(rig.units), lags, grid[0] * grid[1]))
    covariance, n = np.zeros((len(rig.units), lags)), 0
    for start in range(0, count, at_once):
        some = min(at_once, count - start)
        checks = generator.choice(np.array([-1.0, 1.0], np.float32), (some, refreshes, *grid))
        frames = checks.repeat(check, axis=2).repeat(check, axis=3)[:, :, : display.height, : display.width]
        rates = rig.rates(contrast * frames.repeat(hold, axis=1))
        slow = rates.reshape(some, refreshes, hold, -1).mean(2)[:, skip:]
        # The mean rate tells nothing of the checks, and adds their chance mean.
        slow = slow - slow.mean((0, 1))
        flat = checks.reshape(some, refreshes, -1)
        for lag in range(lags):
            before = flat[:, skip - lag : refreshes - lag]
            cross[:, lag] += np.einsum("stu,stp->up", slow, before, optimize=True)
        for lag in range(lags):
            covariance[:, lag] += np.einsum("stu,stu->u", slow[:, lag:], slow[:, : slow.shape[1] - lag])
        n += slow.shape[0] * slow.shape[1]
        if progress is not None:
            progress(min(start + at_once, count), count)
    values = (cross / n / contrast).reshape(len(rig.units), lags, *grid).astype(np.float32)
    noise = covariance / n / contrast**2 / n
    clean = np.stack([without_noise(kernel, own) for kernel, own in zip(values, noise, strict=True)])
    lag_s = hold / display.rate_hz
    return WhiteNoise(Kernels(values, lag_s, check), Kernels(clean, lag_s, check))


def without_noise(
    kernel: Float32[np.ndarray, "lags rows columns"], noise: Float64[np.ndarray, " lags"]
) -> Float32[np.ndarray, "lags rows columns"]:
    """A kernel without the pairs of a temporal and a spatial profile that noise alone would give.

    The noise of an average over white frames is alike at all checks, and over lags it is as correlated as the rates
    are. It is whitened with that, and singular values below the optimal threshold are left out, but for the strongest.

    Source: Gavish & Donoho 2014, eq. 3-4 (known noise).

    Args:
        noise: its covariance between lags so far apart, from 0 on.
    """
    if noise[0] <= 0:
        return kernel
    flat = kernel.reshape(len(kernel), -1)
    covariance = toeplitz(noise) + 1e-6 * noise[0] * np.eye(len(noise))
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 1e-6 * values.max())
    whitened = (vectors / np.sqrt(values)).T @ flat
    time, sizes, space = np.linalg.svd(whitened, full_matrices=False)
    ratio = min(flat.shape) / max(flat.shape)
    edge = np.sqrt(2 * (ratio + 1) + 8 * ratio / (ratio + 1 + np.sqrt(ratio**2 + 14 * ratio + 1)))
    kept = sizes > edge * np.sqrt(max(flat.shape))
    kept[0] = True
    clean = (vectors * np.sqrt(values)) @ ((time[:, kept] * sizes[kept]) @ space[kept])
    return clean.reshape(kernel.shape).astype(np.float32)
