"""Cells of retina, LGN and V1's input layer as white-noise experiments meet them, with a known rate for every bin.

    filters -> temporal kernel (-> rectified subunits, or division by local energy) -> softplus

`centre_surround` and `gabor` are exactly linear-nonlinear, so that a linear filter and an output nonlinearity can
reach the ceiling; `subunits` and `normalised` are not. Everything is causal to the last bit and starts from rest.
Sources: Chichilnisky 2001 (linear-nonlinear cells under white noise), Hochstein & Shapley 1976 (rectified subunits),
Heeger 1992 (division by local energy).
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from pydantic import Field, NonNegativeFloat, PositiveFloat

from visioncore.simulation.drawn import DrawnConfig
from visioncore.simulation.projection import on_grid, project
from visioncore.simulation.temporal import biphasic, low_pass
from visioncore.stimuli import GREY, gabor_pair

EarlyCellClass = Literal["centre_surround", "gabor", "subunits", "normalised"]

_SUBUNIT_RING = 6
_SUBUNIT_DISTANCE = 1.3
_SUBUNIT_SIGMA = 0.5
"""In multiples of the field's sigma: one subunit in the middle, six around it."""


class EarlyCellsConfig(DrawnConfig):
    """Which cells there are, and the ranges from which each draws its parameters uniformly unless said otherwise."""

    classes: tuple[EarlyCellClass, ...] = Field(default=("centre_surround",), min_length=1)
    """Dealt out to the units in turn; a class that is named twice is twice as frequent."""
    rf_sigma_px: tuple[PositiveFloat, PositiveFloat] = (1.3, 2.0)
    surround_per_sigma: tuple[PositiveFloat, PositiveFloat] = (1.8, 2.5)
    surround_weight: tuple[NonNegativeFloat, NonNegativeFloat] = (0.4, 0.8)
    """Volume of the surround relative to the centre's."""
    period_per_sigma: tuple[PositiveFloat, PositiveFloat] = (2.3, 3.3)
    latency_s: tuple[PositiveFloat, PositiveFloat] = (0.035, 0.060)
    transience: tuple[NonNegativeFloat, NonNegativeFloat] = (0.5, 0.9)
    """Area of the kernel's second, opposite lobe relative to the first."""
    mean_rate_hz: tuple[PositiveFloat, PositiveFloat] = (5.0, 14.0)
    """Log-uniform; the mean over the running noise."""
    gain: tuple[PositiveFloat, PositiveFloat] = (2.0, 2.6)
    threshold: tuple[float, float] = (0.5, 0.9)
    """The response is softplus(gain (z - threshold)), z the drive in its standard deviations."""
    semisaturation: PositiveFloat = 0.2
    """Of the normalised cells, in standard deviations of the filters that divide."""
    normalisation_time_s: PositiveFloat = 0.03


