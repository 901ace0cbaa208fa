"""The best grating of each unit, at several contrasts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float64

from visioncore.lab.rig import Rig
from visioncore.lab.tuning.drawn import draw_curve, log_axis
from visioncore.lab.tuning.fits import Fits, c50_of, exponent_of, fit_contrast, size_of
from visioncore.lab.tuning.gratings import SILENT, GratingTuning
from visioncore.lab.tuning.index import POOR, Index
from visioncore.lab.tuning.measured import Measured
from visioncore.lab.tuning.settings import Battery
from visioncore.lab.tuning.showing import Cycling, Told, show_cycles
from visioncore.lab.tuning.stimuli import Grating

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class ContrastTuning(Measured):
    """Responses at each contrast, over the whole field."""

    name: ClassVar[str] = "contrasts"

    contrasts: Float64[np.ndarray, " contrasts"]
    """Rising; 0, which is rest, comes first."""
    responses: Float64[np.ndarray, "units contrasts"]
    """F1, or F0 above rest; NaN for units that gratings do not drive."""
    silent: Bool[np.ndarray, " units"]

    @cached_property
    def fits(self) -> Fits:
        """`naka_rushton`."""
        return fit_contrast(self.contrasts, self.responses)

    @cached_property
    def indices(self) -> Mapping[str, Index]:
        """Of the fit: Rmax and baseline, above rest; c50 and exponent."""
        fits = self.fits
        why = ((self.silent, SILENT), (fits.poor, POOR))
        c50 = c50_of(fits[1])
        # It saturates nowhere near what is shown: then Rmax and c50 trade for each other.
        beyond = (c50 > self.contrasts[-1], "it has no half of its saturation at the largest contrast")
        return {
            "contrast_c50": Index.of(c50, *why, beyond),
            "contrast_rmax": Index.of(fits.scale * size_of(fits[0]), *why, beyond),
            "contrast_exponent": Index.of(exponent_of(fits[2]), *why),
            "contrast_baseline": Index.of(fits.scale * fits[3], *why),
            "contrast_r2": Index.of(fits.r2, why[0], (np.isnan(fits.r2), POOR)),
        }

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Responses and the conditions that they are of."""
        return {"contrasts": self.contrasts, "responses": self.responses}

    @property
    def panels(self) -> "Mapping[str, Callable[[Axes, int], None]]":
        """Contrast."""
        return {"contrast": self._plot}

    def _plot(self, axes: "Axes", unit: int) -> None:
        shown = self.contrasts[1:]
        between = np.geomspace(shown[0], shown[-1], 100)
        fitted = None if self.fits.poor[unit] else self.fits.at(unit, between)
        draw_curve(axes, shown, self.responses[unit, 1:], between, fitted)
        log_axis(axes, shown)
        axes.set_xlabel("contrast")


def show_contrasts(rig: Rig, battery: Battery, gratings: GratingTuning, told: Told) -> ContrastTuning:
    """Show each unit its best grating; units with the same one share it."""
    largest = rig.display.max_contrast
    # Half an octave, then octaves.
    octaves = np.concatenate([np.arange(battery.contrasts - 2, 0, -1.0), [0.5, 0]])
    contrasts = largest * 2.0**-octaves
    n_units, silent = len(rig.units), gratings.silent
    shown: dict[int, list[Grating]] = {}
    wanted: dict[Cycling, list[int]] = {}
    for unit in range(n_units):
        if best := gratings.best_grating(unit):
            shown[unit] = [best.at_contrast(float(contrast)) for contrast in contrasts]
            for stimulus in shown[unit]:
                wanted.setdefault(stimulus, []).append(unit)
    found = show_cycles(rig, wanted, battery.onset_s, battery.seconds_for_one, told, "contrasts")
    responses = np.full((n_units, len(contrasts) + 1), np.nan)
    for unit, stimuli in shown.items():
        responses[unit] = [0.0, *(gratings.response_of(unit, found[own, unit]) for own in stimuli)]
    return ContrastTuning(np.concatenate([[0.0], contrasts]), responses, silent)
