"""What a file of arrays holds, and the data YAML that would read it."""

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from visioncore.data.inspection.inspection import Inspection, Listed, Picture
from visioncore.data.sources.array_file import ArrayFile
from visioncore.data.sources.matlab import MatlabFile
from visioncore.data.sources.npy_files import NpyFiles
from visioncore.data.sources.npz import NpzFile
from visioncore.data.sources.open_array_file import kind_of, open_array_file

_PARTS = {
    "video": ("stim", "video", "movie", "frame", "image"),
    "responses": ("robs", "resp", "spike", "count", "dff", "trace", "activity", "fluor"),
    "behaviour": ("eye", "gaze", "pupil", "behav", "run", "speed", "wheel"),
    "gaze": ("eye", "gaze"),
    "valid": ("valid", "dfs", "mask", "ok", "good"),
    "trial": ("trial_ind", "trial_id", "trial_label", "trials", "trial"),
    "trial_start": ("start", "onset"),
    "stimulus_id": ("stimulus_id", "stim_id", "repeat", "image_id"),
    "unit_ids": ("unit_id", "cell_id", "ids", "cluster", "roi_id", "cids", "unit_name", "cell_name"),
    "times": ("t_bins", "time", "t_s", "timestamps"),
}
_LOOKED_AT = 20_000
"""Bins that are read to tell counts from traces."""


def inspect_arrays(path: Path) -> Inspection | None:
    """What is in an NPZ, HDF5 or MATLAB file, a Zarr group or a folder of .npy files; None where no video is in it.

    Raises:
        DataError: it is damaged, or holds pickles.
    """
    kind = kind_of(path)
    if kind is None and not path.is_dir():
        open_array_file(path, path.stem)  # which refuses it
    if kind is None or (kind is NpzFile and not zipfile.is_zipfile(path)):
        return None
    file = open_array_file(path, path.stem)
    if kind is NpyFiles and any(path.glob("params.py")):
        return None
    groups = dict.fromkeys(name.rpartition("/")[0] for name in file.names())
    sets = [one for group in groups if (one := _set_of(file, group)) is not None]
    if not sets:
        return None
    return _inspection(path, file, sets)


@dataclass
class _Set:
    """Arrays of one session: those of a group."""

    group: str
    keys: dict[str, Any]
    axes: dict[str, str] = field(default_factory=dict)
    rate_hz: float | None = None
    counts: bool | None = None
    missing_gaze: bool = False
    notes: list[str] = field(default_factory=list)


def _set_of(file: ArrayFile, group: str) -> _Set | None:
    """What the arrays of a group are taken for, by their names and shapes; None where there is no video."""
    own = [name for name in file.names() if name.rpartition("/")[0] == group]
    shapes = {name: file.header(name).shape for name in own if file.header(name).dtype.kind in "buif"}
    films = [name for name, shape in shapes.items() if len(shape) in (3, 4) and 0 not in shape]
    video = _called(films, "video") or next(iter(films), None)
    if video is None:
        return None
    tables = [name for name, shape in shapes.items() if len(shape) == 2 and name != video]
    responses, n_bins = _responses(shapes, tables, video)
    found = _Set(group, {"video": video})
    if n_bins is None:
        return found
    found.axes |= _axes("video", shapes[video], n_bins)
    if responses is not None:
        found.keys["responses"] = responses
        found.axes |= _axes("responses", shapes[responses], n_bins)
        found.counts = _are_counts(file, responses, found.axes.get("responses", "tn"))
    per_bin = [n for n in own if n in shapes and n_bins in shapes[n] and n not in (video, responses)]
    if (gaze := _called([n for n in per_bin if n in tables], "behaviour")) is not None:
        found.keys["behaviour"] = gaze
        found.axes |= _axes("behaviour", shapes[gaze], n_bins)
        if sorted(shapes[gaze]) == sorted((n_bins, 2)) and _called([gaze], "gaze") is not None:
            found.keys["behaviour_names"] = ["x", "y"]
        found.missing_gaze = file.header(gaze).dtype.kind == "f" and bool(np.isnan(file.read(gaze)).any())
    masks = [n for n in per_bin if n != gaze and _called([n], "valid")]
    if masks:
        found.keys["valid"] = masks[0] if len(masks) == 1 else masks
    lists = [n for n in per_bin if _length(shapes[n]) == n_bins and n not in masks]
    if (times := _called(lists, "times")) is not None:
        found.rate_hz = _rate_of(file.read(times).reshape(-1))
    if (trial := _called([n for n in lists if n != times], "trial")) is not None:
        found.keys["trial"] = trial
    _add_lists(file, found, own, shapes, responses)
    return found


