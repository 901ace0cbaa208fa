"""A session of the `arrays` format: aligned arrays, streamed from their file, and its trials, units and masks."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, get_args

import numpy as np
from jaxtyping import Bool, Shaped
from pydantic import Field

from visioncore.config import Config
from visioncore.data.sources.array_file import ArrayFile, ArrayStream
from visioncore.data.sources.missing import is_missing, without_codes
from visioncore.errors import DataError
from visioncore.recording import Signal, Split, Trial
from visioncore.spec import Columns, Geometry, ResponseKind, SessionSpec

_FRAMES_AT_ONCE = 256


class ArraysSessionConfig(Config):
    """One session: its file, and the names of its arrays inside the file."""

    id: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    path: str = Field(min_length=1)
    video: str
    responses: str | None = None
    """None for a recording of the stimulus alone."""
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
    units: dict[str, str] = Field(default_factory=dict)
    """What was measured of each unit: a column's name, and the array that holds it."""
    trial_columns: dict[str, str] = Field(default_factory=dict)
    """What is known of each trial (orientation, contrast, size …), likewise."""
    geometry: Geometry = Geometry()
    missing: tuple[float, ...] | None = None
    """Values that stand for missing samples, in every array of numbers but a uint8 video. Bins with a missing frame or
    behaviour are valid for no unit, those with a missing response not for that unit. `[]`: there are none."""


class ArraysSession:
    """A `SessionRecording` over one file.

    Raises:
        DataError: an array has another shape than the others ask for, or trials or units make no sense.
    """

    def __init__(
        self, config: ArraysSessionConfig, file: ArrayFile, kind: ResponseKind, geometry: Geometry
    ) -> None:
        self._config, self._file = config, file
        keys: dict[Signal, str | None] = {
            "video": config.video,
            "responses": config.responses,
            "behaviour": config.behaviour,
            "rates": config.rates,
        }
        self._keys = {signal: key for signal, key in keys.items() if key is not None}
        n_bins, *_ = video_shape(file, config.video)
        n_units = self._require_responses(n_bins)
        self.n_bins = n_bins
        self._n_units = n_units
        names = behaviour_names_of(config, file)
        if config.behaviour is not None:
            self._require_shape(config.behaviour, (n_bins, len(names)), "(time, signals)")
        if config.rates is not None:
            self._require_shape(config.rates, (n_bins, n_units), "(time, units)")
        self._require_mask()
        unit_ids = _read_unit_ids(file, config.unit_ids, n_units)
        self.spec = SessionSpec(
            id=config.id,
            subject=config.subject,
            unit_ids=unit_ids,
            units=_read_columns(file, config.units, n_units, "units"),
            response_kind=kind,
            behaviour_names=names,
            geometry=geometry,
        )
        self.trials = _read_trials(file, config, n_bins)
        self.trial_columns = _read_columns(file, config.trial_columns, len(self.trials), "trials")
        self.unit_truth: Mapping[str, Sequence[Any]] = {}
        self.missing = config.missing
        self._streams: dict[str, ArrayStream] = {}
        self._seen = self._with_known_stimulus()

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Which signals there are."""
        return ("video", "valid", *(signal for signal in self._keys if signal != "video"))

    @property
    def alignment(self) -> None:
        """Bins are the format's own."""

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal; missing samples of video and behaviour are NaN."""
        if signal == "valid":
            return self._valid(start, stop)
        rows = self._stream(self._keys[signal]).read(start, stop)
        codes = self._config.missing or ()
        if signal == "video":
            frames = rows[:, None] if rows.ndim == 3 else rows
            return frames if frames.dtype == np.uint8 else without_codes(frames, codes)
        return without_codes(rows, codes) if signal == "behaviour" else rows

    def where(self, signal: Signal) -> str:
        """The session, the file, and the array's key in it."""
        key = self._config.valid if signal == "valid" else self._keys.get(signal)
        return (
            f"{self._file.where}, {signal}" if key is None else f"{self._file.where}, key '{key}', {signal}"
        )

    def close(self) -> None:
        """Let go of the file; reading opens it again."""
        for stream in self._streams.values():
            stream.close()

    def _stream(self, key: str) -> ArrayStream:
        if key not in self._streams:
            self._streams[key] = self._file.stream(key)
        return self._streams[key]

    def _valid(self, start: int, stop: int) -> Bool[np.ndarray, "time valid_units"]:
        valid = self._seen[start:stop, None]
        if (key := self._config.valid) is not None:
            mask = self._stream(key).read(start, stop).reshape(stop - start, -1)
            if mask.dtype != np.bool_ and not np.isin(mask, (0, 1)).all():
                raise DataError(f"{self.where('valid')}: {_mask_of(mask.dtype)}")
            valid = valid & mask.astype(bool)
        if self._config.missing and self._config.responses is not None:
            valid = valid & ~is_missing(self.read("responses", start, stop), self._config.missing)
        return valid

    def _with_known_stimulus(self) -> Bool[np.ndarray, " time"]:
        """Bins in which no frame and no behaviour is a code for missing; reads both where there are codes."""
        seen = np.ones(self.n_bins, bool)
        codes = self._config.missing
        if not codes:
            return seen
        for key in filter(None, (self._config.video, self._config.behaviour)):
            if self._file.header(key).dtype == np.uint8:
                continue
            for start in range(0, self.n_bins, _FRAMES_AT_ONCE):
                stop = min(start + _FRAMES_AT_ONCE, self.n_bins)
                rows = self._stream(key).read(start, stop).reshape(stop - start, -1)
                seen[start:stop] &= ~is_missing(rows, codes).any(axis=1)
        return seen

    def _require_responses(self, n_bins: int) -> int:
        """How many units there are."""
        key = self._config.responses
        if key is None:
            for name in ("unit_ids", "rates", "units"):
                if getattr(self._config, name):
                    raise DataError(
                        f"{self._file.where}: has {name} but no responses; name the array that holds them"
                    )
            return 0
        shape, where = self._file.header(key).shape, f"{self._file.where}, key '{key}'"
        if len(shape) != 2 or 0 in shape:
            raise DataError(
                f"{where}: responses have shape {shape}; expected (time, units) with at least one bin and one unit"
            )
        if shape[0] != n_bins:
            raise DataError(
                f"{self._file.where}, key '{self._config.video}': {n_bins} video frames but {shape[0]} bins of "
                f"responses ('{key}'); time is the first axis of both, one frame per bin"
            )
        return shape[1]

    def _require_mask(self) -> None:
        if (key := self._config.valid) is None:
            return
        header, where = self._file.header(key), f"{self._file.where}, key '{key}'"
        if header.dtype != np.bool_ and header.dtype.kind not in "iu":
            raise DataError(f"{where}: {_mask_of(header.dtype)}")
        if header.shape not in ((self.n_bins,), (self.n_bins, 1), (self.n_bins, self._n_units)):
            raise DataError(
                f"{where}: valid has shape {header.shape}; expected ({self.n_bins},) or "
                f"({self.n_bins}, {self._n_units})"
            )

    def _require_shape(self, key: str, shape: tuple[int, ...], axes: str) -> None:
        found = self._file.header(key).shape
        if found != shape:
            raise DataError(
                f"{self._file.where}, key '{key}': has shape {found}; the responses ask for {shape}, {axes}"
            )


