"""The bins of a session: cut by the frames themselves, so that they never drift away from the screen.

A film of n frames has the n intervals between their onsets. Where these are whole multiples of a bin (a frame that was
dropped makes one twice as long), each is divided into so many bins: a display that runs at 59.94 Hz instead of 60 makes
bins that are a thousandth longer, and loses no frame in an hour. Where they are not (25 frames per second on bins of a
sixtieth), or where a format is read so, bins are equally long over the whole session and show the last frame that began
before them. Where several frames fall into a bin, it shows their mean, weighted by time.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from visioncore.data.align.clocked import Frames, Shown
from visioncore.data.align.times import typical_interval
from visioncore.errors import DataError

_NEARLY_WHOLE = 0.1
"""How far from a whole number of bins an interval may be, in bins."""
_MOSTLY = 0.9
LONGEST_HOLD_S, LONGEST_HOLD_FRAMES = 0.25, 4.0
"""A film's frame without a known end that stays longer than both is followed by a break."""
_LATE_S = 1e-4
"""A frame that begins so little after a bin belongs to it: times are written with few digits."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stretch:
    """Bins [start, stop) that run without a break: a trial, or a part of one."""

    start: int
    stop: int
    trial: int
    """Which of the session's trials it is of."""
    from_frame: int
    """How many frames of the trial lie before it."""
    whole: bool
    """Whether it is all of the trial."""


@dataclass(frozen=True)
class Bins:
    """Bins of one session, in seconds of the clock of the responses, and what each shows."""

    start_s: Float64[np.ndarray, " time"]
    stop_s: Float64[np.ndarray, " time"]
    first_frame: Int64[np.ndarray, " time"]
    stop_frame: Int64[np.ndarray, " time"]
    """A bin shows frames [first, stop): one, or several whose mean it shows."""
    stretches: tuple[Stretch, ...]

    def __len__(self) -> int:
        return len(self.start_s)


def make_bins(frames: Frames, shown: Sequence[Shown], rate_hz: float, *, even: bool = False) -> Bins:
    """The bins of all trials, one trial after the other.

    Args:
        rate_hz: bins per second, as the data YAML has it.
        even: bins are equally long in any case.

    Raises:
        DataError: trials overlap or lie outside of the frames, or no bin is left.
    """
    _require_shown(frames, shown)
    if all(trial.stop - trial.start == 1 for trial in shown):
        interval_s = 1 / rate_hz
    else:
        inside = np.zeros(len(frames.times_s) - 1, bool)
        for trial in shown:
            inside[trial.start : trial.stop - 1] = True
        interval_s = typical_interval(frames.times_s, inside, frames.where)
    several = round(1 / (interval_s * rate_hz))
    together = several if several > 1 and abs(several * interval_s * rate_hz - 1) < _NEARLY_WHOLE else 1
    fine_hz = rate_hz * together
    parts: list[_Part] = []
    for number, trial in enumerate(shown):
        parts += _without_breaks(frames, trial, number, interval_s)
    locked = not even and _are_whole(np.concatenate([np.diff(part.edges_s) for part in parts]), fine_hz)
    ends = [
        even and not np.isclose(part.edges_s[-1], begins, rtol=0, atol=_LATE_S)
        for part, begins in zip(parts, [*(part.edges_s[0] for part in parts[1:]), np.inf], strict=True)
    ]
    cut = [
        _by_frames(part, fine_hz)
        if locked
        else _evenly(part, rate_hz, frames.times_s[shown[0].start], nothing_follows=last)
        for part, last in zip(parts, ends, strict=True)
    ]
    if locked and together > 1:
        cut = [_joined(bins, together) for bins in cut]
    stretches, n = [], 0
    for part, (start_s, *_) in zip(parts, cut, strict=True):
        if not len(start_s):
            continue
        from_frame = part.start - shown[part.trial].start
        stretches.append(Stretch(n, n + len(start_s), part.trial, from_frame, part.whole))
        n += len(start_s)
    if not n:
        raise DataError(
            f"{frames.where}: no trial is as long as a bin of {1 / rate_hz:.4g} s; is sampling_rate_hz right?"
        )
    start, stop, first, last = (np.concatenate([bins[k] for bins in cut]) for k in range(4))
    if locked:
        _say_what_the_rate_is(start, stop, rate_hz, frames.where)
    return Bins(start, stop, first.astype(np.int64), last.astype(np.int64), tuple(stretches))


@dataclass(frozen=True)
class _Part:
    """Frames [start, stop) of a trial without a break, and the times at which they begin, with the end of the last."""

    trial: int
    start: int
    stop: int
    edges_s: Float64[np.ndarray, " edges"]
    whole: bool


_Cut = tuple[
    Float64[np.ndarray, " time"],
    Float64[np.ndarray, " time"],
    Int64[np.ndarray, " time"],
    Int64[np.ndarray, " time"],
]
"""Starts and ends of bins, first and stop of the frames of each."""


def _require_shown(frames: Frames, shown: Sequence[Shown]) -> None:
    if not shown:
        raise DataError(f"{frames.where}: no trial, the session is empty")
    last = 0
    for number, trial in enumerate(shown):
        if not last <= trial.start < trial.stop <= len(frames.times_s):
            raise DataError(
                f"{frames.where}: trial {number} has frames {trial.start} to {trial.stop}; expected some, after frame "
                f"{last} where the trial before ends, and at most {len(frames.times_s)}"
            )
        last = trial.stop


