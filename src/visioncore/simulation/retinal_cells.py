"""Slow ganglion cells of a mouse's retina under white noise, with a known rate for every bin.

    centre-surround fields -> biphasic kernel of 250 to 400 ms -> (rectified ON and OFF parts) -> power of a softplus

A cell has one field, or seven small ones whose rectified outputs are summed (`_subunits`). Of an ON–OFF cell
both signs drive, the preferred one more. The last nonlinearity may stay flat until the drive is large and then rise
steeply, as in real cells. Everything is causal to the last bit and starts from rest.
Sources: Chichilnisky 2001; Hochstein & Shapley 1976 (subunits); Baden et al. 2016 (types and kernels of the mouse).
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from pydantic import Field, NonNegativeFloat, PositiveFloat

from visioncore.simulation.drawn import DrawnConfig
from visioncore.simulation.projection import on_grid, project
from visioncore.simulation.temporal import biphasic
from visioncore.stimuli import GREY

RetinalCellClass = Literal["on", "off", "on_off", "on_subunits", "off_subunits", "on_off_subunits"]

_KERNEL_ORDER = 12
"""Of the cascade: kernels that begin late and do not last much longer."""
_SUBUNIT_RING = 6
_SUBUNIT_DISTANCE = 1.3
_SUBUNIT_SIGMA = 0.5
"""In multiples of the field's sigma: one subunit in the middle, six around it."""


class RetinalCellsConfig(DrawnConfig):
    """Which cells there are, and the ranges from which each draws its parameters uniformly unless said otherwise."""

    classes: tuple[RetinalCellClass, ...] = Field(default=("on",), min_length=1)
    """Dealt out to the units in turn; a class that is named twice is twice as frequent."""
    rf_sigma_px: tuple[PositiveFloat, PositiveFloat] = (1.3, 2.2)
    surround_per_sigma: tuple[PositiveFloat, PositiveFloat] = (1.8, 2.5)
    surround_weight: tuple[NonNegativeFloat, NonNegativeFloat] = (0.2, 0.7)
    """Volume of the surround relative to the centre's."""
    latency_s: tuple[PositiveFloat, PositiveFloat] = (0.065, 0.100)
    """About where the first lobe of a kernel peaks; the second one ends after some three times as long."""
    transience: tuple[NonNegativeFloat, NonNegativeFloat] = (0.5, 0.9)
    """Area of the kernel's second, opposite lobe relative to the first."""
    other_sign: tuple[NonNegativeFloat, NonNegativeFloat] = (0.3, 0.9)
    """What the other sign drives an ON–OFF cell by, relative to the preferred one."""
    mean_rate_hz: tuple[PositiveFloat, PositiveFloat] = (3.0, 12.0)
    """Log-uniform; the mean over the running noise."""
    gain: tuple[PositiveFloat, PositiveFloat] = (1.5, 2.5)
    threshold: tuple[float, float] = (0.3, 1.2)
    power: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.6)
    """The response is softplus(gain (z - threshold)) to this power, z the drive in its standard deviations."""


