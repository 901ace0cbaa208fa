"""A simulated V1 population: simple, complex and direction-selective cells with a known rate for every bin.

    filters -> temporal kernels -> energy -> normalisation and adaptation -> power law -> saccadic gain

Everything is causal to the last bit, starts from rest at the beginning of a trial, and acts on the uint8
video that a model sees. Sources: Adelson & Bergen 1985 (energy, direction), Heeger 1992 (normalisation),
Mante et al. 2008 (local contrast as the normalising signal), Watson & Ahumada 1985 (temporal kernels).
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from pydantic import NonNegativeFloat, PositiveFloat

from visioncore.behaviour import eye_velocity
from visioncore.simulation.drawn import DrawnConfig
from visioncore.simulation.projection import on_grid, project
from visioncore.simulation.temporal import biphasic, gamma, low_pass
from visioncore.stimuli import GREY, gabor_pair

CellClass = Literal["simple", "complex", "direction_selective"]
CELL_CLASSES: tuple[CellClass, ...] = ("simple", "complex", "direction_selective")


class CellsConfig(DrawnConfig):
    """Ranges from which each unit draws its parameters, uniformly unless said otherwise."""

    rf_sigma_px: tuple[PositiveFloat, PositiveFloat] = (2.0, 3.5)
    period_per_sigma: tuple[PositiveFloat, PositiveFloat] = (2.3, 3.3)
    latency_s: tuple[PositiveFloat, PositiveFloat] = (0.030, 0.060)
    transience: tuple[NonNegativeFloat, NonNegativeFloat] = (0.6, 0.9)
    """Area of the kernel's second, opposite lobe relative to the first."""
    mean_rate_hz: tuple[PositiveFloat, PositiveFloat] = (4.0, 16.0)
    """Log-uniform; the mean over the training trials."""
    simple_exponent: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.3)
    complex_exponent: tuple[PositiveFloat, PositiveFloat] = (2.5, 3.0)
    direction_exponent: tuple[PositiveFloat, PositiveFloat] = (1.4, 1.8)
    spontaneous_fraction: NonNegativeFloat = 0.04
    """Of the mean rate."""
    saturation: PositiveFloat = 40.0
    """The response at which it is half saturated, in multiples of the mean response."""
    semisaturation_contrast: PositiveFloat = 0.06
    normalisation_time_s: PositiveFloat = 0.03
    adaptation: NonNegativeFloat = 0.4
    """Weight of the slow contrast signal beside the fast one."""
    adaptation_time_s: PositiveFloat = 0.3
    null_suppression: NonNegativeFloat = 0.7
    saccade_suppression: NonNegativeFloat = 0.6
    saccade_enhancement: NonNegativeFloat = 0.5
    saccade_speed_deg_s: PositiveFloat = 30.0
    """Eye speed at which the saccade signal is half on."""


