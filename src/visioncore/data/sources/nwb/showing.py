"""What a stimulus of a file showed, and when: before several of them are put in one order."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float64, Int64

from visioncore.data.align import Frames, Pictures, Shown
from visioncore.data.align.bins import LONGEST_HOLD_FRAMES, LONGEST_HOLD_S
from visioncore.data.sources.nwb.pictures import JoinedPictures
from visioncore.errors import DataError
from visioncore.spec import Columns


@dataclass(frozen=True)
class Showing:
    """Frames of one stimulus, by the times in the file, and its trials."""

    times_s: Float64[np.ndarray, " frames"]
    stop_s: Float64[np.ndarray, " frames"] | None
    picture: Int64[np.ndarray, " frames"]
    pictures: Pictures
    n_pictures: int
    shown: tuple[Shown, ...]
    where: str
    columns: Columns = field(default_factory=dict)

    def __post_init__(self) -> None:
        Frames(self.times_s, self.picture, self.pictures, self.where, self.stop_s)


def in_order(showings: Sequence[Showing], delay_s: float) -> tuple[Frames, tuple[Shown, ...], Columns]:
    """All of a session, by time, and light on the screen `delay_s` after the times in the file.

    Raises:
        DataError: two stimuli were shown at once, or pictures differ in size.
    """
    if len(showings) == 1:
        only = showings[0]
        stop_s = None if only.stop_s is None else only.stop_s + delay_s
        return (
            Frames(only.times_s + delay_s, only.picture, only.pictures, only.where, stop_s),
            only.shown,
            only.columns,
        )
    parts, pieces = [], []
    for showing in showings:
        parts.append((showing.pictures, showing.n_pictures, showing.where))
        pieces += [(showing, number, trial) for number, trial in enumerate(showing.shown)]
    pictures = JoinedPictures(parts)
    starts = {id(showing): start for showing, start in zip(showings, pictures.starts[:-1], strict=True)}
    stops = {id(showing): _stops(showing) for showing in showings}
    pieces.sort(key=lambda piece: piece[0].times_s[piece[2].start])
    times: list[np.ndarray] = []
    ends: list[np.ndarray] = []
    numbers: list[np.ndarray] = []
    shown: list[Shown] = []
    n, before = 0, pieces[0]
    for piece in pieces:
        showing, _, trial = piece
        rows = slice(trial.start, trial.stop)
        if ends and showing.times_s[trial.start] < ends[-1][-1] - _shortest(ends[-1], times[-1]):
            raise DataError(
                f"{showing.where}: a trial starts at {showing.times_s[trial.start]:.3f} s, and one of "
                f"{before[0].where} ends at {ends[-1][-1]:.3f} s; two stimuli cannot be on the screen at once: name "
                "one of them"
            )
        times.append(showing.times_s[rows])
        ends.append(stops[id(showing)][rows])
        picture = showing.picture[rows]
        numbers.append(np.where(picture >= 0, picture + starts[id(showing)], -1))
        shown.append(replace(trial, start=n, stop=n + trial.stop - trial.start))
        n, before = n + trial.stop - trial.start, piece
    where = ", ".join(showing.where for showing in showings)
    frames = Frames(
        np.concatenate(times) + delay_s,
        np.concatenate(numbers),
        pictures,
        where,
        np.concatenate(ends) + delay_s,
    )
    names = dict.fromkeys(name for showing in showings for name in showing.columns)
    columns = {
        name: tuple(showing.columns[name][k] if name in showing.columns else None for showing, k, _ in pieces)
        for name in names
    }
    return frames, tuple(shown), columns


def _shortest(ends: Float64[np.ndarray, " frames"], times: Float64[np.ndarray, " frames"]) -> float:
    """Half a frame: what ends of one stimulus and starts of the next may overlap by rounding."""
    return float(np.median(ends - times)) / 2


def _stops(showing: Showing) -> Float64[np.ndarray, " frames"]:
    """When each frame ended; where the file has no ends, by the rule of `make_bins`."""
    if showing.stop_s is not None:
        return showing.stop_s
    interval_s = usual_interval(showing)
    longest = max(LONGEST_HOLD_S, LONGEST_HOLD_FRAMES * interval_s)
    following = np.append(showing.times_s[1:], np.inf)
    stops = np.where(following - showing.times_s > longest, showing.times_s + interval_s, following)
    for trial in showing.shown:
        stops[trial.stop - 1] = min(stops[trial.stop - 1], showing.times_s[trial.stop - 1] + interval_s)
    return stops


def usual_interval(showing: Showing) -> float:
    """From one frame to the next."""
    steps = np.diff(showing.times_s)
    if not len(steps):
        raise DataError(f"{showing.where}: has a single frame, and no time at which it ends")
    return float(np.median(steps))
