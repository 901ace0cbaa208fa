"""The best grating of each unit, in discs and rings around the place where it looks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float64

from visioncore.drawing import PREDICTED, RECORDED
from visioncore.lab.display import Display
from visioncore.lab.rig import Rig
from visioncore.lab.tuning.centres import NOWHERE, Centres
from visioncore.lab.tuning.drawn import draw_curve, log_axis
from visioncore.lab.tuning.fits import Fits, fit_size
from visioncore.lab.tuning.gratings import SILENT, GratingTuning
from visioncore.lab.tuning.index import POOR, Index
from visioncore.lab.tuning.measured import Measured
from visioncore.lab.tuning.settings import Battery
from visioncore.lab.tuning.showing import Cycling, Told, show_cycles
from visioncore.lab.tuning.spots import grid_px
from visioncore.lab.tuning.stimuli import Aperture, Grating

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUMMED = 0.95
"""Of the fit's peak: the summation field ends where it is first reached."""
GONE = 0.05
"""Of the best disc's response: a ring that drives a unit no more than so lies outside its field."""
NO_DISC = "no response to discs above rest"


@dataclass(frozen=True)
class SizeTuning(Measured):
    """Responses to discs and to rings that reach to the frame's edges."""

    name: ClassVar[str] = "sizes"

    display: Display
    centres: Centres
    diameters_px: Float64[np.ndarray, " diameters"]
    holes_px: Float64[np.ndarray, " holes"]
    discs: Float64[np.ndarray, "units diameters"]
    """F1, or F0 above rest; NaN for units that gratings do not drive, or whose place nothing tells."""
    rings: Float64[np.ndarray, "units holes"]
    silent: Bool[np.ndarray, " units"]
    """Units that no grating drives above rest."""
    silent_to_discs: Bool[np.ndarray, " units"]

    @cached_property
    def fits(self) -> Fits:
        """`ratio_of_gaussians` of the discs' diameters in pixels."""
        return fit_size(self.diameters_px, self.discs)

    @cached_property
    def indices(self) -> Mapping[str, Index]:
        """Summation field, suppression, and the hole through which a ring no longer drives the unit."""
        unit, scale = self.display.unit, self.display.unit_per_px
        why = (
            (self.silent, SILENT),
            (np.isnan(self.centres.centre_px[:, 0]), NOWHERE),
            (self.silent_to_discs, NO_DISC),
        )
        poor = (self.fits.poor, POOR)
        summation, hole = self._summation_px, self._hole_px
        peak = self.discs.max(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            suppression = (peak - self.discs[:, -1]) / peak
        return {
            f"summation_diameter_{unit}": Index.of(
                summation * scale,
                *why,
                poor,
                (summation >= self.diameters_px[-2], "it still grows with the largest disc"),
            ),
            "suppression_index": Index.of(suppression, *why),
            f"ring_hole_{unit}": Index.of(
                hole * scale, *why, (np.isnan(hole), "even the ring with the widest hole drives it")
            ),
            "size_r2": Index.of(self.fits.r2, *why, (np.isnan(self.fits.r2), POOR)),
        }

    @property
    def over_the_edge(self) -> int:
        """How many summation fields do not lie in the frame as a whole."""
        reach = self._summation_px / 2
        row, column = self.centres.centre_px.T
        room = np.min([row, self.display.height - row, column, self.display.width - column], axis=0)
        return int(np.sum(reach > room))

    @cached_property
    def _summation_px(self) -> Float64[np.ndarray, " units"]:
        between = np.geomspace(self.diameters_px[0], self.diameters_px[-1], 400)
        found = np.full(len(self.discs), np.nan)
        for unit in np.flatnonzero(~self.fits.poor):
            curve = self.fits.at(int(unit), between)
            found[unit] = between[int(np.argmax(curve >= SUMMED * curve.max()))]
        return found

    @cached_property
    def _hole_px(self) -> Float64[np.ndarray, " units"]:
        """On the line between two holes, the larger of which leaves no response."""
        found = np.full(len(self.rings), np.nan)
        for unit, own in enumerate(self.rings):
            gone = GONE * self.discs[unit].max()
            if not np.isfinite(gone) or own[-1] > gone:
                continue
            # The last ring that drives it, and the next.
            drives = np.flatnonzero(own > gone)
            last = int(drives[-1]) if len(drives) else -1
            if last < 0:
                found[unit] = self.holes_px[0]
                continue
            share = (own[last] - gone) / (own[last] - own[last + 1])
            found[unit] = self.holes_px[last] + share * (self.holes_px[last + 1] - self.holes_px[last])
        return found

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Responses and the conditions that they are of."""
        return {
            "diameters_px": self.diameters_px,
            "holes_px": self.holes_px,
            "discs": self.discs,
            "rings": self.rings,
            "centre_px": self.centres.centre_px,
            "centre_told_by": np.array(self.centres.told_by),
        }

    @property
    def panels(self) -> "Mapping[str, Callable[[Axes, int], None]]":
        """Discs and rings."""
        return {"size": self._plot}

    def _plot(self, axes: "Axes", unit: int) -> None:
        scale = self.display.unit_per_px
        between = np.geomspace(self.diameters_px[0], self.diameters_px[-1], 100)
        fitted = None if self.fits.poor[unit] else self.fits.at(unit, between)
        draw_curve(
            axes, self.holes_px * scale, self.rings[unit], colour=RECORDED, label="rings, by their hole"
        )
        draw_curve(
            axes, self.diameters_px * scale, self.discs[unit], between * scale, fitted, PREDICTED, "discs"
        )
        log_axis(axes, self.diameters_px * scale)
        axes.set_xlabel(f"diameter ({self.display.unit})")
        axes.legend(fontsize=6, handlelength=1)


def diameters_px(display: Display, n: int) -> Float64[np.ndarray, " diameters"]:
    """In equal ratios from the spacing of spots to the frame's diagonal."""
    *_, spacing = grid_px(display)
    return np.geomspace(spacing, np.hypot(display.height, display.width), n)


def show_sizes(
    rig: Rig, battery: Battery, gratings: GratingTuning, centres: Centres, told: Told
) -> SizeTuning:
    """Show each unit its own."""
    display, n_units = rig.display, len(rig.units)
    *_, spacing = grid_px(display)
    diameters = diameters_px(display, battery.diameters)
    holes = np.geomspace(2 * spacing, max(min(display.height, display.width), 3 * spacing), battery.holes)
    shown: dict[int, list[Grating]] = {}
    wanted: dict[Cycling, list[int]] = {}
    for unit in range(n_units):
        best = gratings.best_grating(unit)
        if best is None or np.isnan(centres.centre_px[unit, 0]):
            continue
        row, column = (float(x) for x in centres.centre_px[unit])
        discs = [Aperture(row, column, outer_px=float(d)) for d in diameters]
        rings = [Aperture(row, column, inner_px=float(d)) for d in holes]
        shown[unit] = [best.within(aperture) for aperture in (*discs, *rings)]
        for stimulus in shown[unit]:
            wanted.setdefault(stimulus, []).append(unit)
    found = show_cycles(rig, wanted, battery.onset_s, battery.seconds_for_one, told, "sizes")
    responses = np.full((n_units, len(diameters) + len(holes)), np.nan)
    for unit, stimuli in shown.items():
        responses[unit] = [gratings.response_of(unit, found[stimulus, unit]) for stimulus in stimuli]
    discs_of, rings_of = np.split(responses, [len(diameters)], axis=1)
    silent = gratings.rest.silent(np.nan_to_num(discs_of).max(1))
    return SizeTuning(display, centres, diameters, holes, discs_of, rings_of, gratings.silent, silent)
