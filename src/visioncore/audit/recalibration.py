"""A prediction made as good as it can be without changing its time course.

A prediction of the wrong scale scores far below zero bits, however much it knows. Before a control is compared
with a level both are recalibrated, rate' = a + b rate with b >= 0 fitted to the very counts they are
scored on: a bound in the control's favour, so that what still falls has truly lost the information.
"""

import numpy as np
from jaxtyping import Bool, Float64, Real

_HALVINGS = 40


def recalibrated(
    prediction: Real[np.ndarray, "time units"],
    counts: Real[np.ndarray, "time units"],
    valid: Bool[np.ndarray, "time units"],
) -> Float64[np.ndarray, "time units"]:
    """The most likely a + b · prediction under Poisson counts, per unit, with b >= 0 and no negative rate.

    At the optimum the rates sum to the counts, so one weight w between the mean count and the prediction above
    its minimum is left: n̄ (1 - w + w u), with u of mean 1. Its likelihood is concave; w is found by bisection.
    """
    rates = np.zeros(prediction.shape)
    for unit in range(prediction.shape[1]):
        known = valid[:, unit]
        if known.any():
            column = prediction[:, unit].astype(np.float64)
            rates[:, unit] = _one_unit(column, counts[known, unit].astype(np.float64), known)
    return rates


def _one_unit(prediction: np.ndarray, counts: np.ndarray, known: np.ndarray) -> np.ndarray:
    above = prediction - prediction[known].min()
    mean_above = above[known].mean()
    if not mean_above > 0:
        return np.full(len(prediction), counts.mean())
    relative = above / mean_above
    spikes = counts > 0
    w = _best_weight(relative[known][spikes] - 1, counts[spikes])
    return np.asarray(counts.mean() * (1 + w * (relative - 1)))


def _best_weight(away: np.ndarray, counts: np.ndarray) -> float:
    """Where the slope of sum n ln(1 + w away) changes its sign between 0 and 1."""
    if counts @ away <= 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if counts @ (away / (1 + middle * away)) > 0:
            low = middle
        else:
            high = middle
    return low
