"""Trials from a table: when each was shown, what it was, and what else is known of it."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from jaxtyping import Float64, Int64

from visioncore.data.align import Intervals, Shown
from visioncore.data.sources.loose_files import plain, read_table
from visioncore.errors import DataError
from visioncore.recording import Split

_OURS = ("start_s", "stop_s", "stimulus_id", "kind", "split", "group")

_logger = logging.getLogger(__name__)
_Times = Float64[np.ndarray, " times"]


def trials_of_table(
    path: Path, frames_s: Float64[np.ndarray, " frames"], on_screen: Callable[[_Times], _Times], where: str
) -> tuple[tuple[Shown, ...], dict[str, tuple[Any, ...]]]:
    """Trials in the order of time, and the columns of the table that are not ours, for these.

    Args:
        frames_s: when frames begin.
        on_screen: from times of the table to those of frames.

    Raises:
        DataError: the table cannot be read, lacks a column, or no trial has a frame.
    """
    place = f"{where} ({path.name})"
    table = read_table(path, where)
    for name in ("start_s", "stop_s"):
        if name not in table:
            raise DataError(f"{place}: has no column {name}; it has {', '.join(table)}")
    if not table["start_s"]:
        raise DataError(f"{place}: has a header and no row; give a row for each trial")
    start_s, stop_s = (on_screen(_seconds(table[name], f"{place}, {name}")) for name in ("start_s", "stop_s"))
    Intervals(start_s, stop_s, place)
    # A trial's times are those of flips, up to rounding: half a frame decides.
    half = float(np.median(np.diff(frames_s))) / 2 if len(frames_s) > 1 else 0.0
    first = np.searchsorted(frames_s, start_s - half)
    last = np.searchsorted(frames_s, stop_s - half)
    order = [int(row) for row in np.argsort(start_s, kind="stable") if last[row] > first[row]]
    if not order:
        raise DataError(
            f"{place}: no trial has a frame: trials last from {start_s.min():.3f} to {stop_s.max():.3f} s, frames come "
            f"from {frames_s[0]:.3f} to {frames_s[-1]:.3f} s; are both of one clock?"
        )
    _say_what_is_left_out(len(start_s) - len(order), first, last, len(frames_s), place)
    splits = table.get("split", [""] * len(start_s))
    for row, split in enumerate(splits):
        if split and split not in get_args(Split):
            raise DataError(
                f"{place}, split: row {row} has '{split}'; expected {' | '.join(get_args(Split))}, or nothing"
            )
    shown = tuple(
        Shown(
            int(first[row]),
            int(last[row]),
            split=cast(Split | None, splits[row] or None),
            stimulus_id=_label(table, "stimulus_id", row),
            group=_label(table, "group", row),
            kind=_label(table, "kind", row) or "video",
        )
        for row in order
    )
    others = {name: plain(values) for name, values in table.items() if name not in _OURS}
    return shown, {name: tuple(values[row] for row in order) for name, values in others.items()}


def _say_what_is_left_out(
    empty: int,
    first: Int64[np.ndarray, " trials"],
    last: Int64[np.ndarray, " trials"],
    n_frames: int,
    place: str,
) -> None:
    if empty:
        _logger.warning("%s: %d trials have no frame and are left out", place, empty)
    outside = n_frames - int(np.maximum(last - first, 0).sum())
    if outside > 0:
        _logger.warning("%s: %d of %d frames are in no trial and are left out", place, outside, n_frames)


def _label(table: dict[str, list[str]], name: str, row: int) -> str | None:
    return table[name][row] or None if name in table else None


def _seconds(entries: list[str], place: str) -> Float64[np.ndarray, " rows"]:
    try:
        return np.array([float(entry) for entry in entries], np.float64)
    except ValueError:
        raise DataError(f"{place}: holds entries that are not numbers; expected seconds") from None
