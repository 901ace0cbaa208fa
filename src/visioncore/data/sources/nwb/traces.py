"""Traces of regions of interest: one series for each plane, on the plane's own clock."""

from dataclasses import dataclass, field
from typing import Any, Literal

import h5py
import numpy as np
from jaxtyping import Float64

from visioncore.data.align import Signal
from visioncore.data.sources.nwb.file import NwbFile, text
from visioncore.data.sources.nwb.settings import NwbUnitFilter
from visioncore.data.sources.nwb.units import table_columns, unit_ids, units_taken
from visioncore.errors import DataError
from visioncore.spec import Columns

_SLAB_BYTES = 2**27


@dataclass(frozen=True)
class LazyRows:
    """Samples (time, columns) of a dataset, read by slices of time, in the unit of the file after conversion."""

    dataset: h5py.Dataset
    columns: tuple[int, ...] | None
    """Which; None: all."""
    turned: bool
    """Whether it lies (columns, time) in the file."""
    where: str
    factor: float = 1.0
    offset: float = 0.0
    _slab: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    """The last stretch of whole chunks, by its number: a chunk that spans a long time is unpacked once."""

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and columns."""
        if self.dataset.ndim == 1:
            return (self.dataset.shape[0], 1)
        n, columns = self.dataset.shape[::-1] if self.turned else self.dataset.shape
        return (n, columns if self.columns is None else len(self.columns))

    def __getitem__(self, rows: slice) -> Float64[np.ndarray, "time columns"]:
        """Samples of a slice of time.

        Raises:
            DataError: the file is damaged.
        """
        start, stop, _ = rows.indices(self.shape[0])
        length = self._slab_length()
        if not length:
            read = self._of_file(start, stop)
        else:
            slabs = range(start // length, max(start, stop - 1) // length + 1)
            parts = [self._of_slab(k, length)[max(start - k * length, 0) : stop - k * length] for k in slabs]
            read = np.concatenate(parts)
        values = np.asarray(read if read.ndim == 2 else read[:, None], np.float64)
        if self.columns is not None:
            values = values[:, self.columns]
        return values if (self.factor, self.offset) == (1.0, 0.0) else values * self.factor + self.offset

    def _of_file(self, start: int, stop: int) -> np.ndarray:
        try:
            return self.dataset[:, start:stop].T if self.turned else self.dataset[start:stop]
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(f"{self.where}: cannot be read ({error}); copy the file again") from None

    def _slab_length(self) -> int:
        """Samples of a stretch of whole chunks, as many as fit; 0: the file has no chunks."""
        if self.dataset.chunks is None:
            return 0
        row_bytes = max(self.dataset.dtype.itemsize * self.dataset.size // max(self.shape[0], 1), 1)
        along = self.dataset.chunks[-1 if self.turned else 0]
        return int(min(max(_SLAB_BYTES // row_bytes // along, 1) * along, max(_SLAB_BYTES // row_bytes, 1)))

    def _of_slab(self, number: int, length: int) -> np.ndarray:
        if number not in self._slab:
            self._slab.clear()
            self._slab[number] = self._of_file(number * length, min((number + 1) * length, self.shape[0]))
        return self._slab[number]


@dataclass(frozen=True)
class Planes:
    """The planes of a session."""

    ids: tuple[str, ...]
    columns: Columns
    signals: tuple[Signal, ...]


def is_roi_series(group: h5py.Group) -> bool:
    """Whether it holds traces of regions of interest."""
    return "rois" in group and "data" in group


def read_planes(
    file: NwbFile, names: tuple[str, ...], chosen: Literal["none", "allen"] | NwbUnitFilter
) -> Planes:
    """The traces that the YAML names, in its order.

    Raises:
        DataError: a series is not there, or its data, times and regions differ in number.
    """
    found = [series for name in names for series in _series(file, name)]
    paths = [series.name for series in found]
    for path in {p for p in paths if paths.count(p) > 1}:
        raise DataError(f"{file.where}: traces name {path} twice")
    planes = [_plane(file, series, chosen) for series in found]
    ids = [own for plane_ids, _, _ in planes for own in plane_ids]
    if len(set(ids)) < len(ids):
        prefixes = _short_names([series.name for series in found])
        planes = [
            (tuple(f"{prefix}/{own}" for own in own_ids), columns, signal)
            for prefix, (own_ids, columns, signal) in zip(prefixes, planes, strict=True)
        ]
    all_names = dict.fromkeys(name for _, columns, _ in planes for name in columns)
    columns: Columns = {
        name: tuple(v for own_ids, c, _ in planes for v in c.get(name, (None,) * len(own_ids)))
        for name in all_names
    }
    signals = tuple(
        Signal(signal.times_s, signal.values, own_ids, signal.where) for own_ids, _, signal in planes
    )
    return Planes(tuple(own for own_ids, _, _ in planes for own in own_ids), columns, signals)


def roi_values(file: NwbFile, series: h5py.Group) -> tuple[LazyRows, list[int]]:
    """A series' traces the right way round, and the rows of its table of regions.

    Raises:
        DataError: neither side of the data is the number of regions.
    """
    data = series["data"]
    where = f"{file.field(series)}/data"
    with file.reading(series["rois"]):
        rows = [int(row) for row in series["rois"][()]]
    if data.ndim == 1 and len(rows) == 1:
        return _rows(data, None, False, where), rows
    if data.ndim != 2:
        raise DataError(f"{where}: has shape {data.shape}; expected (time, {len(rows)} regions)")
    if len(rows) not in data.shape:
        raise DataError(
            f"{where}: has shape {data.shape}, and rois lists {len(rows)} regions; expected (time, {len(rows)})"
        )
    turned = data.shape[1] != len(rows)
    if (
        data.shape[0] == data.shape[1]
        and "timestamps" in series
        and len(series["timestamps"]) != data.shape[0]
    ):
        raise DataError(f"{where}: has shape {data.shape} and {len(series['timestamps'])} timestamps")
    return _rows(data, None, turned, where), rows


def _rows(data: h5py.Dataset, columns: tuple[int, ...] | None, turned: bool, where: str) -> LazyRows:
    factor, offset = float(data.attrs.get("conversion", 1.0)), float(data.attrs.get("offset", 0.0))
    return LazyRows(data, columns, turned, where, factor, offset)


def _plane(
    file: NwbFile, series: h5py.Group, chosen: Literal["none", "allen"] | NwbUnitFilter
) -> tuple[tuple[str, ...], Columns, Signal]:
    values, rows = roi_values(file, series)
    where = file.field(series)
    table = _regions(file, series)
    if table is None:
        ids, columns = [str(row) for row in rows], {}
    else:
        all_ids = unit_ids(file, table)
        if rows and max(rows) >= len(all_ids):
            raise DataError(
                f"{where}/rois: names region {max(rows)}, and {file.field(table)} has {len(all_ids)}"
            )
        ids = [all_ids[row] for row in rows]
        all_columns = table_columns(file, table, len(all_ids))
        columns = {name: tuple(column[row] for row in rows) for name, column in all_columns.items()}
        columns.update(_location(table, len(ids)))
    times_s = file.times(series, values.shape[0], "samples")
    taken = np.flatnonzero(units_taken(columns, ids, chosen, where))
    if len(taken) < len(ids):
        values = LazyRows(
            values.dataset, tuple(taken.tolist()), values.turned, values.where, values.factor, values.offset
        )
    kept = tuple(ids[k] for k in taken)
    return (
        kept,
        {name: tuple(column[k] for k in taken) for name, column in columns.items()},
        Signal(times_s, values, kept, f"{where}/data"),
    )


def _regions(file: NwbFile, series: h5py.Group) -> h5py.Group | None:
    reference = series["rois"].attrs.get("table")
    if reference is None or not isinstance(reference, h5py.Reference):
        return None
    with file.reading(series["rois"]):
        found: Any = file.h5[reference]
    return found if isinstance(found, h5py.Group) and "id" in found else None


def _location(table: h5py.Group, n: int) -> Columns:
    plane = table.get("imaging_plane")
    if plane is None or "location" not in plane or "location" in table:
        return {}
    return {"location": (text(plane["location"][()]),) * n}


def _series(file: NwbFile, name: str) -> list[h5py.Group]:
    """A series, or all in a group of the name (`DfOverF`), in the order of their paths."""
    wanted = name.strip("/")
    inside = [
        group
        for path, group in file.groups.items()
        if is_roi_series(group) and f"/{wanted}/" in f"/{path}" and not f"/{path}".endswith(f"/{wanted}")
    ]
    if inside and not any(
        f"/{path}".endswith(f"/{wanted}") and is_roi_series(g) for path, g in file.groups.items()
    ):
        return sorted(inside, key=lambda group: _natural(group.name))
    return [file.find(name, "series of traces", is_roi_series)]


def _natural(name: str) -> list[tuple[int, str]]:
    """So that plane 10 comes after plane 9."""
    parts: list[str] = [""]
    for letter in name:
        if parts[-1] and letter.isdigit() == parts[-1][-1].isdigit():
            parts[-1] += letter
        else:
            parts.append(letter)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _short_names(paths: list[str]) -> list[str]:
    """The part of each path that tells it from the others."""
    split = [path.strip("/").split("/") for path in paths]
    for level in range(min(len(parts) for parts in split)):
        names = [parts[-1 - level] for parts in split]
        if len(set(names)) == len(names):
            return names
    return [path.strip("/") for path in paths]
