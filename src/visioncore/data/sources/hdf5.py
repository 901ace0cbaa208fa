"""HDF5 files of named arrays, at any depth of groups; read in slices, never whole."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from visioncore.data.sources.clocked import file_digest
from visioncore.data.sources.lazy_file import DAMAGE, Lazy, LazyFile, Open
from visioncore.errors import ConfigError, DataError

_OWN_FILTERS = 32000
"""Filters of HDF5 itself have smaller numbers."""


def open_hdf5(path: Path, where: str) -> h5py.File:
    """The file, read-only.

    Raises:
        DataError: it is no intact HDF5 file.
    """
    try:
        return h5py.File(path, "r", locking=False)
    except FileNotFoundError:
        raise DataError(f"{where}: no such file: {path}; paths are relative to the YAML") from None
    except DAMAGE as error:
        told = " ".join(str(error).split())
        raise DataError(
            f"{where}: is not an intact HDF5 file ({told}); copy it again, or write it again"
        ) from None


def require_filters(dataset: h5py.Dataset, where: str) -> None:
    """Load what decompresses a dataset, where HDF5 cannot by itself.

    Raises:
        ConfigError: it is not installed.
    """
    created = dataset.id.get_create_plist()
    numbers = [created.get_filter(k)[0] for k in range(created.get_nfilters())]
    if all(number < _OWN_FILTERS for number in numbers):
        return
    try:
        import hdf5plugin  # noqa: F401
    except ImportError:
        raise ConfigError(
            f"{where}: is compressed by a filter that HDF5 does not bring ({max(numbers)}); "
            "pip install 'visioncore[nwb]'"
        ) from None


class Hdf5File(LazyFile):
    """An `ArrayFile` over an HDF5 file; keys are paths in it."""

    def __init__(self, path: Path, session_id: str) -> None:
        self.path = path
        self.where = f"session '{session_id}' ({path.name})"
        with open_hdf5(path, self.where) as file:
            self._keys = self._named(file)
        self._digest: str | None = None

    def find(self) -> Iterable[str]:
        """Paths of all datasets."""
        return self._keys

    def digest(self, key: str) -> list[Any]:
        """Of the whole file, and where the array is in it."""
        if self._digest is None:
            self._digest = file_digest(self.path)
        return [self._digest, self.place(key)]

    def open(self, key: str) -> Open:
        """A dataset."""
        file = open_hdf5(self.path, self.where)
        try:
            dataset = file[key]
            require_filters(dataset, f"{self.where}, key '{key}'")
            return Open(self._lazy(dataset, key), file.close)
        except BaseException:
            file.close()
            raise

    def _named(self, file: h5py.File) -> tuple[str, ...]:
        names: list[str] = []

        def note(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                names.append(name)

        file.visititems(note)
        # Links, to another place in the file or to another file, are not visited.
        for name in file:
            if name not in names and isinstance(file.get(name), h5py.Dataset):
                names.append(name)
        return tuple(names)

    def _lazy(self, dataset: h5py.Dataset, key: str) -> Lazy:
        if h5py.check_string_dtype(dataset.dtype) is not None:
            return _Strings(dataset)
        if dataset.dtype.hasobject or dataset.dtype.kind == "V":
            raise DataError(
                f"{self.where}, key '{key}': holds {_told(dataset.dtype)}, which are not read; save an array of "
                "numbers or of strings"
            )
        return dataset


class _Strings:
    """Texts of fixed or variable length."""

    chunks = None
    dtype = np.dtype(str)

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset, self.shape = dataset, dataset.shape

    def __getitem__(self, part: tuple[slice, ...], /) -> Any:
        return np.asarray(self._dataset.asstr(errors="replace")[part if self.shape else ()], dtype=str)


def _told(dtype: np.dtype) -> str:
    if dtype.names:
        return f"records of {', '.join(dtype.names)}"
    return "references or lists of other lengths" if dtype.hasobject else str(dtype)
