"""What a preparation step is: a session in, a session out, nothing read before it is asked for."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Shaped

from visioncore.config import ComponentConfig
from visioncore.errors import DataError
from visioncore.recording import SessionRecording, Signal, Trial
from visioncore.spec import Geometry, Sampling, SessionSpec

PIECE_BYTES = 2**25
"""Most that a step holds at once of what it reads; what it gives is often much smaller than what it reads."""


class BaseStepConfig(ComponentConfig):
    """Base of the steps' configs. Must provide `apply`, and `tiny` for the tests; may provide `sampling`."""

    needs_screen: ClassVar[bool] = False
    """Whether frames must be whole screens: such a step stands before any that follows the gaze."""
    leaves_screen: ClassVar[bool] = True
    """Whether frames still lie still on the screen afterwards."""

    def sampling(self, before: Sampling) -> Sampling:
        """Clock and frame size after the step.

        Raises:
            DataError: the step cannot be taken on such frames, or at such a rate.
        """
        return before

    @abstractmethod
    def apply(self, recording: SessionRecording, sampling: Sampling) -> SessionRecording:
        """The session after the step; `sampling` is that before it.

        Raises:
            DataError: naming session, step, what was found and what to do.
        """


class ChangedRecording:
    """A `SessionRecording` that gives another one's signals; a step overrides what it changes."""

    def __init__(self, before: SessionRecording) -> None:
        self.before = before
        self.spec = before.spec
        self.trials = before.trials
        self.trial_columns = before.trial_columns
        self.unit_truth = before.unit_truth
        self.missing = before.missing
        self.alignment = before.alignment

    @property
    def n_bins(self) -> int:
        """Length of the session in bins."""
        return self.before.n_bins

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Which signals there are."""
        return self.before.signals

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal."""
        return self.before.read(signal, start, stop)

    def where(self, signal: Signal) -> str:
        """What messages call a signal."""
        return self.before.where(signal)

    def close(self) -> None:
        """Let go of files."""
        self.before.close()

    def keep_trials(self, trials: Sequence[tuple[int, Trial]], step: str) -> None:
        """Have these trials, each with its number among those of before, whose columns go with it.

        Raises:
            DataError: there are none.
        """
        if not trials:
            raise DataError(f"session '{self.spec.id}', step {step}: no trial is left")
        self.trials = tuple(trial for _, trial in trials)
        self.trial_columns = {
            name: tuple(values[number] for number, _ in trials)
            for name, values in self.before.trial_columns.items()
        }


def in_pieces(
    start: int,
    stop: int,
    row_bytes: int,
    change: Callable[[int, int], Shaped[np.ndarray, "time ..."]],
) -> Shaped[np.ndarray, "time ..."]:
    """`change(start, stop)`, asked for so few bins at a time that what it reads stays within `PIECE_BYTES`."""
    rows = max(1, PIECE_BYTES // max(row_bytes, 1))
    # At least one piece, which has the shape and type of an empty answer.
    edges = range(start, max(stop, start + 1), rows)
    parts = [change(begin, min(begin + rows, stop)) for begin in edges]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def frame_bytes(sampling: Sampling) -> int:
    """Bytes of a frame while it is worked on."""
    return sampling.channels * sampling.height * sampling.width * 8


def like(values: Shaped[np.ndarray, "*shape"], dtype: np.dtype[Any]) -> Shaped[np.ndarray, "*shape"]:
    """Values computed from pixels, in the type of the pixels: bytes are rounded."""
    if dtype == np.uint8:
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return values.astype(dtype)


def moved_geometry(
    geometry: Geometry, sampling: Sampling, row: float, column: float, scale: float = 1.0
) -> Geometry:
    """Geometry of a part of the frame whose middle is at (row, column), with pixels `scale` times as large."""
    changes: dict[str, Any] = {}
    per_pixel = geometry.degrees_per_pixel
    if per_pixel is not None:
        changes["degrees_per_pixel"] = per_pixel * scale
        if geometry.centre_deg is not None:
            x, y = geometry.centre_deg
            right, up = column - sampling.width / 2, sampling.height / 2 - row
            changes["centre_deg"] = (x + right * per_pixel, y + up * per_pixel)
    if geometry.um_per_pixel is not None:
        changes["um_per_pixel"] = geometry.um_per_pixel * scale
    return geometry.model_copy(update=changes)


def moved_truth(
    truth: Mapping[str, Sequence[Any]], first_row: float, first_column: float, scale: float = 1.0
) -> dict[str, Sequence[Any]]:
    """Per-unit truth in pixels (`..._px`), counted from (first_row, first_column) in pixels `scale` times as large."""
    starts = {"rf_row_px": first_row, "rf_column_px": first_column}

    def moved(name: str, value: Any) -> Any:
        if not isinstance(value, int | float):
            return value
        if name.endswith("_per_px"):
            return value * scale
        return (value - starts.get(name, 0.0)) / scale

    return {
        name: [moved(name, value) for value in values] if name.endswith("_px") else values
        for name, values in truth.items()
    }


def with_spec(spec: SessionSpec, **changes: Any) -> SessionSpec:
    """The spec with changes, checked anew."""
    return SessionSpec.model_validate({**dict(spec), **changes})


def shifted(trial: Trial, start: int, stop: int) -> Trial:
    """The trial with other bins."""
    return replace(trial, start=start, stop=stop)


def columns_of(recording: SessionRecording, names: Sequence[str], step: str) -> list[int]:
    """The columns of these behavioural signals.

    Raises:
        DataError: the session has no such signal.
    """
    known = recording.spec.behaviour_names
    for name in names:
        if name not in known:
            raise DataError(
                f"session '{recording.spec.id}', step {step}: there is no behavioural signal '{name}'; there are: "
                f"{', '.join(known) or 'none'}"
            )
    return [known.index(name) for name in names]


def stretches_of(recording: SessionRecording) -> list[tuple[int, int]]:
    """All bins as stretches in which time runs on: the trials, and what lies between them. In order of time."""
    edges = {0, recording.n_bins}
    for trial in recording.trials:
        edges |= {trial.start, trial.stop}
    bounds = sorted(edge for edge in edges if 0 <= edge <= recording.n_bins)
    return list(pairwise(bounds))
