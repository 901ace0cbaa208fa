"""An NWB file, opened: what is in it, and times and values of its series. Read with h5py, which needs no extension."""

import difflib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float64, Shaped

from visioncore.data.align.times import checked_times
from visioncore.data.sources.nwb.remote import is_remote, open_remote
from visioncore.errors import DataError

_NOT_LOOKED_INTO = frozenset({"specifications"})
_CHUNK_CACHE_BYTES = 2**26
_COARSEST_S = 1e-3

_logger = logging.getLogger(__name__)


class NwbFile:
    """A file of NWB 2, or of plain HDF5 where `any_hdf5`.

    Args:
        place: a path, or an address.
        called: what messages call it.

    Raises:
        DataError: there is no such file, it is damaged, or it is no NWB 2.
    """

    def __init__(self, place: str, called: str, *, any_hdf5: bool = False) -> None:
        self.place = place
        self.where = f"{called} ({place if is_remote(place) else Path(place).name})"
        self.h5 = _open(place, self.where)
        self.broken: dict[str, str] = {}
        """Links that lead nowhere, and why: to a file that was not brought along, most often."""
        if not any_hdf5:
            _require_nwb_2(self.h5, self.where)

    @property
    def folder(self) -> Path | None:
        """Where it lies; None on a server."""
        return None if is_remote(self.place) else Path(self.place).parent

    @cached_property
    def groups(self) -> dict[str, h5py.Group]:
        """Every group by its path; what lies behind a link is not looked into."""
        found: dict[str, h5py.Group] = {}
        with self.reading("/"):
            _walk(self.h5, "", found, self.broken, set())
        return found

    def field(self, item: h5py.Group | h5py.Dataset | str) -> str:
        """What messages call something in the file."""
        return f"{self.where}, {item if isinstance(item, str) else item.name}"

    @contextmanager
    def reading(self, item: h5py.Group | h5py.Dataset | str) -> Iterator[None]:
        """Errors of HDF5 as errors of the data."""
        try:
            yield
        except (OSError, RuntimeError, KeyError, ValueError, EOFError) as error:
            raise DataError(f"{self.field(item)}: cannot be read ({error}); {_remedy(error)}") from None

    def find(self, name: str, what: str, fits: Callable[[h5py.Group], bool]) -> h5py.Group:
        """The group of a name, or of a path, that `fits`.

        Args:
            what: what it is, for messages: "interval table".

        Raises:
            DataError: there is none, or more than one.
        """
        wanted = name.strip("/")
        if "/" in name and (exact := self._at(wanted)) is not None and fits(exact):
            return exact
        found = {
            path: group
            for path, group in self.groups.items()
            if (path == wanted or path.endswith(f"/{wanted}")) and fits(group)
        }
        if len(found) == 1:
            return next(iter(found.values()))
        if found:
            raise DataError(
                f"{self.where}: '{name}' names {len(found)} things: {', '.join(f'/{p}' for p in found)}; give more of "
                "the path"
            )
        there = [path for path, group in self.groups.items() if fits(group)]
        last = {path.rpartition("/")[2]: path for path in there}
        near = difflib.get_close_matches(wanted, [*last, *there], 1, cutoff=0.6)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        listed = ", ".join(f"/{path}" for path in there) or "none"
        lost = "".join(f"; /{path} is a link that leads nowhere ({why})" for path, why in self.broken.items())
        raise DataError(f"{self.where}: has no {what} '{name}'{hint}. The file has: {listed}{lost}")

    def times(self, series: h5py.Group, n: int, what: str) -> Float64[np.ndarray, " samples"]:
        """When each of a series' `n` samples was taken, in seconds.

        Raises:
            DataError: naming the field and what is wrong with it.
        """
        where = self.field(series)
        if "timestamps" in series:
            stored = series["timestamps"]
            with self.reading(stored):
                times = self._seconds(stored)
            checked_times(times, f"{where}/timestamps", n, what, may_repeat=True)
            return times
        if "starting_time" not in series:
            raise DataError(f"{where}: has neither timestamps nor starting_time; its times are unknown")
        start = float(series["starting_time"][()])
        rate_hz = float(series["starting_time"].attrs.get("rate", np.nan))
        if not (np.isfinite(start) and np.isfinite(rate_hz) and rate_hz > 0):
            raise DataError(
                f"{where}/starting_time: is {start} s at a rate of {rate_hz} Hz; expected numbers (this may be a "
                "template, which has no times: name what shows it)"
            )
        return start + np.arange(n) / rate_hz

    def column(self, table: h5py.Group, name: str) -> Shaped[np.ndarray, " rows"]:
        """A column of a table with one value per row; texts as str.

        Raises:
            DataError: there is none, or it has several values in a row.
        """
        if name not in table:
            there = ", ".join(sorted(table))
            raise DataError(f"{self.field(table)}: has no column '{name}'; it has: {there}")
        stored = table[name]
        if not isinstance(stored, h5py.Dataset) or stored.ndim != 1 or f"{name}_index" in table:
            raise DataError(f"{self.field(table)}/{name}: has several values in a row; expected one")
        with self.reading(stored):
            return plain_values(stored)

    def seconds(self, table: h5py.Group, name: str) -> Float64[np.ndarray, " rows"]:
        """A column of times."""
        if name not in table:
            raise DataError(f"{self.field(table)}: has no column '{name}'")
        with self.reading(table[name]):
            return self._seconds(table[name])

    def _seconds(self, stored: h5py.Dataset) -> Float64[np.ndarray, "..."]:
        unit = text(stored.attrs.get("unit", "seconds")).lower()
        if unit not in ("seconds", "second", "s", "sec", ""):
            raise DataError(f"{self.field(stored)}: its unit is {unit}; expected seconds")
        values = np.asarray(stored[()])
        if values.dtype.kind not in "iuf":
            raise DataError(f"{self.field(stored)}: is {values.dtype}; expected seconds")
        if values.dtype != np.float64:
            step = (
                float(np.spacing(np.nanmax(np.abs(values), initial=0))) if values.dtype.kind == "f" else 1.0
            )
            if step > _COARSEST_S:
                raise DataError(
                    f"{self.field(stored)}: is {values.dtype}, which tells times apart by {step:.2g} s; expected "
                    "float64 seconds"
                )
            _logger.warning("%s: is %s: times are good to %.2g s", self.field(stored), values.dtype, step)
        return values.astype(np.float64)

    def _at(self, path: str) -> h5py.Group | None:
        with self.reading(f"/{path}"):
            found = self.h5.get(path)
        return found if isinstance(found, h5py.Group) else None


