"""Behavioural signals from eye positions: velocity through a causal raised-cosine basis, and position.

Every feature at sample t is a function of the samples up to t. A basis centred on the sample would show a
model the saccade before it happens.
"""

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.signal import lfilter

from visioncore.config import Config

_SUBSAMPLES = 32


class EyeBasisConfig(Config):
    """How eye traces become behavioural features: 2 * n_basis + 2 of them, 42 by default."""

    n_basis: int = 20
    window_s: float = 0.3
    compression_deg_s: float = 10.0
    """Velocity v enters as arcsinh(v / this), so that drift and saccades are both visible."""


def cosine_basis_over_time(
    n_basis: int, window_s: float, sampling_rate_hz: float
) -> Float64[np.ndarray, "basis lags"]:
    """Raised cosines on a logarithmic axis of time past; lag 0 is the present sample, each sums to 1.

    Each function is averaged over every sample's duration: one narrower than a sample keeps its mass. The linear path's
    filters have a basis of their own (`cosine_basis_over_lags`), in frames and taken at the lags themselves.
    Source: Pillow et al. 2008, supplementary methods.
    """
    n_lags = max(1, round(window_s * sampling_rate_hz))
    age_s = (np.arange(n_lags * _SUBSAMPLES) + 0.5) / (_SUBSAMPLES * sampling_rate_hz)
    offset_s = window_s / 10
    stretched = np.log(age_s + offset_s)
    first, last = np.log(offset_s), np.log(window_s + offset_s)
    centres = np.linspace(first, last, n_basis + 1)[:-1]
    spacing = (last - first) / n_basis
    distance = np.clip((stretched[None, :] - centres[:, None]) * np.pi / (2 * spacing), -np.pi, np.pi)
    basis = (0.5 * (1 + np.cos(distance))).reshape(n_basis, n_lags, _SUBSAMPLES).mean(-1)
    return basis / basis.sum(1, keepdims=True)


def eye_velocity(
    position_deg: Float[np.ndarray, "*trials time 2"], sampling_rate_hz: float
) -> Float64[np.ndarray, "*trials time 2"]:
    """Backward differences in degrees per second; the first sample of a trial is at rest."""
    position = np.asarray(position_deg, np.float64)
    return np.diff(position, axis=-2, prepend=position[..., :1, :]) * sampling_rate_hz


def eye_features(
    position_deg: Float[np.ndarray, "*trials time 2"],
    sampling_rate_hz: float,
    config: EyeBasisConfig | None = None,
) -> Float32[np.ndarray, "*trials time behaviours"]:
    """Features of each trial, whose history starts at rest. Order as in `eye_feature_names`."""
    config = config or EyeBasisConfig()
    velocity = eye_velocity(position_deg, sampling_rate_hz)
    compressed = np.arcsinh(velocity / config.compression_deg_s)
    basis = cosine_basis_over_time(config.n_basis, config.window_s, sampling_rate_hz)
    features = np.empty((*velocity.shape[:-1], 2 * config.n_basis + 2), np.float32)
    for axis in range(2):
        for index, kernel in enumerate(basis):
            # A finite direct form filter, not an FFT: exactly causal, to the last bit.
            features[..., axis * config.n_basis + index] = lfilter(kernel, [1.0], compressed[..., axis])
    features[..., -2:] = position_deg
    return features


def eye_feature_names(config: EyeBasisConfig | None = None) -> tuple[str, ...]:
    """One name per feature of `eye_features`."""
    n_basis = (config or EyeBasisConfig()).n_basis
    velocities = [f"eye_velocity_{axis}_{index:02d}" for axis in "xy" for index in range(n_basis)]
    return (*velocities, "eye_position_x", "eye_position_y")
