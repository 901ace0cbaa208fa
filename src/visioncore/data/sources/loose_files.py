"""Arrays in files of their own, as tools of a lab leave them: `.npy`, `.csv`, `.txt`, `.mat`, `.h5`, `.zarr`.

`FILE:NAME` names one array of a file that holds several (a variable of MATLAB, a dataset of HDF5, a column of a
table). Nothing of Python is ever loaded.
"""

import csv
import difflib
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from visioncore.errors import DataError

_HDF5 = (".h5", ".hdf5", ".mat")
_HOLDS_SEVERAL = (*_HDF5, ".csv", ".tsv", ".txt", ".zarr", ".npz")
_READABLE = ".npy, .csv, .tsv, .txt, .mat, .h5"


def split_name(name: str) -> tuple[str, str | None]:
    """A file, and the name of an array in it, of `FILE:NAME`."""
    for ending in _HOLDS_SEVERAL:
        at = name.find(f"{ending}:")
        if at >= 0:
            return name[: at + len(ending)], name[at + len(ending) + 1 :]
    return name, None


def read_loose(base_dir: Path, name: str, where: str) -> Shaped[np.ndarray, "..."]:
    """A whole array of numbers, without axes of one entry.

    Args:
        where: what messages call the field that names the file.

    Raises:
        DataError: no such file, damaged, of another kind, or no such array in it.
    """
    file, key = split_name(name)
    path, place = base_dir / file, f"{where} ({file})"
    if not path.exists():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], 1)
        hint = f"; did you mean '{near[0]}'?" if near else "; paths count from the folder of the data YAML"
        raise DataError(f"{place}: there is no such file{hint}")
    ending = path.suffix.lower()
    with _damage_named(place):
        if ending == ".npy":
            array = np.load(path, allow_pickle=False)
        elif ending in (".csv", ".tsv", ".txt"):
            array = _of_text(path, key, place)
        elif ending in _HDF5:
            array = _of_container(path, key, place)
        else:
            raise DataError(f"{place}: files '{ending}' are not read here; expected one of {_READABLE}")
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{place}: holds {array.dtype}; expected numbers")
    return array.squeeze() if array.ndim > 1 else array


def read_times(base_dir: Path, name: str, where: str) -> Float64[np.ndarray, " times"]:
    """One time after the other, as float64.

    Raises:
        DataError: as `read_loose`, or there is more than one column.
    """
    times = read_loose(base_dir, name, where)
    if times.ndim != 1:
        times = times.reshape(-1) if times.ndim == 0 else times
    if times.ndim != 1:
        raise DataError(
            f"{where} ({name}): has shape {times.shape}; expected one time after the other (are these starts and ends? "
            "Give the starts)"
        )
    if times.dtype == np.float32 and len(times) and np.abs(times).max() > 2**10:
        raise DataError(
            f"{where} ({name}): times are float32, which after {2**10} s is no more exact than 0.1 ms; write float64"
        )
    return times.astype(np.float64)


def read_table(path: Path, where: str) -> dict[str, list[str]]:
    """Columns of a CSV or TSV file with a header, as they are written.

    Raises:
        DataError: no such file, no text, no header, or rows of another length.
    """
    if not path.is_file():
        raise DataError(f"{where} ({path.name}): there is no such file")
    with _damage_named(f"{where} ({path.name})"):
        text = path.read_text(encoding="utf-8-sig")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{where} ({path.name}): is empty; expected a header and a row for each entry")
    rows = list(csv.reader(lines, delimiter="\t" if "\t" in lines[0] else ","))
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header):
        raise DataError(f"{where} ({path.name}): a column appears twice: {', '.join(header)}")
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(header):
            raise DataError(
                f"{where} ({path.name}): row {number} has {len(row)} entries for {len(header)} columns: "
                f"{', '.join(header)}"
            )
    return {name: [row[k].strip() for row in rows[1:]] for k, name in enumerate(header)}


def plain(values: Iterable[Any]) -> tuple[Any, ...]:
    """Entries of a column as JSON: all of them numbers where all can be, else text; empty and NaN become None."""
    kept = [
        None if value is None or str(value).strip().lower() in ("", "nan", "n/a") else value
        for value in values
    ]
    numbers = [_number(value) for value in kept]
    if all((number is None) == (value is None) for number, value in zip(numbers, kept, strict=True)):
        return tuple(numbers)
    return tuple(None if value is None else str(value) for value in kept)


def _number(value: Any) -> int | float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not np.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 and "." not in str(value) else number


def _of_text(path: Path, key: str | None, place: str) -> Float64[np.ndarray, "..."]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    lines = [line for line in lines if line and not line.startswith(("#", "%"))]
    if not lines:
        raise DataError(f"{place}: is empty")
    split = next((mark for mark in (",", "\t", ";") if mark in lines[0]), None)
    rows = [[entry.strip() for entry in line.split(split)] for line in lines]
    header = (
        rows.pop(0) if any(_number(entry) is None and entry.lower() != "nan" for entry in rows[0]) else None
    )
    if key is not None:
        if header is None or key not in header:
            raise DataError(
                f"{place}: has no column '{key}'; it has {', '.join(header or ()) or 'no header'}"
            )
        column = header.index(key)
        rows = [[row[column]] for row in rows]
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise DataError(f"{place}: row {number} has {len(row)} entries, the first has {len(rows[0])}")
        wrong = [entry for entry in row if _number(entry) is None and entry.lower() != "nan"]
        if wrong:
            raise DataError(f"{place}: row {number} holds '{wrong[0]}'; expected numbers")
    if rows and len(rows[0]) > 1 and key is None and header is not None:
        raise DataError(
            f"{place}: has columns {', '.join(header)}; name one, as {path.name}:{header[0]}, or give several without "
            "a header"
        )
    return np.array(rows, np.float64)


def _of_container(path: Path, key: str | None, place: str) -> Shaped[np.ndarray, "..."]:
    import h5py

    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            found: list[str] = []
            file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
            found = [name for name in found if not name.startswith("#")]
            chosen = _one_of(found, key, place)
            # MATLAB writes its axes in reverse.
            return file[chosen][()].T if path.suffix == ".mat" else file[chosen][()]
    if path.suffix != ".mat":
        raise DataError(f"{place}: is not an intact HDF5 file")
    from scipy.io import loadmat

    held = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    return np.asarray(held[_one_of(list(held), key, place)])


def _one_of(found: list[str], key: str | None, place: str) -> str:
    if key is not None:
        if key in found:
            return key
        raise DataError(f"{place}: has no array '{key}'; it holds {', '.join(sorted(found)) or 'none'}")
    if len(found) != 1:
        raise DataError(
            f"{place}: holds {len(found)} arrays ({', '.join(sorted(found))}); name one, as FILE:NAME"
        )
    return found[0]


@contextmanager
def _damage_named(place: str) -> Any:
    """Whatever a damaged file makes a reader raise, as one message."""
    try:
        yield
    except DataError:
        raise
    except (
        ValueError,
        OSError,
        EOFError,
        KeyError,
        TypeError,
        IndexError,
        NotImplementedError,
        SyntaxError,
    ) as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{place}: holds pickled Python objects, which are never loaded; save an array of numbers "
                "(of arrays of several lengths, one file each)"
            ) from None
        raise DataError(f"{place}: is damaged or of another kind and cannot be read ({error})") from None
