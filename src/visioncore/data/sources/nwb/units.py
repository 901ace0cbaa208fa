"""The table of units: spikes read at once, what is known of each unit, and which are taken."""

import logging
from dataclasses import dataclass
from typing import Any, Literal

import h5py
import numpy as np
from jaxtyping import Bool, Int64

from visioncore.data.align import Events, Intervals
from visioncore.data.sources.nwb.file import NwbFile, is_reference, plain_values, text
from visioncore.data.sources.nwb.series import none_for_nan
from visioncore.data.sources.nwb.settings import ALLEN, NwbRange, NwbUnitFilter
from visioncore.errors import DataError
from visioncore.spec import Columns

_NO_COLUMNS = (
    "id",
    "spike_times",
    "obs_intervals",
    "electrodes",
    "electrode_group",
    "waveform_mean",
    "waveform_sd",
)
CHANNEL = "peak_channel_id"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Units:
    """The units of a session that are taken."""

    ids: tuple[str, ...]
    columns: Columns
    events: Events


def read_units(file: NwbFile, chosen: Literal["none", "allen"] | NwbUnitFilter) -> Units:
    """Spikes and columns of `/units`.

    Raises:
        DataError: there are none, the filter leaves none, or the spikes do not fit their index.
    """
    table = _table_of_units(file)
    if table is None:
        traces = [f"/{path}" for path, group in file.groups.items() if "rois" in group and "data" in group]
        told = f"; it has traces: {', '.join(traces)}: name them (`traces`)" if traces else ""
        raise DataError(f"{file.where}: has no /units with spike_times{told}")
    ids = unit_ids(file, table)
    columns = {**table_columns(file, table, len(ids)), **_places(file, table, len(ids))}
    taken = units_taken(columns, ids, chosen, file.field(table))
    return Units(
        tuple(ids[k] for k in np.flatnonzero(taken)),
        {name: tuple(v for v, t in zip(values, taken, strict=True) if t) for name, values in columns.items()},
        _spikes(file, table, len(ids), taken),
    )


def _table_of_units(file: NwbFile) -> h5py.Group | None:
    """`/units`, or the one table elsewhere that has spikes."""
    own = file.h5.get("units")
    if isinstance(own, h5py.Group) and "spike_times" in own:
        return own
    elsewhere = [group for group in file.groups.values() if "spike_times" in group and "id" in group]
    return elsewhere[0] if len(elsewhere) == 1 else None


def unit_ids(file: NwbFile, table: h5py.Group) -> list[str]:
    """The ids of a table's rows.

    Raises:
        DataError: there is none, or one twice.
    """
    with file.reading(table):
        ids = [str(value) for value in plain_values(table["id"]).tolist()]
    twice = sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise DataError(f"{file.field(table)}/id: {len(twice)} ids are there twice, such as {twice[0]}")
    if not ids:
        raise DataError(f"{file.field(table)}: has no row")
    return ids


def table_columns(file: NwbFile, table: h5py.Group, n: int) -> Columns:
    """Columns with one number or text per row; others are of no use here."""
    columns: Columns = {}
    left_out = []
    for name, stored in table.items():
        if name in _NO_COLUMNS or name.endswith("_index") or not isinstance(stored, h5py.Dataset):
            continue
        if f"{name}_index" in table or stored.shape != (n,) or is_reference(stored):
            left_out.append(name)
            continue
        with file.reading(stored):
            values = plain_values(stored)
        if values.dtype.kind in "iufbU":
            columns[name] = tuple(none_for_nan(value) for value in values.tolist())
        else:
            left_out.append(name)
    if left_out:
        _logger.info(
            "%s: columns with more than one value per row are left out: %s",
            file.field(table),
            ", ".join(left_out),
        )
    return columns


def units_taken(
    columns: Columns, ids: list[str], chosen: Literal["none", "allen"] | NwbUnitFilter, where: str
) -> Bool[np.ndarray, " units"]:
    """Which units meet all conditions.

    Raises:
        DataError: a column or an id is not there, or no unit is left.
    """
    taken = np.ones(len(ids), bool)
    if chosen == "none":
        return taken
    conditions = ALLEN if chosen == "allen" else chosen
    assert isinstance(conditions, NwbUnitFilter)
    for name, wanted in conditions.columns.items():
        if name not in columns:
            raise DataError(
                f"{where}: unit_filter asks for the column '{name}', and there are: {', '.join(columns) or 'none'}"
            )
        taken &= np.array([_meets(value, wanted) for value in columns[name]], bool)
    if conditions.ids is not None:
        listed = [str(own) for own in conditions.ids]
        unknown = [own for own in listed if own not in set(ids)]
        if unknown:
            raise DataError(f"{where}: unit_filter names units that are not there: {', '.join(unknown[:5])}")
        taken &= np.isin(ids, listed)
    if not taken.any():
        seen = {name: sorted({str(v) for v in columns[name]})[:5] for name in conditions.columns}
        told = "; ".join(f"{name} is {', '.join(values)}" for name, values in seen.items())
        raise DataError(f"{where}: none of {len(ids)} units meets unit_filter ({told})")
    _logger.warning("%s: unit_filter takes %d of %d units", where, int(taken.sum()), len(ids))
    return taken


