"""The effective triggered average: a predictor's rates under white noise, averaged as one averages spikes."""

import numpy as np

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


def effective_average(
    rig: Rig,
    generator: np.random.Generator,
    minutes: float | None = None,
    contrast: float = CONTRAST,
    progress: Progress | None = None,
) -> Kernels:
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
    n = 0
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
        n += slow.shape[0] * slow.shape[1]
        if progress is not None:
            progress(min(start + at_once, count), count)
    values = (cross / n / contrast).astype(np.float32)
    return Kernels(values.reshape(len(rig.units), lags, *grid), hold / display.rate_hz, check)