@dataclass(frozen=True)
class RetinalPopulation:
    """The units of one session; every array has one entry per unit."""

    config: RetinalCellsConfig
    sampling_rate_hz: float
    height: int
    width: int
    cell_class: tuple[RetinalCellClass, ...]
    drawn: dict[str, Float64[np.ndarray, " units"]]
    """Parameters by the names that `truth` gives them."""
    field_sd: tuple[Float64[np.ndarray, " fields"], ...]
    """Standard deviations of each unit's filtered fields; 1 before `calibrated`."""
    drive_mean: Float64[np.ndarray, " units"]
    drive_sd: Float64[np.ndarray, " units"]
    response_scale: Float64[np.ndarray, " units"]
    """Expected counts per bin per unit of response; 1 before `calibrated`."""

    def rates(self, video: UInt8[np.ndarray, "time height width"]) -> Float32[np.ndarray, "time units"]:
        """Expected counts per bin, the video starting from rest."""
        drive = np.stack([self._drive(unit, own) for unit, own in enumerate(self._filtered(video))], 1)
        return (self.response_scale * self._response(drive)).astype(np.float32)

    def calibrated(self, videos: list[UInt8[np.ndarray, "time height width"]]) -> "RetinalPopulation":
        """This population with its gains set so that its mean rates over these videos are as drawn."""
        per_video = [self._filtered(video) for video in videos]
        together = [np.concatenate(parts, 1) for parts in zip(*per_video, strict=True)]
        scaled = replace(self, field_sd=tuple(signals.std(1) for signals in together))
        drive = np.stack([scaled._drive(unit, signals) for unit, signals in enumerate(together)], 1)
        scaled = replace(scaled, drive_mean=drive.mean(0), drive_sd=drive.std(0))
        mean_response = scaled._response(drive).mean(0)
        target = self.drawn["target_rate_hz"] / self.sampling_rate_hz
        return replace(scaled, response_scale=target / mean_response)

    def filters(self, unit: int) -> Float64[np.ndarray, "fields height width"]:
        """The unit's spatial filters: one, or one per subunit."""
        sigma = self.drawn["rf_sigma_px"][unit]
        offsets, size = [(0.0, 0.0)], 1.0
        if self.cell_class[unit].endswith("subunits"):
            distance = _SUBUNIT_DISTANCE * sigma
            offsets = _ring_offsets(_SUBUNIT_RING, distance, self.drawn["ring_deg"][unit])
            size = _SUBUNIT_SIGMA
        fields = np.stack(
            [
                _difference_of_gaussians(
                    self.height,
                    self.width,
                    row_px=self.drawn["rf_row_px"][unit] + down,
                    column_px=self.drawn["rf_column_px"][unit] + right,
                    sigma_px=size * sigma,
                    surround_sigma_px=size * sigma * self.drawn["surround_per_sigma"][unit],
                    surround_weight=self.drawn["surround_weight"][unit],
                )
                for down, right in offsets
            ]
        )
        prefers_off = self.cell_class[unit].startswith("off") or self.drawn["prefers_off"][unit] > 0
        return (-1 if prefers_off else 1) * fields / np.abs(fields).sum((1, 2), keepdims=True)

    def kernel(self, unit: int, bins: int) -> Float64[np.ndarray, " bins"]:
        """The unit's temporal filter, from the present into the past."""
        impulse = np.eye(1, bins)
        latency = self.drawn["latency_s"][unit] * self.sampling_rate_hz
        return biphasic(impulse, latency, self.drawn["transience"][unit], _KERNEL_ORDER)[0]

    def truth(self) -> dict[str, list[Any]]:
        """Each unit's parameters as JSON values; `kernel_s` is when its kernel has fallen to 5 % of its peak."""
        bins = round(self.sampling_rate_hz)
        kernels = np.abs([self.kernel(unit, bins) for unit in range(len(self.cell_class))])
        above = kernels > 0.05 * kernels.max(1, keepdims=True)
        lasts = bins - above[:, ::-1].argmax(1)
        return {
            "cell_class": list(self.cell_class),
            **{name: values.tolist() for name, values in self.drawn.items()},
            "kernel_s": (lasts / self.sampling_rate_hz).tolist(),
        }

    def _filtered(
        self, video: UInt8[np.ndarray, "time height width"]
    ) -> list[Float64[np.ndarray, "fields time"]]:
        """Each unit's field outputs over space and time, in units of contrast."""
        units = range(len(self.cell_class))
        fields = [self.filters(unit).reshape(-1, self.height * self.width) for unit in units]
        spatial = project(video.reshape(len(video), -1), on_grid(np.concatenate(fields).T)).T / GREY
        ends = np.cumsum([len(own) for own in fields])[:-1]
        latency = self.drawn["latency_s"] * self.sampling_rate_hz
        return [
            biphasic(own, latency[unit], self.drawn["transience"][unit], _KERNEL_ORDER)
            for unit, own in enumerate(np.split(spatial, ends))
        ]

    def _drive(self, unit: int, filtered: Float64[np.ndarray, "fields time"]) -> Float64[np.ndarray, " time"]:
        signals = filtered / self.field_sd[unit][:, None]
        name = self.cell_class[unit]
        if name in ("on", "off"):
            return np.asarray(signals[0])
        other = self.drawn["other_sign"][unit] if name.startswith("on_off") else 0.0
        if name == "on_off":
            return np.asarray(np.maximum(signals[0], 0) + other * np.maximum(-signals[0], 0))
        ring = np.exp(-(_SUBUNIT_DISTANCE**2) / 2)
        weights = np.array([1.0] + [ring] * _SUBUNIT_RING)[:, None]
        each = np.maximum(signals, 0) + other * np.maximum(-signals, 0)
        # Summed in a fixed order: a threaded product may not be.
        return np.asarray((weights * each).sum(0))

    def _response(self, drive: Float64[np.ndarray, "time units"]) -> Float64[np.ndarray, "time units"]:
        z = (drive - self.drive_mean) / self.drive_sd
        gain, threshold, power = (self.drawn[name] for name in ("gain", "threshold", "power"))
        return np.logaddexp(0, gain * (z - threshold)) ** power


