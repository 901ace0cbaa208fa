"""MATLAB files of version 7.3: HDF5 with axes in reverse, texts as numbers, logicals as bytes.

Arrays are as MATLAB shows them: `size(stim)` is the shape. A row (1,n) is a list of n.
"""

from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np
from jaxtyping import Shaped

from visioncore.data.sources.hdf5 import Hdf5File
from visioncore.data.sources.lazy_file import Lazy
from visioncore.errors import DataError

_OWN = ("#refs#/", "#subsystem#/")
"""Where MATLAB keeps what cells and objects refer to."""


class MatlabFile(Hdf5File):
    """An `ArrayFile` over a MATLAB file; fields of structs are keys with a slash, and with MATLAB's dot."""

    counts_from = 1

    def find(self) -> Iterable[str]:
        """Paths of all variables."""
        return tuple(name for name in super().find() if not name.startswith(_OWN))

    def place(self, key: str) -> str:
        """The key as the file spells it."""
        return super().place(key.replace(".", "/"))

    def read(self, key: str) -> Shaped[np.ndarray, "..."]:
        """A whole array; a row or a column is a list."""
        array = super().read(key)
        return array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array

    def _lazy(self, dataset: h5py.Dataset, key: str) -> Lazy:
        kind = _class_of(dataset)
        if dataset.attrs.get("MATLAB_empty", 0):
            raise DataError(f"{self.where}, key '{key}': is empty in MATLAB ({kind})")
        if kind == "char":
            return _Texts(_rows_of_text(dataset))
        if kind == "cell":
            return _Texts(self._texts_of(dataset, key))
        if kind not in _NUMBERS:
            raise DataError(
                f"{self.where}, key '{key}': is a MATLAB {kind or 'object'}, which is not read; save numbers, "
                "logicals, char or a cell array of char (cellstr of a string array)"
            )
        dtype = np.dtype(bool) if kind == "logical" else dataset.dtype
        return _Row(dataset, dtype) if _is_row(dataset.shape) else _Reversed(dataset, dtype)

    def _texts_of(self, cell: h5py.Dataset, key: str) -> list[str]:
        texts = []
        for reference in np.asarray(cell).reshape(-1):
            item = cell.file[reference]
            empty = bool(item.attrs.get("MATLAB_empty", 0))
            if not isinstance(item, h5py.Dataset) or (_class_of(item) != "char" and not empty):
                raise DataError(
                    f"{self.where}, key '{key}': is a cell array of other things than texts ({_class_of(item)}), which "
                    "is not read; save numbers as one array (cell2mat), trials one after the other"
                )
            texts.append("" if empty else "".join(_rows_of_text(item)))
        return texts


_NUMBERS = {
    "double", "single", "logical", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
}  # fmt: skip


class _Reversed:
    """A dataset with its axes as MATLAB has them."""

    def __init__(self, dataset: h5py.Dataset, dtype: np.dtype) -> None:
        self._dataset, self.dtype = dataset, dtype
        self.shape = tuple(reversed(dataset.shape))
        self.chunks = None if dataset.chunks is None else tuple(reversed(dataset.chunks))

    def __getitem__(self, part: tuple[slice, ...], /) -> Any:
        return self._dataset[tuple(reversed(part))].T.astype(self.dtype, copy=False)


class _Row:
    """A row as a list."""

    def __init__(self, dataset: h5py.Dataset, dtype: np.dtype) -> None:
        self._dataset, self.dtype = dataset, dtype
        self.shape = dataset.shape[:1]
        self.chunks = None if dataset.chunks is None else dataset.chunks[:1]

    def __getitem__(self, part: tuple[slice, ...], /) -> Any:
        return self._dataset[part[0], 0].astype(self.dtype, copy=False)


class _Texts:
    """Texts that have been read."""

    chunks = None

    def __init__(self, texts: list[str]) -> None:
        self._texts = np.array(texts, dtype=str)
        self.shape, self.dtype = self._texts.shape, self._texts.dtype

    def __getitem__(self, part: tuple[slice, ...], /) -> Any:
        return self._texts[part]


def _class_of(item: Any) -> str:
    kind = item.attrs.get("MATLAB_class", b"")
    return kind.decode() if isinstance(kind, bytes) else str(kind)


def _rows_of_text(dataset: h5py.Dataset) -> list[str]:
    """The rows of a char array, without the blanks that pad them; characters are UTF-16."""
    rows = np.atleast_2d(np.asarray(dataset).T).astype("<u2")
    return [np.ascontiguousarray(row).tobytes().decode("utf-16-le", "replace").rstrip() for row in rows]


def _is_row(shape: tuple[int, ...]) -> bool:
    """Whether a dataset of this shape, which MATLAB has in reverse, is a row."""
    return len(shape) == 2 and shape[1] == 1 and shape[0] > 1
