"""What a recording is, before and after it is stored: trials, units, aligned signals.

Formats produce `SessionRecording`s through a `RecordingSource`; `prepare` writes each to a session store. Time
runs in bins of 1/sampling_rate_hz, oldest first; frame t of the video is on screen during bin t.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np
from jaxtyping import Bool, Float32, Shaped
from pydantic import Field, NonNegativeInt

from visioncore.config import Config
from visioncore.spec import Columns, Sampling, SessionSpec

Split = Literal["train", "validation", "test"]
Signal = Literal["video", "responses", "valid", "behaviour", "rates"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)


class ClockResiduals(Config):
    """How far pulses that two clocks share are from one straight line between these clocks; at most some hundreds."""

    times_s: tuple[float, ...]
    residuals_ms: tuple[float, ...]


class Alignment(Config):
    """What was found when the signals of a session, each with a clock of its own, were brought to bins."""

    n_frames: NonNegativeInt
    n_bins: NonNegativeInt
    bin_hz: float
    """How many bins a second truly has, in the mean."""
    held_frames: NonNegativeInt
    """Frames of a film that stayed longer than usual: after each, one or more were dropped."""
    unseen_frames: NonNegativeInt
    """Frames that went by too quickly to have a bin."""
    breaks: NonNegativeInt
    """Places where a trial was cut, since no frame followed for a while."""
    invalid_s: dict[str, float] = Field(default_factory=dict)
    """How long bins do not count, by the reason; a bin may have several."""
    clocks: dict[str, ClockResiduals] = Field(default_factory=dict)
    """By the name of the clock that was mapped."""


@dataclass(frozen=True)
class Trial:
    """A stretch of bins [start, stop) in which the stimulus runs without a break.

    Trials with equal `stimulus_id` are repeats of one stimulus. Trials that share a `stimulus_id` or a `group`
    (for example the photograph they show) never straddle two splits. `split` is None where the source leaves the
    choice to us.
    """

    start: int
    stop: int
    split: Split | None = None
    stimulus_id: str | None = None
    group: str | None = None
    kind: str = "video"


class SessionRecording(Protocol):
    """One session as a format yields it: aligned signals on one clock, read a piece at a time and in order.

    Nothing of it has been checked but what its format needs to be read at all.
    """

    spec: SessionSpec
    """Without constants."""
    trials: tuple[Trial, ...]
    trial_columns: Columns
    """What is known of each trial (orientation, contrast, size …), one value per trial."""
    unit_truth: Mapping[str, Sequence[Any]]
    """Per-unit ground truth where known, one value per unit: `cell_class`, `rf_row_px`, `rf_column_px`, ..."""
    missing: tuple[float, ...] | None
    """Values that stood for missing samples, taken out already. None where nobody has said whether there are any: then
    values that look like such codes are refused."""

    @property
    def n_bins(self) -> int:
        """Length of the session in bins."""
        ...

    @property
    def alignment(self) -> Alignment | None:
        """What was found on the way to bins; None where the format has bins already."""
        ...

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Which signals there are; `video` is always among them, and with units `responses` and `valid`."""
        ...

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal.

        video: (time, channels, height, width), uint8 or float; in bins without a valid unit it may hold NaN.
        responses: (time, units), counts or traces. valid: (time, units) or (time, 1), where responses count.
        behaviour: (time, signals). rates: (time, units), the truth where it is known: expected counts per bin, or
        trace, given stimulus and behaviour.
        """
        ...

    def where(self, signal: Signal) -> str:
        """What messages call a signal: the session, and where in its files it stands."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class RecordingSource(ABC):
    """A format: where recordings come from. Configured by one member of the `SourceConfig` union.

    Must provide `sampling`, `session_ids`, `fingerprint` and `session`; may provide `check`.
    """

    @abstractmethod
    def sampling(self) -> Sampling:
        """The clock and the frame size of all sessions."""

    @abstractmethod
    def session_ids(self) -> tuple[str, ...]:
        """In the order that the sessions are to have."""

    @abstractmethod
    def fingerprint(self, session_id: str) -> str:
        """Hex digest of a session's content and of every setting that changes what is yielded of it; no other
        session, and no place of a file, is part of it.
        """

    @abstractmethod
    def session(self, session_id: str) -> SessionRecording:
        """One session, opened; the caller closes it.

        Raises:
            DataError: naming session, key, what was found and what to do.
        """

    def check(self) -> None:
        """Refuse what only the sessions together show; reads no signal.

        Raises:
            DataError: naming the sessions, and what to do.
        """
        return


@dataclass
class ArrayRecording:
    """A `SessionRecording` whose signals are all in memory (or memory-mapped)."""

    spec: SessionSpec
    trials: tuple[Trial, ...]
    frames: Shaped[np.ndarray, "time channels height width"]
    responses: Shaped[np.ndarray, "time units"]
    valid: Bool[np.ndarray, "time units"] | Bool[np.ndarray, "time 1"]
    behaviour: Float32[np.ndarray, "time behaviours"] | None = None
    rates: Float32[np.ndarray, "time units"] | None = None
    unit_truth: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    trial_columns: Columns = field(default_factory=dict)
    missing: tuple[float, ...] | None = None
    alignment: Alignment | None = None

    @property
    def n_bins(self) -> int:
        """Length of the session in bins."""
        return len(self.frames)

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Which signals there are."""
        return tuple(signal for signal in SIGNALS if self._array(signal) is not None)

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal."""
        array = self._array(signal)
        assert array is not None
        return array[start:stop]

    def where(self, signal: Signal) -> str:
        """What messages call a signal."""
        return f"session '{self.spec.id}', {signal}"

    def close(self) -> None:
        """Nothing is open."""

    def _array(self, signal: Signal) -> Shaped[np.ndarray, "time ..."] | None:
        return {
            "video": self.frames,
            "responses": self.responses,
            "valid": self.valid,
            "behaviour": self.behaviour,
            "rates": self.rates,
        }[signal]
