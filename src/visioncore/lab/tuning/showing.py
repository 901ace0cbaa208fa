"""Stimuli are drawn and shown some at a time, and what is measured of the rates is kept of each."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from visioncore.lab.rig import FRAMES_AT_ONCE, Rig
from visioncore.lab.tuning.stimuli import Grating, Plaid, Stimulus

Cycling = Grating | Plaid
WHOLE = 1e-3
"""Of its frames: what a window may be longer or shorter than whole cycles."""
Told = Callable[[str, int, int], None]
"""What is being shown, and how many of how many frames have been."""


def untold(what: str, done: int, of: int) -> None:
    """For those who do not want to know."""


class Window(NamedTuple):
    """Frames that are measured: whole cycles, after the onset has passed."""

    skipped: int
    n_frames: int
    cycles: int

    @classmethod
    def of(cls, rate_hz: float, frequency_hz: float, skipped_s: float, seconds: float) -> "Window":
        """Whole cycles that last so long at least and fill whole frames; where some up to four times as long do not,
        those that fill them best.
        """
        fewest = max(int(np.ceil(seconds * frequency_hz - 1e-6)), 1)
        frames = np.arange(fewest, 4 * fewest + 1) * rate_hz / frequency_hz
        amiss = np.abs(frames - np.rint(frames)) / frames
        fits = np.flatnonzero(amiss < WHOLE)
        chosen = int(fits[0] if len(fits) else amiss.argmin())
        return cls(round(skipped_s * rate_hz), max(round(frames[chosen]), 1), fewest + chosen)

    @property
    def shown(self) -> int:
        """Frames, those of the onset with them."""
        return self.skipped + self.n_frames

    def frequency_hz(self, rate_hz: float) -> float:
        """At which there is this number of cycles in this number of frames."""
        return self.cycles * rate_hz / self.n_frames

    def mean_and_modulation(
        self, rates: Float32[np.ndarray, "stimuli time units"]
    ) -> Float64[np.ndarray, "stimuli 2 units"]:
        """F0 and F1: the mean rate, and the amplitude with which it follows the stimulus's frequency."""
        kept = rates[:, self.skipped : self.shown].astype(np.float64)
        phase = 2 * np.pi * self.cycles * np.arange(self.n_frames) / self.n_frames
        wave = np.einsum("stu,t->su", kept, np.exp(-1j * phase))
        return np.stack([kept.mean(1), 2 * np.abs(wave) / self.n_frames], axis=1)


def show(
    rig: Rig,
    stimuli: Sequence[Stimulus],
    n_frames: int,
    measure: Callable[[Float32[np.ndarray, "stimuli time units"]], np.ndarray],
    told: Callable[[int], None],
) -> np.ndarray:
    """What is measured of the rates, one row per stimulus, in their order.

    Args:
        told: how many more frames have been shown.
    """
    at_once = max(FRAMES_AT_ONCE // n_frames, 1)
    found = []
    for start in range(0, len(stimuli), at_once):
        some = stimuli[start : start + at_once]
        rates = rig.rates(np.stack([stimulus.frames(rig.display, n_frames) for stimulus in some]))
        found.append(measure(rates))
        told(len(some) * n_frames)
    return np.concatenate(found)


def show_cycles(
    rig: Rig,
    wanted: Mapping[Cycling, Sequence[int]],
    onset_s: float,
    seconds: float,
    told: Told,
    what: str,
) -> dict[tuple[Cycling, int], tuple[float, float]]:
    """F0 and F1 of each stimulus and each unit that it is shown for.

    Args:
        wanted: stimuli, and the units that they are for.
    """
    rate_hz = rig.display.rate_hz
    groups: dict[Window, list[Cycling]] = {}
    for stimulus in wanted:
        groups.setdefault(Window.of(rate_hz, stimulus.temporal_frequency_hz, onset_s, seconds), []).append(
            stimulus
        )
    more = counting(told, what, sum(window.shown * len(some) for window, some in groups.items()))
    found: dict[tuple[Cycling, int], tuple[float, float]] = {}
    at_once = 64
    for window, stimuli in groups.items():
        # Of the rates of all units, those that are wanted are kept before the next are shown.
        for start in range(0, len(stimuli), at_once):
            some = stimuli[start : start + at_once]
            shown = show(rig, some, window.shown, window.mean_and_modulation, more)
            for stimulus, (mean, modulation) in zip(some, shown, strict=True):
                found |= {(stimulus, u): (float(mean[u]), float(modulation[u])) for u in wanted[stimulus]}
    return found


def counting(told: Told, what: str, of: int) -> Callable[[int], None]:
    """Adds up frames for `told`."""
    done = 0

    def more(n: int) -> None:
        nonlocal done
        done += n
        told(what, done, of)

    told(what, 0, of)
    return more
