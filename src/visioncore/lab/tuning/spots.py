"""Spots that are flashed, bright and dark, one at a time on a grid: where a unit looks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float64

from visioncore.lab.display import Display
from visioncore.lab.rig import Rig
from visioncore.lab.tuning.fits import Fits, bump_sd, fit_bump
from visioncore.lab.tuning.index import POOR, Index
from visioncore.lab.tuning.indices import difference_over_sum
from visioncore.lab.tuning.measured import Measured, Rest
from visioncore.lab.tuning.showing import Told, counting, show
from visioncore.lab.tuning.stimuli import Aperture, Flash

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPACINGS = 12
"""In the shorter side of the frame."""
LEAST_SPACING_PX = 2.0
FLASH_S, MEASURED_S = 0.1, 0.25
SILENT = "no response to spots above rest"
HALF = np.sqrt(8 * np.log(2))
"""Full width of a Gaussian at half its height, in standard deviations."""


def grid_px(display: Display) -> tuple[Float64[np.ndarray, " rows"], Float64[np.ndarray, " columns"], float]:
    """Rows and columns of places, evenly over the frame, and how far they are apart."""
    spacing = max(min(display.height, display.width) / SPACINGS, LEAST_SPACING_PX)
    rows, columns = (
        (np.arange(n := max(int(size / spacing), 1)) - (n - 1) / 2) * spacing + size / 2
        for size in (display.height, display.width)
    )
    return rows, columns, spacing


@dataclass(frozen=True)
class SpotMap(Measured):
    """Mean response to a spot at each place."""

    name: ClassVar[str] = "spots"

    display: Display
    rest: Rest
    rows_px: Float64[np.ndarray, " rows"]
    columns_px: Float64[np.ndarray, " columns"]
    spacing_px: float
    """Also the spots' diameter, less the soft edge."""
    mean: Float64[np.ndarray, "units polarities rows columns"]
    """Bright spots, dark spots: the mean rate from their onset on."""

    @cached_property
    def responses(self) -> Float64[np.ndarray, "units rows columns"]:
        """To bright and to dark spots together; never below 0."""
        return np.maximum(self.rest.above(self.mean), 0).sum(1)

    @property
    def silent(self) -> Bool[np.ndarray, " units"]:
        """Units that no spot drives above rest."""
        return self.rest.silent(self.responses.max((1, 2)))

    @cached_property
    def fits(self) -> Fits:
        """An elliptic Gaussian of the responses."""
        places = np.stack(np.meshgrid(self.rows_px, self.columns_px, indexing="ij"), axis=-1).reshape(-1, 2)
        return fit_bump(places, self.responses.reshape(len(self.responses), -1), 1.5 * self.spacing_px)

    @cached_property
    def centre_px(self) -> Float64[np.ndarray, "units 2"]:
        """(row, column) of the fit's middle; NaN where it does not describe the map, or lies off the frame."""
        centre = np.stack([self.fits[1], self.fits[2]], axis=1)
        inside = (
            (centre > 0).all(1) & (centre[:, 0] < self.display.height) & (centre[:, 1] < self.display.width)
        )
        return np.where((~self.silent & ~self.fits.poor & inside)[:, None], centre, np.nan)

    @cached_property
    def indices(self) -> Mapping[str, Index]:
        """Centre, size, and whether bright spots drive it more than dark ones."""
        unit, fits = self.display.unit, self.fits
        why = ((self.silent, SILENT), (fits.poor, POOR))
        beside = (np.isnan(self.centre_px[:, 0]), "its map's middle lies off the frame")
        x, y = self.display.position(self.centre_px).T
        size = HALF * bump_sd(fits) * self.display.unit_per_px
        bright, dark = np.maximum(self.rest.above(self.mean), 0).sum((2, 3)).T
        return {
            f"spot_x_{unit}": Index.of(x, *why, beside),
            f"spot_y_{unit}": Index.of(y, *why, beside),
            f"spot_size_{unit}": Index.of(size, *why, beside),
            "spot_r2": Index.of(fits.r2, why[0], (np.isnan(fits.r2), POOR)),
            "spot_on_off": Index.of(difference_over_sum(bright, dark), why[0]),
        }

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Responses and the conditions that they are of."""
        return {"rows_px": self.rows_px, "columns_px": self.columns_px, "mean": self.mean}

    @property
    def panels(self) -> "Mapping[str, Callable[[Axes, int], None]]":
        """The map."""
        return {"spots": self._plot}

    def _plot(self, axes: "Axes", unit: int) -> None:
        half = self.spacing_px / 2
        ends = (
            self.columns_px[0] - half,
            self.columns_px[-1] + half,
            self.rows_px[-1] + half,
            self.rows_px[0] - half,
        )
        axes.imshow(self.responses[unit], extent=ends, cmap="Blues", vmin=0)
        row, column = self.centre_px[unit]
        axes.plot(column, row, "+", color="#D55E00", markersize=6)
        axes.set_xlabel("px")


def show_spots(rig: Rig, rest: Rest, told: Told) -> SpotMap:
    """Show them to all units of the rig."""
    display = rig.display
    rows, columns, spacing = grid_px(display)
    contrast = display.max_contrast
    stimuli = [
        Flash(sign * contrast, FLASH_S, Aperture(float(row), float(column), spacing + 0.5, edge_px=1.0))
        for sign in (1, -1)
        for row in rows
        for column in columns
    ]
    n_frames = display.frames(MEASURED_S)
    more = counting(told, "spots", len(stimuli) * n_frames)
    mean = show(rig, stimuli, n_frames, lambda rates: rates.mean(1, dtype=np.float64), more)
    shape = (2, len(rows), len(columns), -1)
    return SpotMap(display, rest, rows, columns, spacing, mean.reshape(shape).transpose(3, 0, 1, 2))
