"""Temporal kernels as recursive filters: causal to the last bit, whatever the length of the signal.

Source: Watson & Ahumada 1985 (kernels as differences of cascades of leaky integrators).
"""

import numpy as np
from jaxtyping import Float64
from scipy.signal import lfilter


def biphasic(
    signal: Float64[np.ndarray, "*batch time"], latency_bins: float, transience: float, order: int = 5
) -> Float64[np.ndarray, "*batch time"]:
    """A gamma-shaped lobe that peaks at the latency, minus a later and broader one."""
    first = latency_bins * (order + 1) / order
    return gamma(signal, first, order) - transience * gamma(signal, 1.8 * first, order)


def gamma(
    signal: Float64[np.ndarray, "*batch time"], mean_bins: float, order: int = 5
) -> Float64[np.ndarray, "*batch time"]:
    """A cascade of `order` + 1 equal one-pole filters, a discrete gamma kernel of unit area and this mean delay."""
    poles = order + 1
    keep = mean_bins / (mean_bins + poles)
    denominator = np.array([1.0])
    for _ in range(poles):
        denominator = np.convolve(denominator, [1.0, -keep])
    return lfilter([(1 - keep) ** poles], denominator, signal)


def low_pass(
    signal: Float64[np.ndarray, "*batch time"], mean_bins: float
) -> Float64[np.ndarray, "*batch time"]:
    """One pole, an exponential kernel of unit area and this mean delay."""
    keep = mean_bins / (mean_bins + 1)
    return lfilter([1 - keep], [1.0, -keep], signal)