@dataclass(frozen=True)
class EarlyPopulation:
    """The units of one session; every array has one entry per unit."""

    config: EarlyCellsConfig
    sampling_rate_hz: float
    height: int
    width: int
    cell_class: tuple[EarlyCellClass, ...]
    row_px: Float64[np.ndarray, " units"]
    column_px: Float64[np.ndarray, " units"]
    sigma_px: Float64[np.ndarray, " units"]
    surround_sigma_px: Float64[np.ndarray, " units"]
    surround_weight: Float64[np.ndarray, " units"]
    polarity: Float64[np.ndarray, " units"]
    orientation_deg: Float64[np.ndarray, " units"]
    period_px: Float64[np.ndarray, " units"]
    phase_rad: Float64[np.ndarray, " units"]
    latency_s: Float64[np.ndarray, " units"]
    transience: Float64[np.ndarray, " units"]
    gain: Float64[np.ndarray, " units"]
    threshold: Float64[np.ndarray, " units"]
    target_rate_hz: Float64[np.ndarray, " units"]
    linear_sd: tuple[Float64[np.ndarray, " filters"], ...]
    """Standard deviations of each unit's filter outputs; 1 before `calibrated`."""
    drive_mean: Float64[np.ndarray, " units"]
    drive_sd: Float64[np.ndarray, " units"]
    response_scale: Float64[np.ndarray, " units"]
    """Expected counts per bin per unit of response; 1 before `calibrated`."""

    def rates(self, video: UInt8[np.ndarray, "time height width"]) -> Float32[np.ndarray, "time units"]:
        """Expected counts per bin, the video starting from rest."""
        signals = self._filtered(video)
        return self._rates(np.stack([self._drive(unit, signals[unit]) for unit in range(self._n_units)], 1))

    def calibrated(self, videos: list[UInt8[np.ndarray, "time height width"]]) -> "EarlyPopulation":
        """This population with its gains set so that its mean rates over these videos are as drawn."""
        filtered = [self._filtered(video) for video in videos]
        together = [
            np.concatenate([signals[unit] for signals in filtered], 1) for unit in range(self._n_units)
        ]
        scaled = replace(self, linear_sd=tuple(signals.std(1) for signals in together))
        drive = [
            np.concatenate([scaled._drive(unit, signals[unit]) for signals in filtered])
            for unit in range(self._n_units)
        ]
        moments = np.array([(values.mean(), values.std()) for values in drive])
        scaled = replace(scaled, drive_mean=moments[:, 0], drive_sd=moments[:, 1])
        mean_response = scaled._response(np.stack(drive, 1)).mean(0)
        return replace(scaled, response_scale=self.target_rate_hz / self.sampling_rate_hz / mean_response)

    def filters(self, unit: int) -> Float64[np.ndarray, "filters height width"]:
        """The unit's spatial filters: one; one per subunit; or one and the pair whose energy divides it."""
        name = self.cell_class[unit]
        if name == "subunits":
            offsets = self._subunit_offsets(unit)
            parts = [self._difference_of_gaussians(unit, *offset, _SUBUNIT_SIGMA) for offset in offsets]
        elif name == "gabor":
            even, odd = self._gabor_pair(unit)
            parts = [np.cos(self.phase_rad[unit]) * even + np.sin(self.phase_rad[unit]) * odd]
        else:
            parts = [self._difference_of_gaussians(unit, 0.0, 0.0, 1.0)]
            parts += list(self._gabor_pair(unit)) if name == "normalised" else []
        filters = np.stack(parts)
        return filters / np.abs(filters).sum((1, 2), keepdims=True)

    def truth(self) -> dict[str, list[Any]]:
        """Each unit's parameters as JSON values."""

        def of(values: np.ndarray, *classes: EarlyCellClass) -> list[float | None]:
            return [
                v if c in classes else None for v, c in zip(values.tolist(), self.cell_class, strict=True)
            ]

        round_classes: tuple[EarlyCellClass, ...] = ("centre_surround", "subunits", "normalised")
        return {
            "cell_class": list(self.cell_class),
            "rf_row_px": self.row_px.tolist(),
            "rf_column_px": self.column_px.tolist(),
            "rf_sigma_px": self.sigma_px.tolist(),
            "surround_sigma_px": of(self.surround_sigma_px, *round_classes),
            "surround_weight": of(self.surround_weight, *round_classes),
            "polarity": of(self.polarity, *round_classes),
            "orientation_deg": of(self.orientation_deg % 180, "gabor"),
            "spatial_period_px": of(self.period_px, "gabor"),
            "phase_rad": of(self.phase_rad, "gabor"),
            "latency_s": self.latency_s.tolist(),
            "transience": self.transience.tolist(),
            "gain": self.gain.tolist(),
            "threshold": self.threshold.tolist(),
        }

    @property
    def _n_units(self) -> int:
        return len(self.cell_class)

    def _gabor_pair(self, unit: int) -> Float64[np.ndarray, "2 height width"]:
        return gabor_pair(
            self.height,
            self.width,
            row_px=self.row_px[unit],
            column_px=self.column_px[unit],
            sigma_px=self.sigma_px[unit],
            orientation_deg=self.orientation_deg[unit],
            period_px=self.period_px[unit],
        )

    def _subunit_offsets(self, unit: int) -> list[tuple[float, float]]:
        """Rows down and columns right of the field's centre."""
        angles = np.deg2rad(self.orientation_deg[unit]) + np.arange(_SUBUNIT_RING) * 2 * np.pi / _SUBUNIT_RING
        distance = _SUBUNIT_DISTANCE * self.sigma_px[unit]
        return [(0.0, 0.0), *((distance * np.sin(angle), distance * np.cos(angle)) for angle in angles)]

    def _difference_of_gaussians(
        self, unit: int, offset_down_px: float, offset_right_px: float, scale: float
    ) -> Float64[np.ndarray, "height width"]:
        down = np.arange(self.height)[:, None] + 0.5 - self.row_px[unit] - offset_down_px
        right = np.arange(self.width)[None, :] + 0.5 - self.column_px[unit] - offset_right_px
        square = down**2 + right**2
        centre, surround = (
            np.exp(-square / (2 * (scale * sigma) ** 2)) / (2 * np.pi * (scale * sigma) ** 2)
            for sigma in (self.sigma_px[unit], self.surround_sigma_px[unit])
        )
        return self.polarity[unit] * (centre - self.surround_weight[unit] * surround)

    def _filtered(
        self, video: UInt8[np.ndarray, "time height width"]
    ) -> list[Float64[np.ndarray, "filters time"]]:
        """Each unit's filter outputs over space and time, in units of contrast."""
        filters = [self.filters(unit).reshape(-1, self.height * self.width) for unit in range(self._n_units)]
        weights = on_grid(np.concatenate(filters).T)
        spatial = project(video.reshape(len(video), -1), weights).T / GREY
        ends = np.cumsum([len(own) for own in filters])[:-1]
        return [
            biphasic(own, self.latency_s[unit] * self.sampling_rate_hz, self.transience[unit])
            for unit, own in enumerate(np.split(spatial, ends))
        ]

    def _drive(
        self, unit: int, filtered: Float64[np.ndarray, "filters time"]
    ) -> Float64[np.ndarray, " time"]:
        signals = filtered / self.linear_sd[unit][:, None]
        if self.cell_class[unit] == "subunits":
            ring = np.exp(-(_SUBUNIT_DISTANCE**2) / 2)
            weights = np.array([1.0] + [ring] * _SUBUNIT_RING)
            # Summed in a fixed order: a threaded product may not be.
            return np.asarray((weights[:, None] * np.maximum(signals, 0) ** 2).sum(0))
        if self.cell_class[unit] == "normalised":
            time_bins = self.config.normalisation_time_s * self.sampling_rate_hz
            energy = low_pass((signals[1:] ** 2).mean(0), time_bins)
            return np.asarray(signals[0] / (self.config.semisaturation**2 + energy))
        return np.asarray(signals[0])

    def _response(self, drive: Float64[np.ndarray, "time units"]) -> Float64[np.ndarray, "time units"]:
        z = (drive - self.drive_mean) / self.drive_sd
        return np.logaddexp(0, self.gain * (z - self.threshold))

    def _rates(self, drive: Float64[np.ndarray, "time units"]) -> Float32[np.ndarray, "time units"]:
        return (self.response_scale * self._response(drive)).astype(np.float32)


