"""What the `arrays` format reads whole: ids of units, tables, and the trials, with their labels."""

from itertools import pairwise
from typing import get_args

import numpy as np

from visioncore.data.sources.array_file import ArrayFile
from visioncore.data.sources.arrays_config import ArraysSessionConfig
from visioncore.errors import DataError
from visioncore.recording import Split, Trial
from visioncore.spec import Columns


def read_columns(file: ArrayFile, keys: dict[str, str], n_rows: int, what: str) -> Columns:
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


def read_unit_ids(file: ArrayFile, key: str | None, n_units: int) -> tuple[str, ...]:
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


def read_trials(file: ArrayFile, session: ArraysSessionConfig, n_bins: int) -> tuple[Trial, ...]:
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
    whole = starts.dtype.kind in "iu" or (starts.dtype.kind == "f" and (starts == np.floor(starts)).all())
    if starts.ndim != 1 or len(starts) == 0 or not whole:
        raise DataError(
            f"{where}: expected a list of whole numbers, the first bin of each trial; "
            f"found {starts.dtype} of shape {starts.shape}"
        )
    starts = starts.astype(np.int64)
    if starts.min() > 0:
        # A start of 0 says that somebody has subtracted 1 already.
        starts = starts - file.counts_from
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
