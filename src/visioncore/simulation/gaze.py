"""Simulated gaze: fixational drift and saccades on the main sequence, in degrees (x rightwards, y upwards).

Compared with recorded marmoset traces in docs/simulator.md.
"""

from typing import Self

import numpy as np
from jaxtyping import Float64
from pydantic import NonNegativeFloat, PositiveFloat, model_validator
from scipy.signal import lfilter

from visioncore.config import Config


class GazeConfig(Config):
    """Statistics of the gaze; amplitudes are lognormal, intervals a dead time plus a gamma variable."""

    drift_speed_deg_s: NonNegativeFloat = 0.5
    drift_time_constant_s: PositiveFloat = 0.025
    saccade_rate_hz: PositiveFloat = 2.0
    saccade_dead_time_s: NonNegativeFloat = 0.15
    microsaccade_fraction: NonNegativeFloat = 0.5
    microsaccade_deg: PositiveFloat = 0.4
    saccade_deg: PositiveFloat = 1.5
    amplitude_log_sd: NonNegativeFloat = 0.5
    main_sequence_deg_s: PositiveFloat = 430.0
    main_sequence_deg: PositiveFloat = 6.0
    screen_radius_deg: PositiveFloat = 3.0
    """Saccades that would land outside aim back at the middle."""

    @model_validator(mode="after")
    def _intervals_are_possible(self) -> Self:
        if self.saccade_rate_hz * self.saccade_dead_time_s >= 1:
            raise ValueError("saccade_rate_hz times saccade_dead_time_s must be below 1")
        if self.microsaccade_fraction > 1:
            raise ValueError("microsaccade_fraction must be at most 1")
        return self


def simulate_gaze(
    config: GazeConfig, n_samples: int, sampling_rate_hz: float, generator: np.random.Generator
) -> Float64[np.ndarray, "time 2"]:
    """One trial's eye positions in degrees."""
    start = generator.uniform(-0.4, 0.4, 2) * config.screen_radius_deg
    position = start + wander(
        config.drift_speed_deg_s, config.drift_time_constant_s, n_samples, sampling_rate_hz, generator
    )
    time_s = np.arange(n_samples) / sampling_rate_hz
    mean_wait_s = 1 / config.saccade_rate_hz - config.saccade_dead_time_s
    onset_s = generator.uniform(-1, 1) / config.saccade_rate_hz
    while onset_s < time_s[-1]:
        if onset_s >= 0:
            here = position[int(onset_s * sampling_rate_hz)]
            step = _saccade_vector(config, here, generator)
            amplitude = float(np.hypot(*step))
            peak_deg_s = config.main_sequence_deg_s * -np.expm1(-amplitude / config.main_sequence_deg)
            duration_s = 1.875 * amplitude / peak_deg_s
            position = position + step * _minimum_jerk((time_s - onset_s) / duration_s)[:, None]
        onset_s += config.saccade_dead_time_s + mean_wait_s * generator.gamma(2.0, 0.5)
    return position


def wander(
    speed_deg_s: float,
    time_constant_s: float,
    n_samples: int,
    sampling_rate_hz: float,
    generator: np.random.Generator,
) -> Float64[np.ndarray, "time 2"]:
    """A smooth random walk from (0, 0), its velocity an Ornstein-Uhlenbeck process of this r.m.s. speed."""
    keep = np.exp(-1 / (time_constant_s * sampling_rate_hz))
    innovations = generator.normal(0, 1, (n_samples, 2))
    innovations[1:] *= np.sqrt(1 - keep**2)
    velocity = lfilter([1.0], [1.0, -keep], innovations, axis=0)
    velocity[0] = 0
    return np.cumsum(velocity, axis=0) * (speed_deg_s / np.sqrt(2) / sampling_rate_hz)


def _saccade_vector(
    config: GazeConfig, here: Float64[np.ndarray, " 2"], generator: np.random.Generator
) -> Float64[np.ndarray, " 2"]:
    small = generator.random() < config.microsaccade_fraction
    median_deg = config.microsaccade_deg if small else config.saccade_deg
    amplitude = median_deg * np.exp(config.amplitude_log_sd * generator.normal())
    angle = generator.uniform(0, 2 * np.pi)
    step = amplitude * np.array([np.cos(angle), np.sin(angle)])
    if np.hypot(*(here + step)) > config.screen_radius_deg:
        towards_middle = np.arctan2(-here[1], -here[0]) + generator.normal(0, 0.5)
        step = amplitude * np.array([np.cos(towards_middle), np.sin(towards_middle)])
    return step


def _minimum_jerk(phase: Float64[np.ndarray, " time"]) -> Float64[np.ndarray, " time"]:
    """From 0 to 1 as phase goes from 0 to 1, with peak slope 1.875 in the middle."""
    phase = np.clip(phase, 0, 1)
    return phase**3 * (10 - 15 * phase + 6 * phase**2)