def _add_lists(
    file: ArrayFile,
    found: _Set,
    own: Sequence[str],
    shapes: dict[str, tuple[int, ...]],
    responses: str | None,
) -> None:
    """Lists that are not one per bin: starts of trials and ids."""
    taken = [value for value in found.keys.values() if isinstance(value, str)]
    lists = [n for n in own if n not in taken and len(file.header(n).shape) in (1, 2)]
    if responses is not None:
        n_units = set(shapes[responses])
        ids = [n for n in lists if _length(file.header(n).shape) in n_units]
        texts = [
            n for n in ids if file.header(n).dtype.kind == "U" and n.rpartition("/")[2].lower() == "names"
        ]
        if (unit_ids := _called(ids, "unit_ids") or next(iter(texts), None)) is not None:
            found.keys["unit_ids"] = unit_ids
    starts = [n for n in lists if n in shapes and _length(shapes[n]) is not None]
    if "trial" not in found.keys and (start := _called(starts, "trial_start")) is not None:
        found.keys["trial_start"] = start
        ids = [n for n in lists if _length(file.header(n).shape) == _length(shapes[start]) and n != start]
        if (stimulus := _called(ids, "stimulus_id")) is not None:
            found.keys["stimulus_id"] = stimulus


def _responses(
    shapes: dict[str, tuple[int, ...]], tables: Sequence[str], video: str
) -> tuple[str | None, int | None]:
    """The responses, and how many bins they share with the video."""
    named = _called(tables, "responses")
    for name in [named] if named is not None else tables:
        for n_bins in sorted(shapes[video], reverse=True):
            if n_bins in shapes[name]:
                return name, n_bins
    return None, None


def _axes(signal: str, shape: tuple[int, ...], n_bins: int) -> dict[str, str]:
    """The order of axes, where time is not the first."""
    if shape[0] == n_bins or n_bins not in shape:
        return {}
    others = {"video": "yx" if len(shape) == 3 else "cyx", "responses": "n", "behaviour": "k"}[signal]
    at = shape.index(n_bins)
    return {signal: others[:at] + "t" + others[at:]}


def _called(names: Sequence[str], part: str) -> str | None:
    """The first of these arrays whose name says that it is this part."""
    for word in _PARTS[part]:
        for name in names:
            if word in name.rpartition("/")[2].lower():
                return name
    return None


def _length(shape: tuple[int, ...]) -> int | None:
    """Of a list, which may be a row or a column."""
    longer = [n for n in shape if n != 1]
    return longer[0] if len(longer) == 1 else None


def _rate_of(times: Shaped[np.ndarray, " time"]) -> float | None:
    steps = np.diff(times.astype(np.float64))
    if not len(steps) or not np.isfinite(steps).all() or (steps <= 0).any():
        return None
    return float(f"{1 / np.median(steps):.6g}")


def _are_counts(file: ArrayFile, key: str, axes: str) -> bool:
    stream = file.stream(key, (axes.index("t"), axes.index("n")))
    rows = stream.read(0, min(stream.header.shape[0], _LOOKED_AT))
    stream.close()
    known = rows[np.isfinite(rows)] if rows.dtype.kind == "f" else rows
    return bool((known >= 0).all() and (known == np.floor(known)).all())


