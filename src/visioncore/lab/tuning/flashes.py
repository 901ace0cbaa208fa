"""The whole field becomes bright or dark for a while."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float64

from visioncore.drawing import PREDICTED, RECORDED
from visioncore.lab.display import Display
from visioncore.lab.rig import Rig
from visioncore.lab.tuning.index import Index
from visioncore.lab.tuning.indices import difference_over_sum
from visioncore.lab.tuning.measured import Measured, Rest
from visioncore.lab.tuning.showing import Told, counting, show
from visioncore.lab.tuning.stimuli import Flash

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLASH_S, AFTER_S, SUSTAINED_S = 0.5, 0.25, 0.1
SILENT = "no response to flashes above rest"


@dataclass(frozen=True)
class FlashResponses(Measured):
    """Rates from the onset of a bright and of a dark flash on."""

    name: ClassVar[str] = "flashes"

    display: Display
    rest: Rest
    rates: Float64[np.ndarray, "units 3 time"]
    """Bright, dark, and as grey as before."""

    @cached_property
    def during(self) -> Float64[np.ndarray, "units polarities time"]:
        """Above the rate on grey at the same time, while the flash lasts; never below 0. A token's bins differ, and
        that is no response.
        """
        above = self.rates[:, :2] - self.rates[:, 2:]
        return np.maximum(above[:, :, : self.display.frames(FLASH_S)], 0)

    @cached_property
    def indices(self) -> Mapping[str, Index]:
        """ON/OFF index, and transience and latency of the flash with the larger response."""
        peaks = self.during.max(2)
        silent = (self.rest.silent(peaks.max(1)), SILENT)
        better = self.during[np.arange(len(peaks)), peaks.argmax(1)]
        peak = better.max(1)
        late = better[:, -self.display.frames(SUSTAINED_S) :].mean(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            transience = 1 - late / peak
        return {
            "flash_on_off": Index.of(difference_over_sum(*peaks.T), silent),
            "flash_transience": Index.of(transience, silent),
            "flash_latency_ms": Index.of(1000 * _half_peak(better) / self.display.rate_hz, silent),
        }

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Rates, and when."""
        times = (np.arange(self.rates.shape[2]) + 0.5) / self.display.rate_hz
        return {"rates": self.rates, "seconds": times}

    @property
    def panels(self) -> "Mapping[str, Callable[[Axes, int], None]]":
        """Rates over time."""
        return {"flashes": self._plot}

    def _plot(self, axes: "Axes", unit: int) -> None:
        times = self.arrays()["seconds"]
        for own, colour, label in zip(
            self.rates[unit], (PREDICTED, RECORDED), ("bright", "dark"), strict=False
        ):
            axes.plot(times, own, color=colour, linewidth=1, label=label)
        axes.axvspan(0, FLASH_S, color="#eeeeee", zorder=0)
        axes.set_ylim(bottom=min(0.0, float(self.rates[unit].min())))
        axes.set_xlabel("s")
        axes.legend(fontsize=6, handlelength=1)


def _half_peak(responses: Float64[np.ndarray, "units time"]) -> Float64[np.ndarray, " units"]:
    """Frames from the onset until a response first has half its peak, on the line between the middles of two bins."""
    found = np.full(len(responses), np.nan)
    for unit, own in enumerate(responses):
        half = own.max() / 2
        after = int(np.argmax(own >= half))
        if half > 0:
            before = own[after - 1] if after else 0.0
            found[unit] = after + 0.5 - (own[after] - half) / (own[after] - before)
    return np.maximum(found, 0)


def show_flashes(rig: Rig, rest: Rest, told: Told) -> FlashResponses:
    """Show them to all units of the rig, of the largest contrast."""
    display = rig.display
    n_frames = display.frames(FLASH_S + AFTER_S)
    more = counting(told, "flashes", 3 * n_frames)
    stimuli = [Flash(sign * display.max_contrast, FLASH_S) for sign in (1, -1, 0)]
    rates = show(rig, stimuli, n_frames, lambda rates: rates, more)
    return FlashResponses(display, rest, rates.transpose(2, 0, 1).astype(np.float64))
