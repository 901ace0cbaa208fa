"""A slow gain that all units of a session share to different degrees, and that no signal in the data shows."""

import numpy as np
from jaxtyping import Float64

_STEP_S = 0.25


def hidden_gain(
    n_bins: int,
    sampling_rate_hz: float,
    *,
    log_sd: float,
    time_constant_s: float,
    n_units: int,
    generator: np.random.Generator,
) -> Float64[np.ndarray, "time units"]:
    """Log-normal, of expectation 1; `log_sd` is the mean over units."""
    n_steps = int(n_bins / sampling_rate_hz / _STEP_S) + 2
    keep = np.exp(-_STEP_S / time_constant_s)
    walk = np.empty(n_steps)
    walk[0] = generator.normal()
    for step, innovation in enumerate(generator.normal(0, np.sqrt(1 - keep**2), n_steps - 1), 1):
        walk[step] = keep * walk[step - 1] + innovation
    # Held for each step: interpolation would shrink the variance between steps, and E[gain] with it.
    held = walk[(np.arange(n_bins) / sampling_rate_hz / _STEP_S).astype(int)]
    loading = log_sd * generator.uniform(0.5, 1.5, n_units)
    return np.exp(held[:, None] * loading - loading**2 / 2)
