"""Running and pupil of a head-fixed animal: bouts of running that the pupil follows, and arousal of its own."""

import numpy as np
from jaxtyping import Float32, Float64
from pydantic import PositiveFloat
from scipy.signal import lfilter

from visioncore.simulation.drawn import DrawnConfig
from visioncore.simulation.temporal import low_pass

BEHAVIOUR_NAMES = ("running_speed_cm_s", "pupil_size", "pupil_change_per_s")


class LocomotionConfig(DrawnConfig):
    """Statistics of the animal's state, and how strongly it acts on the units."""

    bout_time_constant_s: PositiveFloat = 8.0
    running_threshold: float = 0.3
    """The animal runs while a standard normal process is above this."""
    running_speed_cm_s: PositiveFloat = 12.0
    """Per unit above the threshold."""
    pupil_lag_s: PositiveFloat = 1.5
    arousal_time_constant_s: PositiveFloat = 20.0
    running_gain: tuple[float, float] = (0.0, 0.25)
    """Log gain per unit of log(1 + speed); drawn uniformly for each unit, as the next."""
    pupil_gain: tuple[float, float] = (-0.1, 0.25)
    """Log gain per standard deviation of the pupil's size."""


def simulate_locomotion(
    config: LocomotionConfig, n_samples: int, sampling_rate_hz: float, generator: np.random.Generator
) -> Float32[np.ndarray, "time behaviours"]:
    """Signals of a whole session in the order of `BEHAVIOUR_NAMES`, on a scale of 0 to about 1 for the pupil."""
    drive = _ornstein_uhlenbeck(config.bout_time_constant_s * sampling_rate_hz, n_samples, generator)
    stride = 1 + 0.2 * _ornstein_uhlenbeck(0.3 * sampling_rate_hz, n_samples, generator)
    speed = np.maximum(
        config.running_speed_cm_s * np.maximum(drive - config.running_threshold, 0) * stride, 0
    )
    arousal = _ornstein_uhlenbeck(config.arousal_time_constant_s * sampling_rate_hz, n_samples, generator)
    followed = low_pass(np.log1p(speed), config.pupil_lag_s * sampling_rate_hz)
    pupil = np.maximum(0.4 + 0.1 * followed + 0.06 * arousal, 0.05)
    change = np.diff(pupil, prepend=pupil[:1]) * sampling_rate_hz
    return np.stack([speed, pupil, change], 1).astype(np.float32)


def behavioural_gain(
    behaviour: Float32[np.ndarray, "time behaviours"],
    running_gain: Float64[np.ndarray, " units"],
    pupil_gain: Float64[np.ndarray, " units"],
) -> Float64[np.ndarray, "time units"]:
    """What each sample of behaviour multiplies the units' rates by; its mean over the session is 1."""
    running = np.log1p(behaviour[:, 0].astype(np.float64))
    size = behaviour[:, 1].astype(np.float64)
    pupil = (size - size.mean()) / size.std()
    gain = np.exp(running[:, None] * running_gain + pupil[:, None] * pupil_gain)
    return gain / gain.mean(0)


def _ornstein_uhlenbeck(
    time_constant_bins: float, n_samples: int, generator: np.random.Generator
) -> Float64[np.ndarray, " time"]:
    """Standard normal at each sample, forgetting exponentially."""
    keep = np.exp(-1 / time_constant_bins)
    innovations = generator.normal(0, 1, n_samples)
    innovations[1:] *= np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], innovations)