def text(value: Any) -> str:
    """A text of HDF5, which may be bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def type_of(group: h5py.Group) -> str:
    """Its neurodata_type."""
    return text(group.attrs.get("neurodata_type", ""))


def is_table(group: h5py.Group) -> bool:
    """Whether it has intervals as rows."""
    return "start_time" in group and "stop_time" in group


def is_reference(stored: h5py.Dataset) -> bool:
    """Whether it holds references to other objects."""
    return h5py.check_ref_dtype(stored.dtype) is not None


def plain_values(stored: h5py.Dataset) -> Shaped[np.ndarray, "..."]:
    """All of a dataset; texts as str."""
    values = stored[()]
    if h5py.check_string_dtype(stored.dtype) is not None:
        flat = [text(value) for value in np.ravel(values)]
        return np.array(flat, np.str_).reshape(np.shape(values))
    if h5py.check_enum_dtype(stored.dtype) is not None and stored.dtype.kind == "i":
        names = h5py.check_enum_dtype(stored.dtype)
        if set(names) == {"FALSE", "TRUE"}:
            return np.asarray(values) == names["TRUE"]
    return np.asarray(values)


def _open(place: str, where: str) -> h5py.File:
    try:
        import hdf5plugin  # noqa: F401  (registers the filters that files may be compressed with)
    except ImportError:
        _logger.debug("hdf5plugin is not installed: only the filters of HDF5 itself can be read")
    source: Any = open_remote(place, where) if is_remote(place) else place
    try:
        return h5py.File(source, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES, locking=False)
    except FileNotFoundError:
        near = difflib.get_close_matches(Path(place).name, [p.name for p in Path(place).parent.glob("*")], 1)
        hint = f"; did you mean '{near[0]}'?" if near else "; paths count from the folder of the data YAML"
        raise DataError(f"{where}: no such file: {place}{hint}") from None
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        found = str(error)
        if "truncated" in found or "eof" in found.lower():
            raise DataError(
                f"{where}: is truncated, only a part of the file is there ({found}); copy it again"
            ) from None
        if "signature" in found:
            raise DataError(
                f"{where}: is no HDF5 file, so no NWB file ({found}); if it is a small text that stands for the file "
                "(DataLad, git-annex, Git LFS), get the file itself; NWB in Zarr must be exported to HDF5"
            ) from None
        raise DataError(f"{where}: cannot be opened ({found})") from None


def _require_nwb_2(h5: h5py.File, where: str) -> None:
    version = h5.attrs.get("nwb_version")
    if version is None and "nwb_version" in h5:
        version = h5["nwb_version"][()]
    if version is None:
        raise DataError(
            f"{where}: has no nwb_version, so it is no NWB file; for other HDF5 see the formats `arrays` and `retina`"
        )
    told = text(version.item() if isinstance(version, np.ndarray) and version.size == 1 else version)
    number = told.removeprefix("NWB-").removeprefix("v")
    if number.startswith(("0.", "1.")):
        raise DataError(
            f"{where}: nwb_version is {told}; NWB 1 is not read. Get the recording as NWB 2 from where it is "
            "published, or write its arrays as NPZ (format `arrays`)"
        )


def _walk(
    group: h5py.Group, path: str, found: dict[str, h5py.Group], broken: dict[str, str], seen: set[Any]
) -> None:
    for name in group:
        if not path and name in _NOT_LOOKED_INTO:
            continue
        own = f"{path}/{name}" if path else name
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            _follow(group, name, own, found, broken)
            continue
        item = group[name]
        if not isinstance(item, h5py.Group):
            continue
        found[own] = item
        number = h5py.h5o.get_info(item.id).addr
        if number not in seen:
            seen.add(number)
            _walk(item, own, found, broken, seen)


def _follow(
    group: h5py.Group, name: str, own: str, found: dict[str, h5py.Group], broken: dict[str, str]
) -> None:
    """A link inside of a series is one of its fields; one that is broken may not be needed."""
    if "neurodata_type" in group.attrs and ("data" in group or "timestamps" in group):
        return
    try:
        item = group[name]
    except (KeyError, OSError) as error:
        link = group.get(name, getlink=True)
        target = f"{link.filename}, " if isinstance(link, h5py.ExternalLink) else ""
        broken[own] = f"to {target}{link.path}: {error.args[0] if error.args else error}"
        return
    if isinstance(item, h5py.Group):
        found[own] = item


def _remedy(error: BaseException) -> str:
    if "filter" in str(error) or "plugin" in str(error):
        return "it is compressed by a filter that is not there: pip install 'visioncore[nwb]'"
    return "copy the file again, or look at it with h5ls"
