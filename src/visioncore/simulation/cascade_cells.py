"""A cortical population made of rectified ON and OFF subunits, with a known rate for every bin.

    mosaic of centre-surround filters -> temporal kernel -> ON and OFF rectified -> push-pull sums over elongated,
    lopsided templates -> simple, energy or delay-and-compare -> Naka-Rushton -> adaptive threshold -> gain field

Nothing here is shared with `cells.py` but recursive filters: other receptive fields, kernels, rectification,
normalisation, direction selectivity and effects of the eye. Causal to the last bit, each trial from rest.
Sources: Hubel & Wiesel 1962 (fields from rows of subunits), Hirsch et al. 1998 (push-pull), Hassenstein & Reichardt
1956 (delay and compare), Naka & Rushton 1966, Zipser & Andersen 1988 (gain fields).
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from pydantic import NonNegativeFloat, PositiveFloat

from visioncore.behaviour import eye_velocity
from visioncore.simulation.projection import on_grid
from visioncore.simulation.subunits import (
    SubunitsConfig,
    mosaic,
    on_off,
    subunit_filters,
    subunit_kernel,
)
from visioncore.simulation.temporal import gamma, low_pass

CascadeClass = Literal["push_pull", "subunit_energy", "delay_opponent"]
CASCADE_CLASSES: tuple[CascadeClass, ...] = ("push_pull", "subunit_energy", "delay_opponent")

_TRIALS_AT_ONCE = 8
_KERNEL_HZ = 2000.0


class CascadeCellsConfig(SubunitsConfig):
    """The mosaic that all units share, and ranges from which each draws, uniformly unless said otherwise."""

    sigma_px: tuple[PositiveFloat, PositiveFloat] = (1.6, 2.4)
    """Across the template."""
    elongation: tuple[PositiveFloat, PositiveFloat] = (1.3, 2.2)
    """Sigma along the template over that across."""
    lopsidedness: tuple[float, float] = (-0.3, 0.3)
    """How much wider than sigma the template is on one side, and narrower on the other, as a fraction."""
    push_pull: NonNegativeFloat = 0.6
    """Weight of inhibition by subunits of the other sign."""
    delay_s: tuple[PositiveFloat, PositiveFloat] = (0.008, 0.025)
    """Mean delay from subunits to cell."""
    comparison_delay_s: PositiveFloat = 0.03
    null_weight: NonNegativeFloat = 0.9
    exponent: tuple[PositiveFloat, PositiveFloat] = (1.6, 2.2)
    energy_exponent: tuple[PositiveFloat, PositiveFloat] = (2.6, 3.4)
    semisaturation: PositiveFloat = 0.5
    """In multiples of the mean activity of the pool."""
    pool_time_s: PositiveFloat = 0.04
    saturation: PositiveFloat = 4.0
    """Drive at which a cell saturates, in multiples of its r.m.s. drive."""
    threshold: tuple[float, float] = (0.5, 1.0)
    """In multiples of the mean normalised drive."""
    sharpness: PositiveFloat = 1.7
    adaptation: NonNegativeFloat = 0.5
    adaptation_time_s: PositiveFloat = 0.5
    """The threshold rises with the past normalised drive."""
    mean_rate_hz: tuple[PositiveFloat, PositiveFloat] = (3.0, 14.0)
    """Log-uniform; the mean over the training trials."""
    gain_field_per_deg: NonNegativeFloat = 0.08
    """Standard deviation, over units, of the log gain per degree of eye position."""
    saccade_suppression: NonNegativeFloat = 0.4


@dataclass(frozen=True)
class _Scales:
    """What calibration sets, one value per unit each."""

    drive: Float64[np.ndarray, " units"]
    pool: Float64[np.ndarray, " units"]
    normalised: Float64[np.ndarray, " units"]
    response: Float64[np.ndarray, " units"]


@dataclass(frozen=True)
class CascadePopulation:
    """The units of one session; every array has one entry per unit."""

    config: CascadeCellsConfig
    sampling_rate_hz: float
    height: int
    width: int
    cell_class: tuple[CascadeClass, ...]
    row_px: Float64[np.ndarray, " units"]
    column_px: Float64[np.ndarray, " units"]
    sigma_px: Float64[np.ndarray, " units"]
    elongation: Float64[np.ndarray, " units"]
    lopsidedness: Float64[np.ndarray, " units"]
    orientation_deg: Float64[np.ndarray, " units"]
    phase_rad: Float64[np.ndarray, " units"]
    delay_s: Float64[np.ndarray, " units"]
    exponent: Float64[np.ndarray, " units"]
    threshold: Float64[np.ndarray, " units"]
    gain_field: Float64[np.ndarray, "units 2"]
    target_rate_hz: Float64[np.ndarray, " units"]
    scales: _Scales
    """All 1 before `calibrated`."""

    def rates(
        self,
        video: UInt8[np.ndarray, "trials time height width"],
        eye_deg: Float[np.ndarray, "trials time 2"],
    ) -> Float32[np.ndarray, "trials time units"]:
        """Expected counts per bin given the video and the eye positions, each trial starting from rest."""
        normalised = self._normalised(*self._signals(video))
        return (self.scales.response * self._response(normalised, eye_deg)).astype(np.float32)

    def calibrated(
        self,
        video: UInt8[np.ndarray, "trials time height width"],
        eye_deg: Float[np.ndarray, "trials time 2"],
        used: Bool[np.ndarray, " trials"],
    ) -> tuple["CascadePopulation", Float32[np.ndarray, "trials time units"]]:
        """This population with its gains set by the `used` trials (mean rates as drawn), and its rates."""
        drive, pool = self._signals(video)
        scales = replace(
            self.scales, drive=np.sqrt((drive[used] ** 2).mean((0, 1))), pool=pool[used].mean((0, 1))
        )
        scaled = replace(self, scales=scales)
        normalised = scaled._normalised(drive, pool)
        scaled = replace(scaled, scales=replace(scales, normalised=normalised[used].mean((0, 1))))
        response = scaled._response(normalised, eye_deg)
        gain = self.target_rate_hz / self.sampling_rate_hz / response[used].mean((0, 1))
        return replace(scaled, scales=replace(scaled.scales, response=gain)), (gain * response).astype(
            np.float32
        )

    def truth(self) -> dict[str, list[Any]]:
        """Each unit's parameters as JSON values."""
        directional = [name == "delay_opponent" for name in self.cell_class]
        return {
            "cell_class": list(self.cell_class),
            "rf_row_px": self.row_px.tolist(),
            "rf_column_px": self.column_px.tolist(),
            "rf_sigma_px": self.sigma_px.tolist(),
            "elongation": self.elongation.tolist(),
            "lopsidedness": self.lopsidedness.tolist(),
            "orientation_deg": (self.orientation_deg % 180).tolist(),
            "direction_deg": [
                angle if moves else None
                for angle, moves in zip(self.orientation_deg.tolist(), directional, strict=True)
            ],
            "phase_rad": [
                phase if name == "push_pull" else None
                for phase, name in zip(self.phase_rad.tolist(), self.cell_class, strict=True)
            ],
            "latency_s": [self._latency_s(delay) for delay in self.delay_s.tolist()],
            "exponent": self.exponent.tolist(),
            "threshold": self.threshold.tolist(),
            "gain_field_x_per_deg": self.gain_field[:, 0].tolist(),
            "gain_field_y_per_deg": self.gain_field[:, 1].tolist(),
        }

    def templates(self, unit: int) -> Float64[np.ndarray, "templates subunits"]:
        """Signed weights on the mosaic, ON where positive and OFF where negative.

        One for a push-pull cell; else four, of two places or phases and each with its opposite.
        """
        name = self.cell_class[unit]
        if name == "push_pull":
            even, odd = self._template(unit, 2, 0.0), self._template(unit, 1, 0.0)
            own = [np.cos(self.phase_rad[unit]) * even + np.sin(self.phase_rad[unit]) * odd]
        elif name == "subunit_energy":
            even, odd = self._template(unit, 2, 0.0), self._template(unit, 1, 0.0)
            own = [even, -even, odd, -odd]
        else:
            # A quarter of the template's preferred period apart.
            apart = np.pi / 4 * self.sigma_px[unit]
            first, second = self._template(unit, 1, -apart), self._template(unit, 1, apart)
            own = [first, -first, second, -second]
        return np.stack([template / np.abs(template).sum() for template in own])

    def _template(
        self, unit: int, derivative: Literal[1, 2], shift_px: float
    ) -> Float64[np.ndarray, " subunits"]:
        """A Gaussian derivative across, a Gaussian along, wider on one side than on the other."""
        across, along = self._coordinates(unit)
        across = across - shift_px
        sigma = self.sigma_px[unit] * (1 + self.lopsidedness[unit] * np.sign(across))
        x = across / sigma
        profile = -x if derivative == 1 else 1 - x**2
        y = along / (self.elongation[unit] * self.sigma_px[unit])
        return np.asarray(profile * np.exp(-(x**2 + y**2) / 2))

    def _coordinates(
        self, unit: int
    ) -> tuple[Float64[np.ndarray, " subunits"], Float64[np.ndarray, " subunits"]]:
        """Of the subunits' centres from the unit's, along the direction of modulation and at right angles to it."""
        rows, columns = mosaic(self.config, self.height, self.width)
        angle = np.deg2rad(self.orientation_deg[unit])
        up, right = self.row_px[unit] - rows, columns - self.column_px[unit]
        return np.cos(angle) * right + np.sin(angle) * up, np.cos(angle) * up - np.sin(angle) * right

    def _signals(
        self, video: UInt8[np.ndarray, "trials time height width"]
    ) -> tuple[Float64[np.ndarray, "trials time units"], Float64[np.ndarray, "trials time units"]]:
        """Each unit's drive (at least 0) and the activity of its pool; a few trials at a time, to bound memory."""
        n_units = len(self.cell_class)
        drive = np.empty((*video.shape[:2], n_units))
        pool = np.empty_like(drive)
        filters = subunit_filters(self.config, self.height, self.width)
        templates = [self.templates(unit) for unit in range(n_units)]
        weights = on_grid(np.concatenate([self._push_pull(np.concatenate(templates)), self._pools()], 1))
        ends = np.cumsum([len(own) for own in templates])
        for start in range(0, len(video), _TRIALS_AT_ONCE):
            some = slice(start, start + _TRIALS_AT_ONCE)
            # Both factors are multiples of 2^-20 and the sums are small: exact, whatever the order.
            summed = on_off(self.config, video[some], filters, self.sampling_rate_hz) @ weights
            signals = np.moveaxis(summed, -1, 0)
            for unit, own in enumerate(np.split(signals[: ends[-1]], ends[:-1])):
                drive[some, :, unit] = self._drive(unit, own)
            time_bins = self.config.pool_time_s * self.sampling_rate_hz
            pool[some] = np.moveaxis(low_pass(signals[ends[-1] :], time_bins), 0, -1)
        return drive, pool

    def _push_pull(
        self, templates: Float64[np.ndarray, "templates subunits"]
    ) -> Float64[np.ndarray, "twice templates"]:
        push_on, push_off = np.maximum(templates.T, 0), np.maximum(-templates.T, 0)
        pull = self.config.push_pull
        return np.concatenate([push_on - pull * push_off, push_off - pull * push_on])

    def _pools(self) -> Float64[np.ndarray, "twice units"]:
        """Round, somewhat larger than the field, ON and OFF alike."""
        pools = []
        for unit in range(len(self.cell_class)):
            across, along = self._coordinates(unit)
            reach = 1.5 * self.elongation[unit] * self.sigma_px[unit]
            pool = np.exp(-(across**2 + along**2) / (2 * reach**2))
            pools.append(pool / pool.sum())
        return np.concatenate([np.stack(pools, 1)] * 2)

    def _drive(
        self, unit: int, summed: Float64[np.ndarray, "templates trials time"]
    ) -> Float64[np.ndarray, "trials time"]:
        rate = self.sampling_rate_hz
        signals = gamma(summed, self.delay_s[unit] * rate, 2)
        name = self.cell_class[unit]
        if name == "push_pull":
            return np.maximum(signals[0], 0)
        if name == "subunit_energy":
            return np.asarray(np.maximum(signals, 0).sum(0))
        first, second = signals[0] - signals[1], signals[2] - signals[3]
        late_first, late_second = low_pass(np.stack([first, second]), self.config.comparison_delay_s * rate)
        agreement = late_first * second - self.config.null_weight * first * late_second
        return np.sqrt(np.maximum(agreement, 0))

    def _normalised(
        self, drive: Float64[np.ndarray, "trials time units"], pool: Float64[np.ndarray, "trials time units"]
    ) -> Float64[np.ndarray, "trials time units"]:
        """Naka-Rushton with the pool in the denominator."""
        n, config = self.exponent, self.config
        own = (drive / self.scales.drive) ** n
        around = config.semisaturation**n + np.maximum(pool / self.scales.pool, 0) ** n
        return own / (around + own / config.saturation**n)

    def _response(
        self,
        normalised: Float64[np.ndarray, "trials time units"],
        eye_deg: Float[np.ndarray, "trials time 2"],
    ) -> Float64[np.ndarray, "trials time units"]:
        relative = normalised / self.scales.normalised
        time_bins = self.config.adaptation_time_s * self.sampling_rate_hz
        past = np.moveaxis(low_pass(np.moveaxis(relative, 1, 2), time_bins), 2, 1)
        above = relative - self.threshold - self.config.adaptation * past
        return np.logaddexp(0, self.config.sharpness * above) * self._eye_gain(eye_deg)

    def _eye_gain(
        self, eye_deg: Float[np.ndarray, "trials time 2"]
    ) -> Float64[np.ndarray, "trials time units"]:
        """A planar gain field over eye position, and suppression while the eye is fast."""
        position = np.exp(eye_deg[..., :1] * self.gain_field[:, 0] + eye_deg[..., 1:] * self.gain_field[:, 1])
        speed = np.hypot(*np.moveaxis(eye_velocity(eye_deg, self.sampling_rate_hz), -1, 0))
        moving = low_pass(-np.expm1(-((speed / 40) ** 2)), 0.04 * self.sampling_rate_hz)
        suppression = self.config.saccade_suppression * np.minimum(3 * moving, 1)
        return position * (1 - suppression)[..., None]

    def _latency_s(self, delay_s: float) -> float:
        """Time to the peak of the kernel before rectification."""
        impulse = np.eye(1, round(0.3 * _KERNEL_HZ))
        kernel = gamma(subunit_kernel(self.config, impulse, _KERNEL_HZ), delay_s * _KERNEL_HZ, 2)
        return float(kernel.argmax() / _KERNEL_HZ)