def draw_early_population(
    config: EarlyCellsConfig,
    n_units: int,
    height: int,
    width: int,
    sampling_rate_hz: float,
    generator: np.random.Generator,
) -> EarlyPopulation:
    """Units of the configured classes, their receptive fields inside the field."""
    sigma = np.minimum(generator.uniform(*config.rf_sigma_px, n_units), min(height, width) / 6)
    margin = 2.2 * sigma
    low, high = np.log(config.mean_rate_hz)
    cell_class = tuple(config.classes[unit % len(config.classes)] for unit in range(n_units))
    n_filters = [{"subunits": _SUBUNIT_RING + 1, "normalised": 3}.get(c, 1) for c in cell_class]
    return EarlyPopulation(
        config=config,
        sampling_rate_hz=sampling_rate_hz,
        height=height,
        width=width,
        cell_class=cell_class,
        row_px=margin + generator.random(n_units) * (height - 2 * margin),
        column_px=margin + generator.random(n_units) * (width - 2 * margin),
        sigma_px=sigma,
        surround_sigma_px=sigma * generator.uniform(*config.surround_per_sigma, n_units),
        surround_weight=generator.uniform(*config.surround_weight, n_units),
        polarity=generator.choice([-1.0, 1.0], n_units),
        orientation_deg=generator.uniform(0, 360, n_units),
        period_px=sigma * generator.uniform(*config.period_per_sigma, n_units),
        phase_rad=generator.uniform(0, 2 * np.pi, n_units),
        latency_s=generator.uniform(*config.latency_s, n_units),
        transience=generator.uniform(*config.transience, n_units),
        gain=generator.uniform(*config.gain, n_units),
        threshold=generator.uniform(*config.threshold, n_units),
        target_rate_hz=np.exp(generator.uniform(low, high, n_units)),
        linear_sd=tuple(np.ones(n) for n in n_filters),
        drive_mean=np.zeros(n_units),
        drive_sd=np.ones(n_units),
        response_scale=np.ones(n_units),
    )
