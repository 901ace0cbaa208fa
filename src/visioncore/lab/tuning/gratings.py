"""Drifting gratings over the whole field, of every direction, spatial and temporal frequency."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float64

from visioncore.errors import ConfigError
from visioncore.lab.display import Display
from visioncore.lab.rig import Rig
from visioncore.lab.tuning import indices
from visioncore.lab.tuning.drawn import draw_curve
from visioncore.lab.tuning.fits import Fits, fit_direction, half_width_deg
from visioncore.lab.tuning.frequency import FrequencyCurve
from visioncore.lab.tuning.index import POOR, Index
from visioncore.lab.tuning.measured import Measured, Rest
from visioncore.lab.tuning.settings import Battery
from visioncore.lab.tuning.showing import Told, Window, counting, show
from visioncore.lab.tuning.stimuli import Grating

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHORTEST_PERIOD_PX = 4.0
"""A shorter one is drawn by too few pixels."""
MOST_PERIODS = 8
FRAMES_PER_CYCLE = 6
"""So many frames show a cycle, at least."""
FLAT = 0.05
"""A direction curve that varies by less of its peak is flat."""
SILENT = "no response to gratings above rest"
UNTUNED = "it answers all directions alike"


def periods_px(display: Display) -> Float64[np.ndarray, " periods"]:
    """From 4 pixels to the shorter side of the frame, in steps of half an octave; of an octave where those are many.

    Raises:
        ConfigError: the frame holds no period.
    """
    longest = min(display.height, display.width)
    if longest < SHORTEST_PERIOD_PX:
        raise ConfigError(
            f"frames of {display.height} x {display.width} pixels show no gratings: a period has "
            f"{SHORTEST_PERIOD_PX:g} pixels at least"
        )
    octaves = np.log2(longest / SHORTEST_PERIOD_PX) + 1e-9
    step = 0.5 if octaves / 0.5 + 1 < MOST_PERIODS + 1 else 1.0
    return SHORTEST_PERIOD_PX * 2 ** (step * np.arange(int(octaves / step) + 1))


def frequencies_hz(rate_hz: float) -> Float64[np.ndarray, " frequencies"]:
    """Octaves from 1 Hz to a sixth of the frame rate; half octaves where those are few."""
    highest = int(np.floor(np.log2(rate_hz / FRAMES_PER_CYCLE) + 1e-9))
    lowest = min(0, highest - 2)
    step = 0.5 if highest - lowest < 4 else 1.0
    return 2.0 ** np.arange(lowest, highest + step / 2, step)


@dataclass(frozen=True)
class GratingTuning(Measured):
    """Responses to gratings, as the best direction, spatial and temporal frequency of each unit have them."""

    name: ClassVar[str] = "gratings"

    display: Display
    rest: Rest
    contrast: float
    directions_deg: Float64[np.ndarray, " directions"]
    spatial_frequencies: Float64[np.ndarray, " spatial"]
    """In cycles per unit of the display's lengths."""
    temporal_frequencies_hz: Float64[np.ndarray, " temporal"]
    mean: Float64[np.ndarray, "units directions spatial temporal"]
    """F0: the mean rate."""
    modulation: Float64[np.ndarray, "units directions spatial temporal"]
    """F1: the amplitude at the grating's temporal frequency."""

    # --- What counts as the response, and which grating is best -----------------------------------------------------

    @cached_property
    def modulated(self) -> Bool[np.ndarray, " units"]:
        """Whether F1 exceeds F0 above rest where either is largest: then F1 is the response, as for simple cells."""
        n = len(self.mean)
        above, f1 = self.rest.above(self.mean).reshape(n, -1), self.modulation.reshape(n, -1)
        best = np.maximum(above, f1).argmax(1)
        return f1[np.arange(n), best] > above[np.arange(n), best]

    @cached_property
    def responses(self) -> Float64[np.ndarray, "units directions spatial temporal"]:
        """F1 or F0 above rest, whichever is the larger at its best (Skottun et al. 1991); never below 0."""
        f1 = self.modulated[:, None, None, None]
        return np.maximum(np.where(f1, self.modulation, self.rest.above(self.mean)), 0)

    @cached_property
    def best(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where on the axes of direction, spatial and temporal frequency each unit's response is largest."""
        first = self.responses.reshape(len(self.responses), -1).argmax(1)
        direction, spatial, temporal = np.unravel_index(first, self.responses.shape[1:])
        return direction, spatial, temporal

    @property
    def silent(self) -> Bool[np.ndarray, " units"]:
        """Units that no grating drives above rest."""
        return self.rest.silent(self.responses.max((1, 2, 3)))

    def best_grating(self, unit: int) -> Grating | None:
        """The one that drives a unit most; None where none does."""
        if self.silent[unit]:
            return None
        direction, spatial, temporal = (int(axis[unit]) for axis in self.best)
        return Grating(
            direction_deg=float(self.directions_deg[direction]),
            period_px=1 / float(self.spatial_frequencies[spatial] * self.display.unit_per_px),
            temporal_frequency_hz=float(self.temporal_frequencies_hz[temporal]),
            contrast=self.contrast,
        )

    def response_of(self, unit: int, measured: tuple[float, float]) -> float:
        """Of F0 and F1 of another stimulus: the one that is the unit's response to gratings."""
        mean, modulation = measured
        return max(modulation if self.modulated[unit] else mean - float(self.rest.rates[unit]), 0.0)

    # --- Curves through the best grating ----------------------------------------------------------------------------

    @cached_property
    def by_direction(self) -> Float64[np.ndarray, "units directions"]:
        """At the best frequencies."""
        _, spatial, temporal = self.best
        return self.responses[np.arange(len(spatial)), :, spatial, temporal]

    @cached_property
    def by_spatial_frequency(self) -> FrequencyCurve:
        """At the best direction and temporal frequency."""
        direction, _, temporal = self.best
        curves = self.responses[np.arange(len(direction)), direction, :, temporal]
        return FrequencyCurve(self.spatial_frequencies, curves, self.silent, SILENT)

    @cached_property
    def by_temporal_frequency(self) -> FrequencyCurve:
        """At the best direction and spatial frequency."""
        direction, spatial, _ = self.best
        curves = self.responses[np.arange(len(direction)), direction, spatial]
        return FrequencyCurve(self.temporal_frequencies_hz, curves, self.silent, SILENT)

    @cached_property
    def direction_fits(self) -> Fits:
        """Two bumps along the preferred orientation."""
        return fit_direction(self.directions_deg, self.by_direction, self._by_vectors)

    @property
    def _by_vectors(self) -> Float64[np.ndarray, " units"]:
        return indices.along_orientation(self.by_direction, self.directions_deg)

    # --- Indices ----------------------------------------------------------------------------------------------------

    @cached_property
    def preferred_direction(self) -> Index:
        """The larger bump of the fit; where that is poor, the vector sum's."""
        fits = self.direction_fits
        fitted = np.rad2deg(fits[4]) + np.where(fits[1] >= fits[2], 0, 180)
        flat = np.ptp(self.by_direction, axis=1) < FLAT * self.by_direction.max(1)
        degrees = np.where(fits.poor, self._by_vectors, fitted)
        return Index.of(degrees, (self.silent, SILENT), (flat, UNTUNED), circle=360)

    @cached_property
    def indices(self) -> Mapping[str, Index]:
        """Preferences, selectivities and bandwidths."""
        curves, degrees, silent = self.by_direction, self.directions_deg, (self.silent, SILENT)
        direction, fits = self.preferred_direction, self.direction_fits
        width = half_width_deg(fits)
        best = (np.arange(len(curves)), *self.best)
        mean, modulation = self.rest.above(self.mean)[best], self.modulation[best]
        length = self.display.unit
        return {
            "resting_rate": Index.of(self.rest.rates),
            "peak_response": Index.of(self.responses.max((1, 2, 3))),
            "f1_f0": Index.of(
                modulation / np.where(mean > 0, mean, np.nan),
                silent,
                (mean <= 0, "its mean rate does not rise above rest"),
            ),
            "preferred_direction_deg": direction,
            "preferred_orientation_deg": Index(direction.values % 180, direction.why, 180),
            "osi_vector": Index.of(np.abs(indices.vector_orientation(curves, degrees)), silent),
            "osi": Index.of(indices.orientation_selectivity(curves, degrees), silent),
            "dsi_vector": Index.of(np.abs(indices.vector_direction(curves, degrees)), silent),
            "dsi": Index.of(indices.direction_selectivity(curves, degrees), silent),
            "orientation_half_width_deg": Index.of(
                width, silent, (fits.poor, POOR), (np.isnan(width), "it never falls to half its height")
            ),
            "direction_r2": Index.of(fits.r2, silent, (np.isnan(fits.r2), UNTUNED)),
            **self.by_spatial_frequency.indices(
                f"preferred_spatial_frequency_cycles_per_{length}", "spatial_frequency"
            ),
            **self.by_temporal_frequency.indices("preferred_temporal_frequency_hz", "temporal_frequency"),
        }

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Responses and the conditions that they are of."""
        return {
            "directions_deg": self.directions_deg,
            f"spatial_frequencies_cycles_per_{self.display.unit}": self.spatial_frequencies,
            "temporal_frequencies_hz": self.temporal_frequencies_hz,
            "mean": self.mean,
            "modulation": self.modulation,
        }

    @property
    def panels(self) -> "Mapping[str, Callable[[Axes, int], None]]":
        """Direction, spatial and temporal frequency."""
        return {
            "direction": self._plot_direction,
            "spatial frequency": self._plot_spatial_frequency,
            "temporal frequency": self._plot_temporal_frequency,
        }

    def _plot_direction(self, axes: "Axes", unit: int) -> None:
        around, fits = np.linspace(0, 360, 181), self.direction_fits
        fitted = None if fits.poor[unit] else fits.at(unit, around)
        draw_curve(axes, self.directions_deg, self.by_direction[unit], around, fitted)
        axes.set_xticks([0, 90, 180, 270, 360])
        axes.set_xlabel("direction (deg)")

    def _plot_spatial_frequency(self, axes: "Axes", unit: int) -> None:
        self.by_spatial_frequency.plot(axes, unit)
        axes.set_xlabel(f"cycles/{self.display.unit}")

    def _plot_temporal_frequency(self, axes: "Axes", unit: int) -> None:
        self.by_temporal_frequency.plot(axes, unit)
        axes.set_xlabel("Hz")


def show_gratings(rig: Rig, battery: Battery, rest: Rest, told: Told) -> GratingTuning:
    """Show them to all units of the rig."""
    display = rig.display
    directions = np.arange(battery.directions) * (360 / battery.directions)
    periods = periods_px(display)[::-1]
    windows = [
        Window.of(display.rate_hz, hz, battery.onset_s, battery.seconds)
        for hz in frequencies_hz(display.rate_hz)
    ]
    contrast = min(battery.contrast, display.max_contrast)
    each = len(directions) * len(periods)
    more = counting(told, "gratings", each * sum(window.shown for window in windows))
    found = []
    for window in windows:
        hz = window.frequency_hz(display.rate_hz)
        stimuli = [Grating(float(d), float(p), hz, contrast) for d in directions for p in periods]
        shown = show(rig, stimuli, window.shown, window.mean_and_modulation, more)
        found.append(shown.reshape(len(directions), len(periods), 2, -1))
    # (measures, units, directions, spatial, temporal)
    mean, modulation = np.stack(found).transpose(3, 4, 1, 2, 0)
    return GratingTuning(
        display=display,
        rest=rest,
        contrast=contrast,
        directions_deg=directions,
        spatial_frequencies=1 / (periods * display.unit_per_px),
        temporal_frequencies_hz=np.array([w.frequency_hz(display.rate_hz) for w in windows]),
        mean=mean,
        modulation=modulation,
    )