def _mask_of(dtype: np.dtype) -> str:
    return f"valid is {dtype}; expected bool, True where the bin counts"


def _read_columns(file: ArrayFile, keys: dict[str, str], n_rows: int, what: str) -> Columns:
    """A table of numbers and strings; NaN is None."""
    table: Columns = {}
    for name, key in keys.items():
        values = file.read(key)
        where = f"{file.where}, key '{key}'"
        if values.shape != (n_rows,):
            raise DataError(
                f"{where}: has shape {values.shape}; expected one value for each of {n_rows} {what}"
            )
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8", "replace")
        if values.dtype.kind not in "iufbU":
            raise DataError(f"{where}: is {values.dtype}; expected numbers or strings")
        plain = values.tolist()
        table[name] = tuple(None if isinstance(v, float) and not np.isfinite(v) else v for v in plain)
    return table


def video_shape(file: ArrayFile, key: str) -> tuple[int, int, int, int]:
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


def behaviour_names_of(session: ArraysSessionConfig, file: ArrayFile) -> tuple[str, ...]:
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


def _read_unit_ids(file: ArrayFile, key: str | None, n_units: int) -> tuple[str, ...]:
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


def _labels(file: ArrayFile, key: str) -> list[str | None]:
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


def _read_trials(file: ArrayFile, session: ArraysSessionConfig, n_bins: int) -> tuple[Trial, ...]:
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


def _per_trial(file: ArrayFile, key: str | None, n_trials: int, name: str) -> list[str | None]:
    if key is None:
        return [None] * n_trials
    labels = _labels(file, key)
    if len(labels) != n_trials:
        raise DataError(
            f"{file.where}, key '{key}': {len(labels)} entries for {n_trials} trials; "
            f"{name} has one per trial, and trials come from trial_start or trial"
        )
    return labels


def _read_spans(file: ArrayFile, session: ArraysSessionConfig, n_bins: int) -> list[tuple[int, int]]:
    if session.trial_start is not None and session.trial is not None:
        raise DataError(f"{file.where}: gives both trial_start and trial; give one of them")
    if session.trial_start is not None:
        return _spans_from_starts(file, session.trial_start, n_bins)
    if session.trial is not None:
        return _spans_from_labels(file, session.trial, n_bins)
    return [(0, n_bins)]


def _spans_from_starts(file: ArrayFile, key: str, n_bins: int) -> list[tuple[int, int]]:
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


def _spans_from_labels(file: ArrayFile, key: str, n_bins: int) -> list[tuple[int, int]]:
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