def _without_breaks(frames: Frames, trial: Shown, number: int, interval_s: float) -> list[_Part]:
    """A trial's parts: it is cut after a frame that was followed by nothing for a while."""
    onsets = frames.times_s[trial.start : trial.stop]
    following = frames.times_s[trial.stop] if trial.stop < len(frames.times_s) else np.inf
    upto = np.append(onsets[1:], following)
    if frames.stop_s is None:
        longest = max(LONGEST_HOLD_S, LONGEST_HOLD_FRAMES * interval_s)
        ends = np.where(upto - onsets > longest, onsets + interval_s, upto)
        # The last frame stays for as long as the others do: what follows is not of this film.
        ends[-1] = min(upto[-1], onsets[-1] + interval_s)
    else:
        ends = np.minimum(frames.stop_s[trial.start : trial.stop], upto)
        # Screens leave the end of a frame and the start of the next apart by rounding, not by half a frame.
        ends = np.where(upto - ends < interval_s / 2, upto, ends)
        ends[-1] = min(frames.stop_s[trial.stop - 1], upto[-1])
    breaks = np.flatnonzero(ends[:-1] < onsets[1:]) + 1
    edges = [0, *breaks.tolist(), len(onsets)]
    return [
        _Part(
            number,
            trial.start + first,
            trial.start + stop,
            np.append(onsets[first:stop], ends[stop - 1]),
            whole=len(edges) == 2,
        )
        for first, stop in pairwise(edges)
    ]


def _are_whole(intervals_s: Float64[np.ndarray, " steps"], rate_hz: float) -> bool:
    in_bins = intervals_s * rate_hz
    off = np.abs(in_bins - np.maximum(np.round(in_bins), 1))
    usual = float(np.median(in_bins))
    usual_is_whole = abs(usual - max(round(usual), 1)) <= _NEARLY_WHOLE
    return bool(usual_is_whole or np.mean(off <= _NEARLY_WHOLE) >= _MOSTLY)


def _by_frames(part: _Part, rate_hz: float) -> _Cut:
    """Each frame's interval divided into whole bins; a frame too short for one is not seen."""
    onset, stop = part.edges_s[:-1], part.edges_s[1:]
    # Each by itself: under jitter a frame keeps one bin, where rounding of sums would give it none or two.
    n = np.round((stop - onset) * rate_hz).astype(np.int64)
    kept = np.flatnonzero(n)
    if not len(kept):
        empty, none = np.zeros(0), np.zeros(0, np.int64)
        return empty, empty, none, none
    # A frame that is not seen leaves its time to the one before it (the first one's, to the one after it).
    begins = np.append(onset[kept], part.edges_s[-1])
    begins[0] = part.edges_s[0]
    n = n[kept]
    frame = np.repeat(kept + part.start, n)
    within = np.arange(len(frame)) - np.repeat(np.cumsum(n) - n, n)
    length = np.repeat(np.diff(begins) / n, n)
    start_s = np.repeat(begins[:-1], n) + within * length
    return start_s, np.append(start_s[1:], part.edges_s[-1]), frame, frame + 1


def _evenly(part: _Part, rate_hz: float, origin_s: float, *, nothing_follows: bool = False) -> _Cut:
    """Bins of one even grid for the whole session, those that start in the part; where nothing follows it, those that
    lie in it for the most part.
    """
    begin, end = (np.array([part.edges_s[0], part.edges_s[-1]]) - _LATE_S - origin_s) * rate_hz
    stop = round(end) if nothing_follows else int(np.ceil(end))
    start_s = origin_s + np.arange(int(np.ceil(begin)), stop) / rate_hz
    stop_s = start_s + 1 / rate_hz
    onsets = part.edges_s[:-1]
    first = np.searchsorted(onsets, start_s + _LATE_S, side="right") - 1
    last = np.searchsorted(onsets, stop_s - _LATE_S, side="left") if len(onsets) > len(start_s) else first + 1
    return start_s, stop_s, part.start + first, part.start + np.maximum(last, first + 1)


def _joined(bins: _Cut, together: int) -> _Cut:
    """So many bins as one; what is left at the end is left out."""
    start_s, stop_s, first, last = bins
    n = len(start_s) // together
    begin, end = slice(0, n * together, together), slice(together - 1, n * together, together)
    return start_s[begin], stop_s[end], first[begin], last[end]


def _say_what_the_rate_is(
    start_s: Float64[np.ndarray, " time"], stop_s: Float64[np.ndarray, " time"], rate_hz: float, where: str
) -> None:
    true_hz = float(1 / np.mean(stop_s - start_s))
    if abs(true_hz / rate_hz - 1) > 0.02:
        raise DataError(
            f"{where}: frames come at a rate that gives {true_hz:.6g} bins per second, and sampling_rate_hz is "
            f"{rate_hz:g}; give {true_hz:.6g}, or a multiple or a whole part of it"
        )
    if abs(true_hz / rate_hz - 1) > 2e-4:
        _logger.warning(
            "%s: the display ran at %.6g bins per second, not at %g; bins follow the display",
            where,
            true_hz,
            rate_hz,
        )
