"""Bright and dark bars that move over the field."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float64

from visioncore.drawing import PREDICTED, RECORDED
from visioncore.lab.display import Display
from visioncore.lab.rig import Rig
from visioncore.lab.tuning import indices
from visioncore.lab.tuning.drawn import draw_curve
from visioncore.lab.tuning.gratings import FLAT, UNTUNED, GratingTuning
from visioncore.lab.tuning.index import Index
from visioncore.lab.tuning.measured import Measured, Rest
from visioncore.lab.tuning.showing import Told, counting, show
from visioncore.lab.tuning.stimuli import Bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTHS = 12
"""Bars in the shorter side of the frame."""
LEAST_WIDTH_PX = 2.0
SWEEP_S = (0.5, 2.0)
AFTER_S = 0.15
SILENT = "no response to moving bars above rest"


@dataclass(frozen=True)
class BarTuning(Measured):
    """The largest rise of the rate over that on grey at the same time, while a bar crosses the field."""

    name: ClassVar[str] = "bars"

    display: Display
    rest: Rest
    speed_px_s: float
    width_px: float
    directions_deg: Float64[np.ndarray, " directions"]
    responses: Float64[np.ndarray, "units polarities directions"]
    """To bright bars, to dark bars; never below 0."""

    @cached_property
    def by_direction(self) -> Float64[np.ndarray, "units directions"]:
        """Of the kind of bar that drives a unit more."""
        better = self.responses.max(2).argmax(1)
        return self.responses[np.arange(len(better)), better]

    @property
    def silent(self) -> Bool[np.ndarray, " units"]:
        """Units that no bar drives above rest."""
        return self.rest.silent(self.by_direction.max(1))

    @cached_property
    def indices(self) -> Mapping[str, Index]:
        """Preferred direction (of the vector sum along its orientation), selectivity, ON/OFF index."""
        curves, degrees, silent = self.by_direction, self.directions_deg, (self.silent, SILENT)
        flat = (np.ptp(curves, axis=1) < FLAT * curves.max(1), UNTUNED)
        preferred = indices.along_orientation(curves, degrees)
        best = curves.argmax(1)
        bright, dark = self.responses[np.arange(len(best)), :, best].T
        return {
            "bar_preferred_direction_deg": Index.of(preferred, silent, flat, circle=360),
            "bar_dsi": Index.of(indices.direction_selectivity(curves, degrees), silent),
            "bar_on_off": Index.of(indices.difference_over_sum(bright, dark), silent),
        }

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Responses and the conditions that they are of."""
        return {"directions_deg": self.directions_deg, "responses": self.responses}

    @property
    def panels(self) -> "Mapping[str, Callable[[Axes, int], None]]":
        """Direction."""
        return {"moving bars": self._plot}

    def _plot(self, axes: "Axes", unit: int) -> None:
        for own, colour, label in zip(
            self.responses[unit], (PREDICTED, RECORDED), ("bright", "dark"), strict=True
        ):
            draw_curve(axes, self.directions_deg, own, colour=colour, label=label)
        axes.set_xticks([0, 90, 180, 270, 360])
        axes.set_xlabel("direction (deg)")
        axes.legend(fontsize=6, handlelength=1)


def speed_px_s(display: Display, gratings: GratingTuning) -> float:
    """The median speed of the units' best gratings, as far as a bar crosses the field in half a second to two."""
    best = [gratings.best_grating(unit) for unit in range(len(gratings.mean))]
    speeds = [one.temporal_frequency_hz * one.period_px for one in best if one is not None]
    across = float(np.hypot(display.height, display.width))
    return float(np.clip(np.median(speeds) if speeds else 0, across / SWEEP_S[1], across / SWEEP_S[0]))


def show_bars(rig: Rig, rest: Rest, gratings: GratingTuning, told: Told) -> BarTuning:
    """Show them to all units of the rig, of the largest contrast."""
    display, directions = rig.display, gratings.directions_deg
    width = max(min(display.height, display.width) / WIDTHS, LEAST_WIDTH_PX)
    speed = speed_px_s(display, gratings)
    contrast = display.max_contrast
    stimuli = [Bar(float(d), width, speed, sign * contrast) for sign in (1, -1) for d in directions]
    n_frames = stimuli[0].n_frames(display) + display.frames(AFTER_S)
    more = counting(told, "moving bars", (len(stimuli) + 1) * n_frames)
    (grey,) = show(rig, [replace(stimuli[0], contrast=0.0)], n_frames, lambda rates: rates, more)
    rise = show(rig, stimuli, n_frames, lambda rates: (rates - grey).max(1).astype(np.float64), more)
    shaped = np.maximum(rise, 0).reshape(2, len(directions), -1).transpose(2, 0, 1)
    return BarTuning(display, rest, speed, width, directions, shaped)
