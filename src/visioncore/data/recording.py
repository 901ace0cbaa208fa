"""What a recording is, before and after it is stored: trials, units, aligned signals.

Formats produce `SessionRecording`s through a `RecordingSource`; `prepare` writes them to the session store. Time
runs in bins of 1/sampling_rate_hz, oldest first; frame t of the video is on screen during bin t.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Bool, Float32, Shaped

Split = Literal["train", "validation", "test"]


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


@dataclass(frozen=True)
class RecordingInfo:
    """What all sessions of a recording have in common. Positions as in `DataSpec`."""

    sampling_rate_hz: float
    response_kind: Literal["counts", "trace"]
    channels: int
    height: int
    width: int
    behaviour_names: tuple[str, ...] = ()
    degrees_per_pixel: float | None = None
    centre_deg: tuple[float, float] | None = None


class SessionRecording(Protocol):
    """One session as a format yields it: aligned signals on one clock, the video read piece by piece."""

    id: str
    subject: str
    unit_ids: tuple[str, ...]
    trials: tuple[Trial, ...]
    responses: Shaped[np.ndarray, "time units"]
    behaviour: Float32[np.ndarray, "time behaviours"] | None
    valid: Bool[np.ndarray, "time units"] | Bool[np.ndarray, "time 1"]
    rates: Float32[np.ndarray, "time units"] | None
    """Ground truth where it is known: expected counts per bin, or trace, given stimulus and behaviour."""
    unit_truth: dict[str, list[Any]]
    """Per-unit ground truth where known, JSON values, one per unit: `cell_class`, `rf_row_px`, `rf_column_px`, ..."""
    missing: tuple[float, ...] | None
    """Values that stood for missing samples, taken out already. None where nobody has said whether there are any: then
    values that look like such codes are refused."""

    @property
    def n_bins(self) -> int:
        """Length of the session in bins."""
        ...

    def video(self, start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        """Frames [start, stop), uint8 or float; in bins without a valid unit they may hold NaN."""
        ...


class RecordingSource(Protocol):
    """A format: where recordings come from. Configured by one member of the `SourceConfig` union."""

    def info(self) -> RecordingInfo: ...

    def fingerprint(self) -> str:
        """Hex digest of the source's content and of every setting that changes what it yields."""
        ...

    def sessions(self) -> Iterator[SessionRecording]:
        """The sessions one after the other, each checked. Only one needs to be in memory at a time.

        Raises:
            DataError: naming session, key, what was found and what to do.
        """
        ...


@dataclass
class ArrayRecording:
    """A `SessionRecording` whose signals are all in memory (or memory-mapped)."""

    id: str
    subject: str
    unit_ids: tuple[str, ...]
    trials: tuple[Trial, ...]
    frames: Shaped[np.ndarray, "time channels height width"]
    responses: Shaped[np.ndarray, "time units"]
    valid: Bool[np.ndarray, "time units"] | Bool[np.ndarray, "time 1"]
    behaviour: Float32[np.ndarray, "time behaviours"] | None = None
    rates: Float32[np.ndarray, "time units"] | None = None
    unit_truth: dict[str, list[Any]] = field(default_factory=dict)
    missing: tuple[float, ...] | None = None

    @property
    def n_bins(self) -> int:
        """Length of the session in bins."""
        return len(self.responses)

    def video(self, start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        """Frames [start, stop)."""
        return self.frames[start:stop]