@dataclass(frozen=True)
class Population:
    """The units of one session; every array has one entry per unit unless said otherwise."""

    config: CellsConfig
    sampling_rate_hz: float
    height: int
    width: int
    cell_class: tuple[CellClass, ...]
    row_px: Float64[np.ndarray, " units"]
    column_px: Float64[np.ndarray, " units"]
    sigma_px: Float64[np.ndarray, " units"]
    orientation_deg: Float64[np.ndarray, " units"]
    period_px: Float64[np.ndarray, " units"]
    latency_s: Float64[np.ndarray, " units"]
    transience: Float64[np.ndarray, " units"]
    exponent: Float64[np.ndarray, " units"]
    simple_phase: Float64[np.ndarray, " units"]
    target_rate_hz: Float64[np.ndarray, " units"]
    drive_scale: Float64[np.ndarray, " units"]
    """R.m.s. drive over the calibration trials; 1 before `calibrated`."""
    response_scale: Float64[np.ndarray, " units"]
    """Expected counts per bin per unit of response; 1 before `calibrated`."""

    def rates(
        self,
        video: UInt8[np.ndarray, "trials time height width"],
        eye_deg: Float[np.ndarray, "trials time 2"],
    ) -> Float32[np.ndarray, "trials time units"]:
        """Expected counts per bin given the video and the eye positions, each trial starting from rest."""
        response = self._response(self._drive(video) / self.drive_scale, eye_deg)
        mean = self.target_rate_hz / self.sampling_rate_hz
        spontaneous = self.config.spontaneous_fraction * mean
        return (spontaneous + self.response_scale * response).astype(np.float32)

    def calibrated(
        self,
        video: UInt8[np.ndarray, "trials time height width"],
        eye_deg: Float[np.ndarray, "trials time 2"],
        used: Bool[np.ndarray, " trials"],
    ) -> tuple["Population", Float32[np.ndarray, "trials time units"]]:
        """This population with its gains set by the `used` trials (mean rates as drawn), and its rates."""
        drive = self._drive(video)
        scale = np.sqrt(np.mean(drive[used] ** 2, axis=(0, 1)))
        response = self._response(drive / scale, eye_deg)
        mean_response = response[used].mean((0, 1))
        mean = self.target_rate_hz / self.sampling_rate_hz
        spontaneous = self.config.spontaneous_fraction * mean
        gain = (mean - spontaneous) / mean_response
        population = replace(self, drive_scale=scale, response_scale=gain)
        return population, (spontaneous + gain * response).astype(np.float32)

    def truth(self) -> dict[str, list[Any]]:
        """Each unit's parameters as JSON values."""
        directional = [name == "direction_selective" for name in self.cell_class]
        return {
            "cell_class": list(self.cell_class),
            "rf_row_px": self.row_px.tolist(),
            "rf_column_px": self.column_px.tolist(),
            "rf_sigma_px": self.sigma_px.tolist(),
            "orientation_deg": (self.orientation_deg % 180).tolist(),
            "direction_deg": [
                angle if moves else None
                for angle, moves in zip(self.orientation_deg.tolist(), directional, strict=True)
            ],
            "spatial_period_px": self.period_px.tolist(),
            "spatial_frequency_cycles_per_px": (1 / self.period_px).tolist(),
            "phase_rad": [
                phase if name == "simple" else None
                for phase, name in zip(self.simple_phase.tolist(), self.cell_class, strict=True)
            ],
            "latency_s": self.latency_s.tolist(),
            "transience": self.transience.tolist(),
            "exponent": self.exponent.tolist(),
        }

    def _drive(
        self, video: UInt8[np.ndarray, "trials time height width"]
    ) -> Float64[np.ndarray, "trials time units"]:
        """Normalised drive, before the power law; 0 on grey."""
        even, odd, contrast = self._project(video)
        drive = np.empty(even.shape)
        bin_s = 1 / self.sampling_rate_hz
        for unit, name in enumerate(self.cell_class):
            signal = np.stack([even[..., unit], odd[..., unit]])
            early = biphasic(signal, self.latency_s[unit] / bin_s, self.transience[unit])
            if name == "simple":
                phase = self.simple_phase[unit]
                value = np.maximum(np.cos(phase) * early[0] + np.sin(phase) * early[1], 0)
            elif name == "complex":
                value = np.hypot(early[0], early[1])
            else:
                late = biphasic(signal, 1.7 * self.latency_s[unit] / bin_s, self.transience[unit])
                # The phase of what moves in the preferred direction falls with time: even leads odd.
                preferred = np.hypot(early[0] - late[1], early[1] + late[0])
                null = np.hypot(early[0] + late[1], early[1] - late[0])
                value = np.maximum(preferred - self.config.null_suppression * null, 0)
            fast = low_pass(contrast[..., unit], self.config.normalisation_time_s / bin_s)
            slow = low_pass(contrast[..., unit], self.config.adaptation_time_s / bin_s)
            pool = self.config.semisaturation_contrast + fast + self.config.adaptation * slow
            drive[..., unit] = value / pool
        return drive

    def _response(
        self, drive: Float64[np.ndarray, "trials time units"], eye_deg: Float[np.ndarray, "trials time 2"]
    ) -> Float64[np.ndarray, "trials time units"]:
        power = drive**self.exponent
        saturated = power / (1 + power / self.config.saturation)
        gain = self._saccadic_gain(eye_deg)
        return saturated * gain[..., None]

    def _saccadic_gain(
        self, eye_deg: Float[np.ndarray, "trials time 2"]
    ) -> Float64[np.ndarray, "trials time"]:
        """Suppression while the eye is fast and for some 50 ms, then a weaker enhancement of some 150 ms."""
        velocity = eye_velocity(eye_deg, self.sampling_rate_hz)
        speed = np.hypot(velocity[..., 0], velocity[..., 1]) / self.config.saccade_speed_deg_s
        moving = speed**4 / (1 + speed**4)
        suppression = np.minimum(3 * low_pass(moving, 0.030 * self.sampling_rate_hz), 1)
        enhancement = np.minimum(3 * gamma(moving, 0.130 * self.sampling_rate_hz), 1)
        config = self.config
        return np.maximum(
            1 - config.saccade_suppression * suppression + config.saccade_enhancement * enhancement, 0.05
        )

    def _project(
        self, video: UInt8[np.ndarray, "trials time height width"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Even and odd filter outputs and local contrast, (trials, time, units) each, in units of contrast."""
        pairs, pools = [], []
        for unit in range(len(self.cell_class)):
            place = {"row_px": self.row_px[unit], "column_px": self.column_px[unit]}
            pair = gabor_pair(
                self.height,
                self.width,
                **place,
                sigma_px=self.sigma_px[unit],
                orientation_deg=self.orientation_deg[unit],
                period_px=self.period_px[unit],
            )
            pairs.append(pair.reshape(2, -1) / np.abs(pair).sum((1, 2)).mean())
            down = np.arange(self.height)[:, None] + 0.5 - place["row_px"]
            right = np.arange(self.width)[None, :] + 0.5 - place["column_px"]
            pool = np.exp(-(down**2 + right**2) / (2 * (1.5 * self.sigma_px[unit]) ** 2))
            pools.append(pool.ravel() / pool.sum())
        filters = np.stack(pairs, -1)
        weights = np.concatenate([filters[0], filters[1], np.stack(pools, -1)], 1)
        weights = on_grid(weights)

        flat = video.reshape(-1, self.height * self.width)
        linear = project(flat, weights)
        power = project(flat, weights[:, -len(pools) :], squared=True)
        even, odd, mean = np.split(linear / GREY, 3, axis=1)
        contrast = np.sqrt(np.maximum(power / GREY**2 - mean**2, 0))
        shape = (*video.shape[:2], -1)
        return even.reshape(shape), odd.reshape(shape), contrast.reshape(shape)


def draw_population(
    config: CellsConfig,
    n_units: int,
    height: int,
    width: int,
    sampling_rate_hz: float,
    generator: np.random.Generator,
) -> Population:
    """Units of all classes in equal parts, their receptive fields inside the field."""
    largest = min(height, width) / 6
    sigma = np.minimum(generator.uniform(*config.rf_sigma_px, n_units), largest)
    margin = 2.2 * sigma
    low, high = np.log(config.mean_rate_hz)
    cell_class = tuple(CELL_CLASSES[unit % len(CELL_CLASSES)] for unit in range(n_units))
    exponents = {
        "simple": config.simple_exponent,
        "complex": config.complex_exponent,
        "direction_selective": config.direction_exponent,
    }
    return Population(
        config=config,
        sampling_rate_hz=sampling_rate_hz,
        height=height,
        width=width,
        cell_class=cell_class,
        row_px=margin + generator.random(n_units) * (height - 2 * margin),
        column_px=margin + generator.random(n_units) * (width - 2 * margin),
        sigma_px=sigma,
        orientation_deg=generator.uniform(0, 360, n_units),
        period_px=sigma * generator.uniform(*config.period_per_sigma, n_units),
        latency_s=generator.uniform(*config.latency_s, n_units),
        transience=generator.uniform(*config.transience, n_units),
        exponent=np.array([generator.uniform(*exponents[name]) for name in cell_class]),
        simple_phase=generator.uniform(0, 2 * np.pi, n_units),
        target_rate_hz=np.exp(generator.uniform(low, high, n_units)),
        drive_scale=np.ones(n_units),
        response_scale=np.ones(n_units),
    )
