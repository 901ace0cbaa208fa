"""One session of aligned arrays, read from its file: signals, trials and labels, each checked against the others."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32, Shaped
from pydantic import Field

from visioncore.config import Config
from visioncore.data.recording import Split, Trial
from visioncore.data.sources.checks import checked_behaviour, checked_frames, checked_rates, checked_responses
from visioncore.data.sources.missing import is_missing, without_codes
from visioncore.data.sources.npz import NpzFile, NpzStream
from visioncore.errors import DataError

_FRAMES_AT_ONCE = 256


class ArraysSessionConfig(Config):
    """One session: its file, and the names of its arrays inside the file."""

    id: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    path: str = Field(min_length=1)
    video: str
    responses: str
    unit_ids: str | None = None
    behaviour: str | None = None
    behaviour_names: tuple[str, ...] | None = None
    valid: str | None = None
    trial_start: str | None = None
    trial: str | None = None
    split: str | None = None
    stimulus_id: str | None = None
    group: str | None = None
    """A label per trial: trials that share it, as those of one photograph, never straddle two splits."""
    rates: str | None = None
    missing: tuple[float, ...] | None = None
    """Values that stand for missing samples, in every array of numbers but a uint8 video. Bins with a missing frame or
    behaviour are valid for no unit, those with a missing response not for that unit. `[]`: there are none."""


@dataclass
class ArraysSession:
    """A `SessionRecording` whose video is streamed from its file."""

    id: str
    subject: str
    unit_ids: tuple[str, ...]
    trials: tuple[Trial, ...]
    n_bins: int
    responses: Shaped[np.ndarray, "time units"]
    behaviour: Float32[np.ndarray, "time behaviours"] | None
    valid: Bool[np.ndarray, "time units"] | Bool[np.ndarray, "time 1"]
    rates: Float32[np.ndarray, "time units"] | None
    stream: NpzStream
    video_key: str
    missing: tuple[float, ...] | None
    unit_truth: dict[str, list[Any]] = field(default_factory=dict)

    def video(self, start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        """Frames [start, stop), checked; where no unit is valid they may hold NaN."""
        frames = self.stream.read(start, stop)
        if frames.ndim == 3:
            frames = frames[:, None]
        if self.missing and frames.dtype != np.uint8:
            frames = without_codes(frames, self.missing)
        where = f"session '{self.id}', key '{self.video_key}'"
        return checked_frames(frames, np.asarray(self.valid[start:stop].any(axis=1)), start, where)


def read_session(
    session: ArraysSessionConfig, file: NpzFile, kind: Literal["counts", "trace"]
) -> ArraysSession:
    def where(key: str) -> str:
        return f"{file.where}, key '{key}'"

    video_shape(file, session.video)
    responses = file.read(session.responses)
    if responses.ndim != 2 or 0 in responses.shape:
        raise DataError(
            f"{where(session.responses)}: responses have shape {responses.shape}; "
            "expected (time, units) with at least one bin and one unit"
        )
    n_bins, n_units = responses.shape
    stream = file.stream(session.video)
    if stream.header.shape[0] != n_bins:
        raise DataError(
            f"{where(session.video)}: {stream.header.shape[0]} video frames but {n_bins} bins of responses "
            f"('{session.responses}'); time is the first axis of both, one frame per bin"
        )
    valid = _read_valid(file, session.valid, n_bins, n_units)
    codes = session.missing or ()
    if codes:
        seen = ~_missing_frames(stream, codes)
        if session.behaviour is not None:
            seen &= ~is_missing(file.read(session.behaviour), codes).any(axis=-1)
        valid = valid & seen[:, None] & ~is_missing(responses, codes)
    behaviour = None
    if session.behaviour is not None:
        names = behaviour_names_of(session, file)
        raw = _aligned(file, session.behaviour, (n_bins, len(names)), "(time, signals)")
        behaviour = checked_behaviour(without_codes(raw, codes), valid, where(session.behaviour))
    rates = None
    if session.rates is not None:
        raw = _aligned(file, session.rates, (n_bins, n_units), "(time, units)")
        rates = checked_rates(raw, valid, where(session.rates))
    return ArraysSession(
        id=session.id,
        subject=session.subject,
        unit_ids=_read_unit_ids(file, session.unit_ids, n_units),
        trials=_read_trials(file, session, n_bins),
        n_bins=n_bins,
        responses=checked_responses(responses, valid, kind, where(session.responses)),
        behaviour=behaviour,
        valid=valid,
        rates=rates,
        stream=stream,
        video_key=session.video,
        missing=session.missing,
    )


def _missing_frames(stream: NpzStream, codes: tuple[float, ...]) -> Bool[np.ndarray, " time"]:
    """Frames of a float video that hold a code in any pixel; reads the whole video."""
    n_bins = stream.header.shape[0]
    missing = np.zeros(n_bins, bool)
    if stream.header.dtype == np.uint8:
        return missing
    for start in range(0, n_bins, _FRAMES_AT_ONCE):
        frames = stream.read(start, min(start + _FRAMES_AT_ONCE, n_bins))
        missing[start : start + len(frames)] = is_missing(frames, codes).reshape(len(frames), -1).any(axis=1)
    return missing


def video_shape(file: NpzFile, key: str) -> tuple[int, int, int, int]:
    header = file.header(key)
    where = f"{file.where}, key '{key}'"
    if header.dtype != np.uint8 and header.dtype.kind != "f":
        raise DataError(f"{where}: video is {header.dtype}; expected uint8 (0 to 255) or float")
    shape = header.shape
    if len(shape) == 4 and shape[-1] in (1, 3, 4) and shape[1] > 4:
        raise DataError(
            f"{where}: video has shape {shape}, channels last; expected (time, channels, height, width)"
        )
    if len(shape) not in (3, 4) or 0 in shape:
        raise DataError(
            f"{where}: video has shape {shape}; expected (time, height, width) or "
            "(time, channels, height, width), none of them empty"
        )
    return (shape[0], 1, shape[1], shape[2]) if len(shape) == 3 else (shape[0], shape[1], shape[2], shape[3])


def behaviour_names_of(session: ArraysSessionConfig, file: NpzFile) -> tuple[str, ...]:
    if session.behaviour is None:
        if session.behaviour_names:
            raise DataError(
                f"{file.where}: has behaviour_names but no behaviour; name the array that holds it"
            )
        return ()
    shape = file.header(session.behaviour).shape
    where = f"{file.where}, key '{session.behaviour}'"
    if len(shape) != 2 or shape[1] == 0:
        raise DataError(
            f"{where}: behaviour has shape {shape}; expected (time, signals), also for a single signal"
        )
    names = session.behaviour_names or tuple(f"behaviour_{k}" for k in range(shape[1]))
    if len(names) != shape[1]:
        raise DataError(
            f"{where}: has {shape[1]} signals but behaviour_names lists {len(names)}: {', '.join(names)}"
        )
    if len(set(names)) != len(names):
        raise DataError(f"{where}: behaviour_names names a signal twice: {', '.join(names)}")
    return names


def _aligned(file: NpzFile, key: str, shape: tuple[int, ...], axes: str) -> Shaped[np.ndarray, "..."]:
    array = file.read(key)
    if array.shape != shape:
        raise DataError(
            f"{file.where}, key '{key}': has shape {array.shape}; the responses ask for {shape}, {axes}"
        )
    return array


def _read_valid(
    file: NpzFile, key: str | None, n_bins: int, n_units: int
) -> Bool[np.ndarray, "time valid_units"]:
    if key is None:
        return np.ones((n_bins, 1), dtype=bool)
    valid = file.read(key)
    where = f"{file.where}, key '{key}'"
    if valid.dtype != np.bool_ and not (valid.dtype.kind in "iu" and np.isin(valid, (0, 1)).all()):
        raise DataError(f"{where}: valid is {valid.dtype}; expected bool, True where the bin counts")
    if valid.shape not in ((n_bins,), (n_bins, 1), (n_bins, n_units)):
        raise DataError(
            f"{where}: valid has shape {valid.shape}; expected ({n_bins},) or ({n_bins}, {n_units})"
        )
    if not valid.any():
        raise DataError(
            f"{where}: no bin is valid, the session is empty; leave the session out or mend the mask"
        )
    return valid.astype(bool).reshape(n_bins, -1)


def _read_unit_ids(file: NpzFile, key: str | None, n_units: int) -> tuple[str, ...]:
    if key is None:
        return tuple(str(unit) for unit in range(n_units))
    ids = _labels(file, key)
    where = f"{file.where}, key '{key}'"
    if len(ids) != n_units:
        raise DataError(f"{where}: {len(ids)} unit ids for {n_units} units (columns of the responses)")
    found = [i for i in ids if i is not None]
    if len(found) < n_units:
        raise DataError(
            f"{where}: {n_units - len(found)} unit ids are empty, negative or NaN; give every unit its own"
        )
    for twice in sorted({i for i in found if found.count(i) > 1}):
        raise DataError(
            f"{where}: unit id '{twice}' appears {found.count(twice)} times; give every unit its own"
        )
    return tuple(found)


def _labels(file: NpzFile, key: str) -> list[str | None]:
    """A one-dimensional array of integers or strings as strings; negative, NaN and '' stand for no label."""
    array = file.read(key)
    where = f"{file.where}, key '{key}'"
    if array.ndim != 1:
        raise DataError(f"{where}: has shape {array.shape}; expected one dimension")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind == "U":
        return [str(label) or None for label in array]
    if array.dtype.kind not in "iuf":
        raise DataError(f"{where}: is {array.dtype}; expected whole numbers or strings")
    known = np.isfinite(array)
    if (array[known] != np.floor(array[known])).any():
        raise DataError(f"{where}: holds numbers that are not whole; labels are whole numbers or strings")
    return [
        str(int(label)) if good and label >= 0 else None for label, good in zip(array, known, strict=True)
    ]


def _read_trials(file: NpzFile, session: ArraysSessionConfig, n_bins: int) -> tuple[Trial, ...]:
    spans = _read_spans(file, session, n_bins)
    splits = _per_trial(file, session.split, len(spans), "split")
    stimulus_ids = _per_trial(file, session.stimulus_id, len(spans), "stimulus_id")
    groups = _per_trial(file, session.group, len(spans), "group")
    allowed = get_args(Split)
    for trial, split in enumerate(splits):
        if session.split is not None and split not in allowed:
            raise DataError(
                f"{file.where}, key '{session.split}': trial {trial} has split {split!r}; "
                f"expected {' | '.join(allowed)}"
            )
    return tuple(
        Trial(start, stop, split=split, stimulus_id=stimulus_id, group=group)  # type: ignore[arg-type]
        for (start, stop), split, stimulus_id, group in zip(spans, splits, stimulus_ids, groups, strict=True)
    )


def _per_trial(file: NpzFile, key: str | None, n_trials: int, name: str) -> list[str | None]:
    if key is None:
        return [None] * n_trials
    labels = _labels(file, key)
    if len(labels) != n_trials:
        raise DataError(
            f"{file.where}, key '{key}': {len(labels)} entries for {n_trials} trials; "
            f"{name} has one per trial, and trials come from trial_start or trial"
        )
    return labels


def _read_spans(file: NpzFile, session: ArraysSessionConfig, n_bins: int) -> list[tuple[int, int]]:
    if session.trial_start is not None and session.trial is not None:
        raise DataError(f"{file.where}: gives both trial_start and trial; give one of them")
    if session.trial_start is not None:
        return _spans_from_starts(file, session.trial_start, n_bins)
    if session.trial is not None:
        return _spans_from_labels(file, session.trial, n_bins)
    return [(0, n_bins)]


def _spans_from_starts(file: NpzFile, key: str, n_bins: int) -> list[tuple[int, int]]:
    starts = file.read(key)
    where = f"{file.where}, key '{key}'"
    if starts.ndim != 1 or len(starts) == 0 or starts.dtype.kind not in "iu":
        raise DataError(
            f"{where}: expected a list of whole numbers, the first bin of each trial; "
            f"found {starts.dtype} of shape {starts.shape}"
        )
    outside = (starts < 0) | (starts >= n_bins)
    if outside.any():
        first = starts[outside][0]
        asked = "; are bins counted from 1? Subtract 1. Is it the end of the last trial? Leave it out"
        raise DataError(
            f"{where}: trial start {first} is outside the session's bins 0 to {n_bins - 1}"
            f"{asked if first == n_bins else ''}"
        )
    if starts[0] == 1:
        raise DataError(
            f"{where}: the first trial starts at bin 1, as if bins were counted from 1, and every trial would be one "
            "bin late; subtract 1 (if bin 0 does lie outside of all trials, give a label per bin instead: `trial`)"
        )
    edges = [int(start) for start in starts]
    for trial, (start, following) in enumerate(pairwise(edges)):
        if following <= start:
            raise DataError(
                f"{where}: trial {trial} starts at bin {start} and the next one at {following}; "
                "trial starts must increase"
            )
    return list(zip(edges, [*edges[1:], n_bins], strict=True))


def _spans_from_labels(file: NpzFile, key: str, n_bins: int) -> list[tuple[int, int]]:
    """Runs of equal labels; bins without a label (negative, NaN, '') lie between trials.

    A label that comes back is refused: more often a sorting mistake than a repeat, which `stimulus_id` names.
    """
    labels = _labels(file, key)
    where = f"{file.where}, key '{key}'"
    if len(labels) != n_bins:
        raise DataError(f"{where}: {len(labels)} labels for {n_bins} bins; trial is a label per bin")
    spans: dict[str, tuple[int, int]] = {}
    start = 0
    for bin_index in range(1, n_bins + 1):
        if bin_index < n_bins and labels[bin_index] == labels[start]:
            continue
        label = labels[start]
        if label is not None:
            if label in spans:
                raise DataError(
                    f"{where}: trial '{label}' ended at bin {spans[label][1]} and comes back at bin {start}; "
                    "give every trial a label of its own (repeats are named by stimulus_id)"
                )
            spans[label] = (start, bin_index)
        start = bin_index
    if not spans:
        raise DataError(f"{where}: no bin belongs to a trial, the session is empty")
    return list(spans.values())
