"""Noise of Gabors: many at random places, of random orientations, another picture every tenth of a second."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float32, Float64
from scipy.stats import chi2

from visioncore.lab.display import Display
from visioncore.lab.rig import Rig
from visioncore.lab.tuning.gratings import SHORTEST_PERIOD_PX
from visioncore.lab.tuning.index import Index
from visioncore.lab.tuning.measured import Measured
from visioncore.lab.tuning.settings import Battery
from visioncore.lab.tuning.showing import Told, counting, show
from visioncore.lab.tuning.spots import grid_px
from visioncore.stimuli import wave_vector

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLASH_S, LATEST_S = 0.1, 0.15
FLASHES_PER_MOVIE = 10
SD_PER_PERIOD = 0.35
CHANCE = 0.01
"""Of a unit without tuning to be found to have some."""
NOWHERE = "Gabors drive it alike wherever they are"
ALIKE = "Gabors of all orientations drive it alike"


@dataclass(frozen=True)
class GaborFlashes:
    """Which Gabors each flash shows: an entry per flash and Gabor."""

    row_px: Float64[np.ndarray, "flashes gabors"]
    column_px: Float64[np.ndarray, "flashes gabors"]
    orientation_deg: Float64[np.ndarray, "flashes gabors"]
    period_px: Float64[np.ndarray, "flashes gabors"]
    phase: Float64[np.ndarray, "flashes gabors"]

    @classmethod
    def draw(cls, display: Display, n_flashes: int, generator: np.random.Generator) -> "GaborFlashes":
        """Evenly over the frame, so many that their envelopes cover it about once."""
        periods = (SHORTEST_PERIOD_PX, max(min(display.height, display.width) / 2, SHORTEST_PERIOD_PX * 1.5))
        sd = SD_PER_PERIOD * np.sqrt(periods[0] * periods[1])
        n = max(round(display.height * display.width / (np.pi * (2 * sd) ** 2)), 3)
        shape = (n_flashes, n)
        return cls(
            generator.uniform(0, display.height, shape),
            generator.uniform(0, display.width, shape),
            generator.uniform(0, 180, shape),
            np.exp(generator.uniform(np.log(periods[0]), np.log(periods[1]), shape)),
            generator.uniform(0, 2 * np.pi, shape),
        )

    def pictures(
        self, display: Display, contrast: float, start: int, stop: int
    ) -> Float32[np.ndarray, "flashes height width"]:
        """Flashes [start, stop), in contrast; where Gabors overlap their contrasts add up."""
        found = np.zeros((stop - start, display.height, display.width), np.float32)
        rows, columns = np.arange(display.height) + 0.5, np.arange(display.width) + 0.5
        for flash in range(start, stop):
            for k in range(self.row_px.shape[1]):
                down, right = rows - self.row_px[flash, k], columns - self.column_px[flash, k]
                along = wave_vector(self.orientation_deg[flash, k], self.period_px[flash, k])
                sd = SD_PER_PERIOD * self.period_px[flash, k]
                # A Gabor with a round envelope is the real part of (complex column) times (complex row).
                vertical = np.exp(1j * (along[0] * down + self.phase[flash, k]) - down**2 / (2 * sd**2))
                horizontal = np.exp(1j * along[1] * right - right**2 / (2 * sd**2))
                found[flash - start] += contrast * np.outer(vertical, horizontal).real.astype(np.float32)
        return found

    def near(self, row_px: float, column_px: float, sd_px: float) -> Float64[np.ndarray, "flashes gabors"]:
        """How near each Gabor is to a place: 1 there, falling as a Gaussian."""
        return np.exp(-((self.row_px - row_px) ** 2 + (self.column_px - column_px) ** 2) / (2 * sd_px**2))


@dataclass(frozen=True)
class GaborMovie:
    """Some flashes, one after the other."""

    flashes: GaborFlashes
    first: int
    frames_per_flash: int
    contrast: float

    def frames(self, display: Display, n_frames: int) -> Float32[np.ndarray, "time height width"]:
        """Its first frames, in contrast; grey after the last flash."""
        last = self.first + FLASHES_PER_MOVIE
        pictures = self.flashes.pictures(display, self.contrast, self.first, last)
        shown = pictures.repeat(self.frames_per_flash, axis=0)[:n_frames]
        return np.pad(shown, ((0, n_frames - len(shown)), (0, 0), (0, 0)))


@dataclass(frozen=True)
class GaborTuning(Measured):
    """Correlations of responses with the places of Gabors, and with their orientations where a unit looks."""

    name: ClassVar[str] = "gabors"

    display: Display
    flashes: GaborFlashes
    rates: Float64[np.ndarray, "flashes lags units"]
    """Mean rates for the length of a flash, so long after its onset as `lags_s` says."""
    lags_s: Float64[np.ndarray, " lags"]

    @cached_property
    def correlations(self) -> Float64[np.ndarray, "3 units rows columns"]:
        """Of responses with the number of Gabors around each place, and with the sums of cosines and of sines of twice
        their orientations; at the lag at which their squares are largest somewhere.
        """
        rows, columns, spacing = grid_px(self.display)
        twice = 2 * np.deg2rad(self.flashes.orientation_deg)
        kinds = np.stack([np.ones_like(twice), np.cos(twice), np.sin(twice)])
        spread = self.rates.std(0)
        # A rate that stays as it is correlates with nothing.
        moving = spread > 1e-6 * np.abs(self.rates).max(0)
        scores = (self.rates - self.rates.mean(0)) / np.where(moving, spread, np.inf)
        found = np.empty((3, *spread.shape, len(rows), len(columns)))
        for j, row in enumerate(rows):
            for k, column in enumerate(columns):
                here = (kinds * self.flashes.near(row, column, spacing)).sum(2)
                here = (here - here.mean(1, keepdims=True)) / here.std(1, keepdims=True)
                found[..., j, k] = np.tensordot(here, scores, 1) / len(scores)
        lag = (found**2).sum(0).max((2, 3)).argmax(0)
        return np.asarray(found[:, lag, np.arange(len(lag))])

    @cached_property
    def map(self) -> Float64[np.ndarray, "units rows columns"]:
        """Chi squared of the three correlations at each place: how far they are from chance."""
        return np.asarray(len(self.rates) * (self.correlations**2).sum(0))

    @cached_property
    def centre_px(self) -> Float64[np.ndarray, "units 2"]:
        """(row, column): the middle of the map around its peak; NaN where that is not beyond chance."""
        rows, columns, spacing = grid_px(self.display)
        centre = np.full((len(self.map), 2), np.nan)
        for unit, own in enumerate(self.map):
            if own.max() > chi2.isf(CHANCE / (own.size * len(self.lags_s)), 3):
                row, column = np.unravel_index(own.argmax(), own.shape)
                distance = np.hypot(rows[:, None] - rows[row], columns[None, :] - columns[column])
                weight = own * (distance <= 2 * spacing)
                places = np.stack(np.broadcast_arrays(rows[:, None], columns[None, :]))
                centre[unit] = (weight * places).sum((1, 2)) / weight.sum()
        return centre

    @cached_property
    def _at_peak(self) -> Float64[np.ndarray, "units 3"]:
        """The three correlations at the map's peak."""
        n = len(self.map)
        peak = self.map.reshape(n, -1).argmax(1)
        return self.correlations.reshape(3, n, -1)[:, np.arange(n), peak].T

    @cached_property
    def indices(self) -> Mapping[str, Index]:
        """Place and orientation."""
        unit = self.display.unit
        nowhere = (np.isnan(self.centre_px[:, 0]), NOWHERE)
        x, y = self.display.position(self.centre_px).T
        _, cosine, sine = self._at_peak.T
        alike = len(self.rates) * (cosine**2 + sine**2) <= chi2.isf(CHANCE, 2)
        return {
            f"gabor_x_{unit}": Index.of(x, nowhere),
            f"gabor_y_{unit}": Index.of(y, nowhere),
            "gabor_preferred_orientation_deg": Index.of(
                np.rad2deg(np.arctan2(sine, cosine)) / 2, nowhere, (alike, ALIKE), circle=180
            ),
        }

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The correlations, and the places that they are of."""
        rows, columns, _ = grid_px(self.display)
        return {
            "rows_px": rows,
            "columns_px": columns,
            "correlations": self.correlations.transpose(1, 0, 2, 3),
        }

    @property
    def panels(self) -> "Mapping[str, Callable[[Axes, int], None]]":
        """The map."""
        return {"Gabor noise": self._plot}

    def _plot(self, axes: "Axes", unit: int) -> None:
        rows, columns, spacing = grid_px(self.display)
        ends = (
            columns[0] - spacing / 2,
            columns[-1] + spacing / 2,
            rows[-1] + spacing / 2,
            rows[0] - spacing / 2,
        )
        axes.imshow(self.map[unit], extent=ends, cmap="Blues", vmin=0)
        axes.set_xlabel("px")


def show_gabors(rig: Rig, battery: Battery, contrast: float, told: Told) -> GaborTuning:
    """Show them to all units of the rig."""
    display = rig.display
    each = display.frames(FLASH_S)
    lags = np.unique(np.rint(np.linspace(0, LATEST_S, 7) * display.rate_hz).astype(int))
    n_movies = max(battery.gabor_flashes // FLASHES_PER_MOVIE, 1)
    flashes = GaborFlashes.draw(
        display, n_movies * FLASHES_PER_MOVIE, np.random.default_rng([battery.seed, n_movies])
    )
    n_frames = FLASHES_PER_MOVIE * each + int(lags[-1])
    onsets = np.arange(FLASHES_PER_MOVIE)[:, None] * each + lags

    def after_each(rates: np.ndarray) -> np.ndarray:
        summed = np.pad(rates.cumsum(1, dtype=np.float64), ((0, 0), (1, 0), (0, 0)))
        return (summed[:, onsets + each] - summed[:, onsets]) / each

    movies = [GaborMovie(flashes, movie * FLASHES_PER_MOVIE, each, contrast) for movie in range(n_movies)]
    more = counting(told, "Gabor noise", n_movies * n_frames)
    rates = show(rig, movies, n_frames, after_each, more)
    return GaborTuning(display, flashes, rates.reshape(-1, *rates.shape[2:]), lags / display.rate_hz)