def draw_cascade_population(
    config: CascadeCellsConfig,
    n_units: int,
    height: int,
    width: int,
    sampling_rate_hz: float,
    generator: np.random.Generator,
) -> CascadePopulation:
    """Units of all classes in equal parts, their receptive fields inside the field."""
    sigma = np.minimum(generator.uniform(*config.sigma_px, n_units), min(height, width) / 10)
    elongation = generator.uniform(*config.elongation, n_units)
    margin = np.minimum(2.0 * sigma * np.maximum(elongation, 1), min(height, width) / 2.5)
    low, high = np.log(config.mean_rate_hz)
    cell_class = tuple(CASCADE_CLASSES[unit % len(CASCADE_CLASSES)] for unit in range(n_units))
    exponents = [
        config.energy_exponent if name == "subunit_energy" else config.exponent for name in cell_class
    ]
    ones = np.ones(n_units)
    return CascadePopulation(
        config=config,
        sampling_rate_hz=sampling_rate_hz,
        height=height,
        width=width,
        cell_class=cell_class,
        row_px=margin + generator.random(n_units) * (height - 2 * margin),
        column_px=margin + generator.random(n_units) * (width - 2 * margin),
        sigma_px=sigma,
        elongation=elongation,
        lopsidedness=generator.uniform(*config.lopsidedness, n_units),
        orientation_deg=generator.uniform(0, 360, n_units),
        phase_rad=generator.uniform(0, 2 * np.pi, n_units),
        delay_s=generator.uniform(*config.delay_s, n_units),
        exponent=np.array([generator.uniform(*of_class) for of_class in exponents]),
        threshold=generator.uniform(*config.threshold, n_units),
        gain_field=generator.normal(0, config.gain_field_per_deg, (n_units, 2)),
        target_rate_hz=np.exp(generator.uniform(low, high, n_units)),
        scales=_Scales(ones, ones, ones, ones),
    )
