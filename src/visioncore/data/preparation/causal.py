"""Functions of a behavioural signal that never look ahead: sample t of what they give depends on samples up to t.

Each takes one stretch in which time runs on, and starts from rest at its first known sample. What is not known holds
its last value inside, and stays unknown in what is given.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64
from scipy.signal import lfilter

from visioncore.data.preparation.base import columns_of, stretches_of
from visioncore.errors import DataError
from visioncore.recording import SessionRecording
from visioncore.spec import Sampling

Trace = Float64[np.ndarray, " time"]


def behaviour_of(
    recording: SessionRecording, names: Sequence[str], step: str
) -> Float64[np.ndarray, "time signals"]:
    """These signals over the whole session; NaN where they are not known.

    Raises:
        DataError: the session has no such signal.
    """
    columns = columns_of(recording, names, step)
    values = recording.read("behaviour", 0, recording.n_bins)[:, columns].astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    return values


def rate_of(sampling: Sampling, step: str) -> float:
    """Bins per second.

    Raises:
        DataError: there is no time.
    """
    if sampling.rate_hz is None:
        raise DataError(f"step {step}: these are static images, which have no time; leave the step out")
    return sampling.rate_hz


def bins_of(seconds: float, rate_hz: float) -> int:
    """The nearest whole number of bins."""
    return round(seconds * rate_hz)


def held(values: Trace) -> Trace:
    """Each unknown sample takes the last known value; those before the first known one stay unknown."""
    known = ~np.isnan(values)
    latest = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.where(latest < 0, np.nan, values[np.maximum(latest, 0)])


def derivative(values: Trace, rate_hz: float) -> Trace:
    """Change since the sample before, per second; 0 at the first."""
    return np.diff(values, prepend=values[:1]) * rate_hz


def lagged(values: Trace, n_bins: int) -> Trace:
    """The values of `n_bins` ago; the first one, before there was any."""
    return np.concatenate([np.repeat(values[:1], n_bins), values])[: len(values)]


def low_passed(values: Trace, time_constant_bins: float) -> Trace:
    """A decaying mean over the past: exponential, one-sided."""
    new = -np.expm1(-1 / time_constant_bins)
    # A recursion from sample to sample, not an FFT: causal to the last bit.
    passed, _ = lfilter([new], [1.0, new - 1], values, zi=(1 - new) * values[:1])
    return np.asarray(passed)


def by_stretch(recording: SessionRecording, values: Trace, change: Callable[[Trace], Trace]) -> Trace:
    """`change` of every stretch in which time runs on, from its first known sample on."""
    out = np.full(len(values), np.nan)
    for start, stop in stretches_of(recording):
        known = np.flatnonzero(~np.isnan(values[start:stop]))
        if len(known):
            first = start + int(known[0])
            out[first:stop] = change(held(values[first:stop]))
    out[np.isnan(values)] = np.nan
    return out


def speed(recording: SessionRecording, values: Float64[np.ndarray, "time signals"], rate_hz: float) -> Trace:
    """Length of the vector of derivatives, per second."""
    parts = [by_stretch(recording, column, lambda own: derivative(own, rate_hz)) for column in values.T]
    return np.asarray(np.sqrt(np.square(parts).sum(axis=0)))