def draw_retinal_population(
    config: RetinalCellsConfig,
    n_units: int,
    height: int,
    width: int,
    sampling_rate_hz: float,
    generator: np.random.Generator,
) -> RetinalPopulation:
    """Units of the configured classes, their receptive fields inside the field."""
    sigma = np.minimum(generator.uniform(*config.rf_sigma_px, n_units), min(height, width) / 6)
    margin = 2.2 * sigma
    low, high = np.log(config.mean_rate_hz)
    cell_class = tuple(config.classes[unit % len(config.classes)] for unit in range(n_units))
    drawn = {
        "rf_row_px": margin + generator.random(n_units) * (height - 2 * margin),
        "rf_column_px": margin + generator.random(n_units) * (width - 2 * margin),
        "rf_sigma_px": sigma,
        "surround_per_sigma": generator.uniform(*config.surround_per_sigma, n_units),
        "surround_weight": generator.uniform(*config.surround_weight, n_units),
        "ring_deg": generator.uniform(0, 360, n_units),
        "prefers_off": np.where(
            [c.startswith("on_off") for c in cell_class], generator.integers(0, 2, n_units), 0
        ).astype(np.float64),
        "latency_s": generator.uniform(*config.latency_s, n_units),
        "transience": generator.uniform(*config.transience, n_units),
        "other_sign": generator.uniform(*config.other_sign, n_units),
        "gain": generator.uniform(*config.gain, n_units),
        "threshold": generator.uniform(*config.threshold, n_units),
        "power": generator.uniform(*config.power, n_units),
        "target_rate_hz": np.exp(generator.uniform(low, high, n_units)),
    }
    n_fields = [_SUBUNIT_RING + 1 if c.endswith("subunits") else 1 for c in cell_class]
    return RetinalPopulation(
        config=config,
        sampling_rate_hz=sampling_rate_hz,
        height=height,
        width=width,
        cell_class=cell_class,
        drawn=drawn,
        field_sd=tuple(np.ones(n) for n in n_fields),
        drive_mean=np.zeros(n_units),
        drive_sd=np.ones(n_units),
        response_scale=np.ones(n_units),
    )


def _difference_of_gaussians(
    height: int,
    width: int,
    *,
    row_px: float,
    column_px: float,
    sigma_px: float,
    surround_sigma_px: float,
    surround_weight: float,
) -> Float64[np.ndarray, "height width"]:
    """A centre of unit volume, less a surround of this volume (Rodieck 1965)."""
    down = np.arange(height)[:, None] + 0.5 - row_px
    right = np.arange(width)[None, :] + 0.5 - column_px
    square = down**2 + right**2
    centre, surround = (
        np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2) for sigma in (sigma_px, surround_sigma_px)
    )
    return centre - surround_weight * surround


def _ring_offsets(number: int, distance_px: float, orientation_deg: float) -> list[tuple[float, float]]:
    """Rows down and columns right of the middle: first the middle, then `number` places around it."""
    angles = np.deg2rad(orientation_deg) + np.arange(number) * 2 * np.pi / number
    return [(0.0, 0.0), *((distance_px * np.sin(a), distance_px * np.cos(a)) for a in angles)]
