"""Frame times from triggers: one pulse at every n-th frame, the times between interpolated.

Triggers run at one interval. One that is a multiple of it means that triggers were missed: the film went on. One that
is longer by anything else is a pause: frames go on at their usual pace after the trigger, then nothing is known until
the next. A film is never stretched over a pause. A pulse shortly after another one is not a trigger.
"""

import logging
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from visioncore.data.align import Intervals
from visioncore.data.align.times import checked_times
from visioncore.errors import DataError

_OFF = 0.25
"""By how much an interval may differ from a usual one, in frames; less than a refresh, of displays that show a frame
for up to two."""
_DROPPED = 4.0
"""A trigger that is later by up to so many frames: frames were dropped before it, nobody knows which."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TriggeredFrames:
    """When frames begin and end, the number of each in the film, and when it cannot be told which one is shown."""

    start_s: Float64[np.ndarray, " frames"]
    stop_s: Float64[np.ndarray, " frames"]
    number: Int64[np.ndarray, " frames"]
    unclear: Intervals


def frames_of_triggers(
    triggers_s: Float64[np.ndarray, " triggers"],
    frames_per_trigger: int,
    where: str,
    n_frames: int | None = None,
) -> TriggeredFrames:
    """The frames, `frames_per_trigger` from each trigger on, after the last one too.

    Args:
        n_frames: of the film, where that is known: the last trigger may be followed by fewer.

    Raises:
        DataError: there are fewer than two triggers, or pulses among them that are none.
    """
    checked_times(triggers_s, where, len(triggers_s), "triggers")
    if len(triggers_s) < 2:
        raise DataError(f"{where}: one trigger; from two on frames have a rate")
    usual_s = _usual_interval(triggers_s)
    frame_s = usual_s / frames_per_trigger
    kept = _without_doubles(triggers_s, usual_s, frame_s, where)
    in_usual = np.diff(kept) / usual_s
    whole = np.maximum(np.round(in_usual), 1).astype(np.int64)
    # An early trigger was refused, so what is off is late: a pause. Missed triggers tell in whole numbers.
    off = (in_usual - whole) * frames_per_trigger
    missed = (np.abs(off) <= _OFF * np.sqrt(whole)) & (whole > 1)
    regular = (np.abs(off) <= _OFF) | missed
    _say(kept, whole, regular, missed, usual_s, where)
    steps = np.where(regular, whole, 1) * frames_per_trigger
    steps = np.append(steps, frames_per_trigger)
    pace_s = np.append(np.where(regular, np.diff(kept) / steps[:-1], frame_s), frame_s)
    within = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
    start_s = np.repeat(kept, steps) + within * np.repeat(pace_s, steps)
    stop_s = start_s + np.repeat(pace_s, steps)
    late = ~regular & ((in_usual - 1) * frames_per_trigger <= _DROPPED)
    unclear = Intervals(kept[:-1][late], kept[1:][late], f"{where}, triggers that come late")
    number = np.arange(len(start_s))
    if n_frames is not None:
        start_s, stop_s, number = _of_film(start_s, stop_s, number, n_frames, frames_per_trigger, where)
    return TriggeredFrames(start_s, stop_s, number, unclear)


def doubled(times_s: Float64[np.ndarray, " frames"]) -> Bool[np.ndarray, " frames"]:
    """Times that come shortly after one before, while the next comes when it should: one too many, not one late."""
    steps = np.diff(times_s)
    if len(steps) < 3:
        return np.zeros(len(times_s), bool)
    usual = float(np.median(steps))
    found = np.zeros(len(times_s), bool)
    short = steps[:-1] < usual / 2
    found[1:-1] = short & (np.abs(steps[:-1] + steps[1:] - usual) < usual / 4)
    return found


def _usual_interval(triggers_s: Float64[np.ndarray, " triggers"]) -> float:
    """The mean of the intervals that are near their median: of whole samples, the median alone is a rounded one."""
    steps = np.diff(triggers_s)
    median = float(np.median(steps))
    return float(steps[np.abs(steps - median) <= 0.002 * median].mean())


def _without_doubles(
    triggers_s: Float64[np.ndarray, " triggers"], usual_s: float, frame_s: float, where: str
) -> Float64[np.ndarray, " kept"]:
    kept, doubles = [float(triggers_s[0])], []
    times = triggers_s.tolist()
    for number, time_s in enumerate(times[1:], 1):
        early_s = usual_s - (time_s - kept[-1])
        if early_s <= _OFF * frame_s:
            kept.append(time_s)
            continue
        on_time = any(
            abs(later - kept[-1] - usual_s) <= _OFF * frame_s for later in times[number + 1 : number + 4]
        )
        bounce, last = time_s - kept[-1] < frame_s / 2, number == len(times) - 1
        if not (on_time or bounce or last):
            raise DataError(
                f"{where}: trigger {number} ({time_s:.6f} s) comes {usual_s - early_s:.6g} s after the one before, and "
                f"triggers usually come every {usual_s:.6g} s; are other pulses among them? Leave those out. Does a "
                "film start anew here? Make a session of each"
            )
        doubles.append(number)
    if doubles:
        _logger.warning(
            "%s: %d of %d triggers come too soon after one before and are left out, the first is number %d (%.6f s)",
            where,
            len(doubles),
            len(triggers_s),
            doubles[0],
            triggers_s[doubles[0]],
        )
    return np.array(kept)


def _of_film(
    start_s: Float64[np.ndarray, " frames"],
    stop_s: Float64[np.ndarray, " frames"],
    number: Int64[np.ndarray, " frames"],
    n_frames: int,
    frames_per_trigger: int,
    where: str,
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    if len(number) - n_frames >= frames_per_trigger:
        raise DataError(
            f"{where}: triggers of {len(number)} frames ({frames_per_trigger} each), and the film has {n_frames}; is "
            "frames_per_trigger right, and does the film run once?"
        )
    if len(number) < n_frames:
        _logger.warning(
            "%s: the film has %d frames and triggers were found of %d; the rest is left out",
            where,
            n_frames,
            len(number),
        )
    return start_s[:n_frames], stop_s[:n_frames], number[:n_frames]


def _say(
    kept: Float64[np.ndarray, " kept"],
    whole: Int64[np.ndarray, " steps"],
    regular: Bool[np.ndarray, " steps"],
    missed: Bool[np.ndarray, " steps"],
    usual_s: float,
    where: str,
) -> None:
    if missed.any():
        first = int(np.flatnonzero(missed)[0])
        _logger.warning(
            "%s: %d triggers were missed, the first after %.6f s; the film is taken to go on without them",
            where,
            int((whole[missed] - 1).sum()),
            kept[first],
        )
    if not regular.all():
        first = int(np.flatnonzero(~regular)[0])
        _logger.warning(
            "%s: %d triggers come late, the first %.6g s after the one before at %.6f s (usual: %.6g s); taken for "
            "pauses of the film",
            where,
            int((~regular).sum()),
            kept[first + 1] - kept[first],
            kept[first],
            usual_s,
        )