def _inspection(path: Path, file: ArrayFile, sets: Sequence[_Set]) -> Inspection:
    comments: dict[str, str] = {}
    notes: list[str] = []
    sessions = []
    for number, one in enumerate(sets):
        here = f"params.sessions.{number}"
        named = one.group.rpartition("/")[2]
        session: dict[str, Any] = {
            "id": f"{path.stem}-{named}" if named and len(sets) > 1 else path.stem,
            "subject": None,
            "path": path.name,
            **one.keys,
        }
        comments[f"{here}.subject"] = "which animal"
        if "responses" not in one.keys:
            session["responses"] = None
            comments[f"{here}.responses"] = (
                "the array of responses, with as many bins as the video has frames"
            )
        if one.axes:
            session["axes"] = one.axes
            comments[f"{here}.axes"] = "t time, y rows, x columns, n units, k signals, c channels"
        if "behaviour_names" in one.keys:
            comments[f"{here}.behaviour_names"] = "are these gaze, to the right and upwards?"
        if isinstance(one.keys.get("valid"), list):
            comments[f"{here}.valid"] = "a bin counts where all of these are true; leave out what is no mask"
        if one.missing_gaze:
            comments[f"{here}.behaviour"] = "is NaN in places: such bins count for no unit"
        sessions.append(session)
    rates = {one.rate_hz for one in sets if one.rate_hz is not None}
    rate_hz = rates.pop() if len(rates) == 1 else None
    comments["params.sampling_rate_hz"] = (
        "video frames, which are bins, per second" if rate_hz is None else "from the times of bins"
    )
    counts = next((one.counts for one in sets if one.counts is not None), None)
    kind = None if counts is None else "counts" if counts else "trace"
    comments["params.response_kind"] = (
        "counts or trace"
        if kind is None
        else "responses are whole numbers"
        if counts
        else "responses are no whole numbers"
    )
    used = {
        key
        for one in sets
        for value in one.keys.values()
        for key in ([value] if isinstance(value, str) else value)
    }
    if unused := [name for name in file.names() if name not in used]:
        notes.append(f"not used: {', '.join(unused)}")
    if file.counts_from == 1:
        notes.append("MATLAB: shapes are as size() gives them; trial starts are counted from 1")
    return Inspection(
        format="arrays",
        where=path,
        listed=tuple(_listed(file, name, sets) for name in file.names()),
        proposal={
            "type": "arrays",
            "params": {"sampling_rate_hz": rate_hz, "response_kind": kind, "sessions": sessions},
        },
        comments=comments,
        notes=tuple(notes),
        pictures=_pictures(file, sets[0]),
    )


def _listed(file: ArrayFile, name: str, sets: Sequence[_Set]) -> Listed:
    header = file.header(name)
    taken = [
        part
        for one in sets
        for part, key in one.keys.items()
        if key == name or (part == "valid" and name in key)
    ]
    return Listed(name, header.shape, str(header.dtype), ", ".join(taken))


def _pictures(file: ArrayFile, one: _Set) -> tuple[Picture, ...]:
    """A frame from the middle; of files that may have been written with axes turned, both ways."""
    key = one.keys["video"]
    letters = one.axes.get("video", "tyx" if len(file.header(key).shape) == 3 else "tcyx")
    order = tuple(letters.index(axis) for axis in sorted(letters, key="tcyx".index))
    frame = _middle(file.stream(key, order).read, file.header(key).shape[letters.index("t")])
    grey = frame.mean(axis=0) if frame.ndim == 3 else frame
    pictures = [Picture(f"{key}, a frame", grey)]
    if isinstance(file, MatlabFile):
        pictures.append(Picture(f"{key}, the same with rows and columns swapped", grey.T))
    return tuple(pictures)


def _middle(read: Callable[[int, int], Shaped[np.ndarray, "..."]], n: int) -> Shaped[np.ndarray, "..."]:
    return read(n // 2, n // 2 + 1)[0]
