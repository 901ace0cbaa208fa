"""Times as files have them: what is refused, and what is usual."""

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from visioncore.errors import DataError


def checked_times(
    times_s: Shaped[np.ndarray, "..."], where: str, n: int, what: str, *, may_repeat: bool = False
) -> None:
    """Refuse times that cannot be those of `n` samples.

    Raises:
        DataError: not one time each, not float64, not finite, or not increasing.
    """
    if times_s.ndim != 1:
        raise DataError(
            f"{where}: times have shape {times_s.shape}; expected one time for each of {n} {what} (are these starts "
            "and ends? Give the starts)"
        )
    if len(times_s) != n:
        raise DataError(f"{where}: {n} {what}, but {len(times_s)} timestamps; expected one for each")
    if times_s.dtype != np.float64:
        raise DataError(f"{where}: times are {times_s.dtype}; expected float64 seconds")
    if not n:
        raise DataError(f"{where}: is empty: no {what}")
    broken = np.flatnonzero(~np.isfinite(times_s))
    if len(broken):
        raise DataError(
            f"{where}: {len(broken)} of {n} timestamps are NaN or infinite, the first is number {broken[0]}; leave "
            "these out, or give their times"
        )
    steps = np.diff(times_s)
    back = np.flatnonzero(steps < 0 if may_repeat else steps <= 0)
    if len(back):
        first = back[0]
        told = "jump back by" if steps[first] < 0 else "stand still:"
        raise DataError(
            f"{where}: timestamps {told} {-steps[first]:.6g} s after number {first} ({times_s[first]:.6f} s), "
            f"{len(back)} times in all; expected times that increase. Are several recordings joined here? Give each "
            "its own session"
        )


def typical_interval(
    times_s: Float64[np.ndarray, " frames"], inside: Bool[np.ndarray, " steps"], where: str
) -> float:
    """The median time from one to the next, over the steps that are `inside` a trial.

    Raises:
        DataError: there is no such step.
    """
    steps = np.diff(times_s)[inside]
    if not len(steps):
        raise DataError(f"{where}: no two frames follow each other in a trial, so frames have no rate")
    return float(np.median(steps))
