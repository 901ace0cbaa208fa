"""Running, eye and pupil, each on its own clock; and when nothing counts."""

import logging

import h5py
import numpy as np
from jaxtyping import Shaped

from visioncore.data.align import Intervals, Signal
from visioncore.data.sources.nwb.file import NwbFile, is_table, plain_values, text
from visioncore.data.sources.nwb.settings import NwbSignal
from visioncore.data.sources.nwb.tables import find_table
from visioncore.data.sources.nwb.traces import LazyRows
from visioncore.errors import DataError

INVALID_TIMES = "intervals/invalid_times"
_AXES = {1: ("",), 2: ("_x", "_y"), 3: ("_x", "_y", "_z")}

_logger = logging.getLogger(__name__)


def read_signal(file: NwbFile, config: NwbSignal) -> Signal:
    """A series of behaviour, in the unit of the file after conversion and offset.

    Raises:
        DataError: it is not there, has more than two axes, or not one time for each sample.
    """
    series, stored = _stored(file, config.series)
    where = file.field(series if stored.name.endswith("/data") else stored)
    if stored.ndim not in (1, 2) or stored.dtype.kind not in "iufb":
        raise DataError(
            f"{where}: has shape {stored.shape} of {stored.dtype}; expected numbers (time,) or (time, signals)"
        )
    turned = _is_turned(series, stored)
    factor = float(stored.attrs.get("conversion", 1.0))
    offset = float(stored.attrs.get("offset", 0.0))
    values = LazyRows(stored, None, turned, where, factor, offset)
    n, columns = values.shape
    names = config.names or _names(config.series, columns)
    if len(names) != columns:
        raise DataError(f"{where}: has {columns} columns, and names lists {len(names)}: {', '.join(names)}")
    unit = text(stored.attrs.get("unit", "")) or "no unit"
    _logger.info("%s: %s in %s", where, ", ".join(names), unit)
    return Signal(file.times(series, n, "samples"), values, names, where)


def unique_names(signals: list[Signal], configs: list[NwbSignal], where: str) -> None:
    """Refuse two signals of one name.

    Raises:
        DataError: naming it, and how to tell them apart.
    """
    names = [
        (name, config.series)
        for signal, config in zip(signals, configs, strict=True)
        for name in signal.names
    ]
    for k, (name, series) in enumerate(names):
        for other_name, other in names[:k]:
            if name == other_name:
                raise DataError(
                    f"{where}: behaviour '{name}' is of {other} and of {series}; give one of them another name: "
                    f"{{series: {series}, names: [...]}}"
                )


def invalid_intervals(file: NwbFile, names: tuple[str, ...]) -> tuple[Intervals, ...]:
    """When no response counts: `invalid_times`, and the tables and series that the YAML names.

    Raises:
        DataError: one is not there, or is neither a table nor a series of true and false.
    """
    found = []
    own = file.h5.get(INVALID_TIMES)
    if isinstance(own, h5py.Group) and is_table(own) and own["start_time"].shape[0]:
        found.append(_of_table(file, own))
        _logger.warning("%s: %d stretches count for no unit", file.field(own), len(found[0].start_s))
    for name in names:
        if name.strip("/") in ("invalid_times", INVALID_TIMES):
            continue
        if any(f"/{path}".endswith(f"/{name.strip('/')}") and is_table(g) for path, g in file.groups.items()):
            found.append(_of_table(file, find_table(file, name)))
        else:
            found.append(_of_series(file, name))
    return tuple(found)


def _of_table(file: NwbFile, table: h5py.Group) -> Intervals:
    return Intervals(file.seconds(table, "start_time"), file.seconds(table, "stop_time"), file.field(table))


def _of_series(file: NwbFile, name: str) -> Intervals:
    """From each sample that is true to the next one."""
    series, stored = _stored(file, name)
    where = file.field(stored)
    with file.reading(stored):
        values: Shaped[np.ndarray, " samples"] = plain_values(stored)
    if values.ndim != 1 or values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise DataError(
            f"{where}: is {values.dtype} of shape {values.shape}; expected true or false for each sample"
        )
    times_s = file.times(series, len(values), "samples")
    usual = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    at = np.flatnonzero(values)
    stops = np.append(times_s[1:], times_s[-1] + usual)
    return Intervals(times_s[at], stops[at], where)


def _stored(file: NwbFile, name: str) -> tuple[h5py.Group, h5py.Dataset]:
    """A series and its data, or one dataset of it (`pupil_tracking/area`)."""
    if "/" in name.strip("/"):
        parent, _, last = name.rpartition("/")
        wanted = parent.strip("/")
        for path, group in file.groups.items():
            if (
                f"/{path}".endswith(f"/{wanted}")
                and isinstance(group.get(last), h5py.Dataset)
                and is_series(group)
            ):
                return group, group[last]
    series = file.find(name, "series", is_series)
    return series, series["data"]


def is_series(group: h5py.Group) -> bool:
    """Whether it has samples and times."""
    return isinstance(group.get("data"), h5py.Dataset) and ("timestamps" in group or "starting_time" in group)


def _is_turned(series: h5py.Group, stored: h5py.Dataset) -> bool:
    """Whether samples lie along the second axis: told by the number of times alone."""
    if stored.ndim != 2 or "timestamps" not in series:
        return False
    n = series["timestamps"].shape[0]
    return stored.shape[0] != n and stored.shape[1] == n


def _names(series: str, columns: int) -> tuple[str, ...]:
    own = series.strip("/").removesuffix("/data").rpartition("/")[2]
    return tuple(f"{own}{axis}" for axis in _AXES.get(columns, tuple(f"_{k}" for k in range(columns))))
