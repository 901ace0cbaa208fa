"""A session as its files have it: each signal with its own times, in seconds of the clock of the responses.

A source fills these in and bins nothing; `align` does. Times are float64 throughout: float32 is off by a millisecond
after three hours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from visioncore.data.align.sync import ClockMap
from visioncore.data.align.times import checked_times
from visioncore.errors import DataError
from visioncore.recording import Split
from visioncore.spec import Columns, SessionSpec


@dataclass(frozen=True)
class Intervals:
    """Stretches of time [start, stop), such as those in which a unit was held, or a tracker was lost.

    Raises:
        DataError: an interval has no end, or ends before it starts.
    """

    start_s: Float64[np.ndarray, " intervals"]
    stop_s: Float64[np.ndarray, " intervals"]
    where: str

    def __post_init__(self) -> None:
        if self.start_s.shape != self.stop_s.shape or self.start_s.ndim != 1:
            raise DataError(
                f"{self.where}: {len(self.start_s)} starts and {len(self.stop_s)} ends of intervals"
            )
        wrong = np.flatnonzero(~(self.stop_s >= self.start_s))
        if len(wrong):
            first = wrong[0]
            raise DataError(
                f"{self.where}: interval {first} runs from {self.start_s[first]} to {self.stop_s[first]} s; expected "
                "numbers, and an end that is not before the start"
            )

    def overlap(
        self, start_s: Float64[np.ndarray, " time"], stop_s: Float64[np.ndarray, " time"]
    ) -> Float64[np.ndarray, " time"]:
        """How many seconds of each bin lie in some interval (in the union of all)."""
        order = np.argsort(self.start_s, kind="stable")
        begin, end = (
            self.start_s[order],
            np.maximum.accumulate(self.stop_s[order]) if len(order) else self.stop_s,
        )
        # The union: an interval counts from where those before it end.
        begin = np.maximum(begin, np.concatenate([[-np.inf], end[:-1]])) if len(order) else begin
        covered = np.concatenate([[0.0], np.cumsum(np.maximum(end - begin, 0.0))])

        def until(at: Float64[np.ndarray, " time"]) -> Float64[np.ndarray, " time"]:
            k = np.searchsorted(begin, at, side="right")
            inside = np.where(k > 0, np.maximum(end[k - 1] - np.maximum(at, begin[k - 1]), 0.0), 0.0)
            return covered[k] - inside

        if not len(order):
            return np.zeros(len(start_s))
        return until(stop_s) - until(start_s)


@dataclass(frozen=True)
class Signal:
    """Samples of one or several columns, taken at times of their own.

    `values` may be read lazily: it has a shape of (samples, columns) and gives rows for a slice.

    Raises:
        DataError: times are not finite or go back, or their number is not that of the samples.
    """

    times_s: Float64[np.ndarray, " samples"]
    values: Any
    names: tuple[str, ...]
    """What its columns are: signals of behaviour, or unit ids."""
    where: str
    """What messages call it: the file, and the field in it."""
    shift_s: Float64[np.ndarray, " columns"] | None = None
    """Of responses: how long after `times_s` each column was sampled, as the lines of a scan are."""

    def __post_init__(self) -> None:
        n, columns = self.values.shape
        if self.shift_s is not None and (
            self.shift_s.shape != (columns,) or not np.isfinite(self.shift_s).all()
        ):
            raise DataError(
                f"{self.where}: phase shifts have shape {self.shift_s.shape}; expected seconds, one for each of "
                f"{columns} columns"
            )
        checked_times(self.times_s, self.where, n, "samples", may_repeat=True)
        if columns != len(self.names):
            raise DataError(
                f"{self.where}: {columns} columns for {len(self.names)} names: {', '.join(self.names)}"
            )


@dataclass(frozen=True)
class Events:
    """Spikes: when, and of which unit (its place in the session's unit ids).

    Raises:
        DataError: a time is not finite, or numbers differ.
    """

    times_s: Float64[np.ndarray, " spikes"]
    unit: Int64[np.ndarray, " spikes"]
    where: str
    held: tuple[Intervals | None, ...] | None = None
    """Per unit, when it was observed; None: all the time."""

    def __post_init__(self) -> None:
        if self.times_s.shape != self.unit.shape:
            raise DataError(
                f"{self.where}: {len(self.times_s)} spike times, but {len(self.unit)} labels of units; expected a "
                "label for each spike"
            )
        if not np.isfinite(self.times_s).all():
            wrong = int(np.flatnonzero(~np.isfinite(self.times_s))[0])
            raise DataError(f"{self.where}: spike time {wrong} is {self.times_s[wrong]}; expected seconds")

    def in_order(self) -> Self:
        """The same, sorted by time."""
        if len(self.times_s) < 2 or (np.diff(self.times_s) >= 0).all():
            return self
        order = np.argsort(self.times_s, kind="stable")
        return type(self)(self.times_s[order], self.unit[order], self.where, self.held)


class Pictures(Protocol):
    """What frames show, read a few at a time."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """uint8 or a float."""
        ...

    def read(self, numbers: Int64[np.ndarray, " some"]) -> Shaped[np.ndarray, "some channels height width"]:
        """Pictures by number, in any order and with repetition."""
        ...


@dataclass(frozen=True)
class PicturesInMemory:
    """Pictures of an array (pictures, channels, height, width), which may be memory-mapped."""

    array: Shaped[np.ndarray, "pictures channels height width"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, channels, height, width = self.array.shape
        return channels, height, width

    @property
    def dtype(self) -> np.dtype:
        """Of the array."""
        return self.array.dtype

    def read(self, numbers: Int64[np.ndarray, " some"]) -> Shaped[np.ndarray, "some channels height width"]:
        """Pictures by number."""
        return self.array[numbers]


@dataclass(frozen=True)
class Shown:
    """A trial: frames [start, stop) of a session's `Frames`, which ran without a break as far as the files say.

    `align` cuts it where frames are further apart than a film's may be.
    """

    start: int
    stop: int
    split: Split | None = None
    stimulus_id: str | None = None
    group: str | None = None
    kind: str = "video"


@dataclass(frozen=True)
class Frames:
    """What was on the screen, and from when.

    Raises:
        DataError: times are not finite, do not increase, or their number is not that of the frames.
    """

    times_s: Float64[np.ndarray, " frames"]
    """When each frame appeared on the screen, the delay of the display included."""
    picture: Int64[np.ndarray, " frames"]
    """Which picture it shows; negative: unknown, and no response counts while it is shown."""
    pictures: Pictures
    where: str
    stop_s: Float64[np.ndarray, " frames"] | None = None
    """When each disappeared, where that is known; else it stays until the next one, or for a film's usual interval."""

    def __post_init__(self) -> None:
        checked_times(self.times_s, self.where, len(self.picture), "frames")
        if self.stop_s is not None:
            wrong = np.flatnonzero(~(self.stop_s > self.times_s))
            if len(wrong):
                first = wrong[0]
                raise DataError(
                    f"{self.where}: frame {first} is shown from {self.times_s[first]} to {self.stop_s[first]} s; a "
                    "frame ends after it starts"
                )


@dataclass(frozen=True)
class ClockedSession:
    """All of a session, before it is brought to bins."""

    spec: SessionSpec
    frames: Frames
    shown: tuple[Shown, ...]
    responses: Events | tuple[Signal, ...] | None
    """Spikes, to be counted; or traces: one signal for each clock (as planes of a scan have), whose columns follow one
    another in the order of the spec's unit ids. None: a stimulus alone."""
    behaviour: tuple[Signal, ...] = ()
    invalid: tuple[Intervals, ...] = ()
    """When nothing counts, of no unit: blinks, lost trackers, what the experimenter marked."""
    trial_columns: Columns = field(default_factory=dict)
    """One value for each of `shown`."""
    unit_truth: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    missing: tuple[float, ...] | None = None
    clocks: tuple[ClockMap, ...] = ()
    """How times of other clocks were brought to that of the responses, with what was off a straight line."""
    even_bins: bool = False
    """Whether bins are equally long, and not cut by the frames: formats that are sampled at given times ask for it."""