def _meets(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, NwbRange):
        if not isinstance(value, int | float):
            return False
        low = -np.inf if wanted.minimum is None else wanted.minimum
        high = np.inf if wanted.maximum is None else wanted.maximum
        return bool(low <= value <= high)
    return value in (wanted if isinstance(wanted, tuple) else (wanted,))


def _spikes(file: NwbFile, table: h5py.Group, n: int, taken: Bool[np.ndarray, " units"]) -> Events:
    stored = table["spike_times"]
    where = file.field(stored)
    ends = _ends(file, table, "spike_times", n, stored.shape[0] if stored.ndim == 1 else -1)
    times = file.seconds(table, "spike_times")
    number = np.full(n, -1)
    number[taken] = np.arange(taken.sum())
    unit = np.repeat(number, np.diff(np.concatenate([[0], ends])))
    kept = unit >= 0
    return Events(times[kept], unit[kept], where, _held(file, table, n, taken))


def _ends(file: NwbFile, table: h5py.Group, name: str, n: int, rows: int) -> Int64[np.ndarray, " units"]:
    """Where each unit's values end in a column of all of them."""
    index = f"{name}_index"
    if index not in table:
        raise DataError(f"{file.field(table)}: has {name} but no {index}, so it is not known whose they are")
    with file.reading(table[index]):
        ends = table[index][()].astype(np.int64)
    steps = np.diff(np.concatenate([[0], ends]))
    if len(ends) != n or (steps < 0).any() or (n and ends[-1] != rows):
        raise DataError(
            f"{file.field(table)}/{index}: ends at {ends[-1] if len(ends) else 'nothing'} for {len(ends)} units; "
            f"expected {n} ends that do not go back, the last {rows}"
        )
    return ends


def _held(
    file: NwbFile, table: h5py.Group, n: int, taken: Bool[np.ndarray, " units"]
) -> tuple[Intervals | None, ...] | None:
    """When each unit was observed; a unit without intervals, all the time."""
    if "obs_intervals" not in table:
        return None
    stored = table["obs_intervals"]
    where = file.field(stored)
    if stored.ndim != 2 or stored.shape[1] != 2:
        raise DataError(f"{where}: has shape {stored.shape}; expected (intervals, 2), starts and ends")
    ends = _ends(file, table, "obs_intervals", n, stored.shape[0])
    if not stored.shape[0]:
        return None
    values = file.seconds(table, "obs_intervals")
    begins = np.concatenate([[0], ends[:-1]])
    return tuple(
        Intervals(values[begin:end, 0], values[begin:end, 1], where) if end > begin else None
        for begin, end, take in zip(begins, ends, taken, strict=True)
        if take
    )


def _places(file: NwbFile, table: h5py.Group, n: int) -> Columns:
    """Where each unit lies, by its channel or its first electrode."""
    electrodes = file.h5.get("general/extracellular_ephys/electrodes")
    if electrodes is None or "location" not in electrodes or "location" in table:
        return {}
    location = [str(place) for place in file.column(electrodes, "location")]
    if CHANNEL in table and "id" in electrodes:
        row = {int(own): k for k, own in enumerate(file.column(electrodes, "id"))}
        channels = file.column(table, CHANNEL)
        rows = [row.get(int(c), -1) if np.isfinite(c) else -1 for c in channels]
    elif "electrodes" in table and "electrodes_index" in table:
        stored = table["electrodes"]
        ends = _ends(file, table, "electrodes", n, stored.shape[0])
        begins = np.concatenate([[0], ends[:-1]])
        flat = stored[()]
        rows = [int(flat[b]) if e > b else -1 for b, e in zip(begins, ends, strict=True)]
    else:
        return _groups(table, n)
    known = [location[k] if 0 <= k < len(location) else None for k in rows]
    return {"location": tuple(known)}


def _groups(table: h5py.Group, n: int) -> Columns:
    stored = table.get("electrode_group")
    if stored is None or stored.shape != (n,):
        return {}
    places = [text(table.file[reference].attrs.get("location", "")) for reference in stored[()]]
    places = [
        p or text(table.file[r]["location"][()]) if "location" in table.file[r] else p
        for p, r in zip(places, stored[()], strict=True)
    ]
    return {"location": tuple(place or None for place in places)}
