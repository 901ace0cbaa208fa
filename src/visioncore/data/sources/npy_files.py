"""A folder of .npy files, one for each array, memory-mapped."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from visioncore.data.sources.clocked import file_digest
from visioncore.data.sources.lazy_file import LazyFile, Open
from visioncore.errors import DataError

_OBJECTS = (
    "holds Python objects (a pickle), which could run any code when they are loaded and are never read; load it where "
    "you trust it, and save an array of numbers or of strings"
)


class NpyFiles(LazyFile):
    """An `ArrayFile` over a folder; keys are the names of files without their ending."""

    def __init__(self, path: Path, session_id: str) -> None:
        self.path = path
        self.where = f"session '{session_id}' ({path.name})"

    def find(self) -> Iterable[str]:
        """Names of all files."""
        found = self.path.rglob("*.npy")
        return sorted(path.relative_to(self.path).as_posix().removesuffix(".npy") for path in found)

    def open(self, key: str) -> Open:
        """A file, mapped."""
        array = load_npy(self.path / f"{key}.npy", f"{self.where}, {key}.npy")
        return Open(_Mapped(array), lambda: None)

    def digest(self, key: str) -> list[Any]:
        """Of the file."""
        return [file_digest(self.path / f"{self.place(key)}.npy")]


def load_npy(path: Path, where: str) -> np.ndarray:
    """An array of numbers or texts, memory-mapped; nothing in it is executed.

    Raises:
        DataError: it is not there, damaged, or holds Python objects.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{where}: no such file: {path}") from None
    except (ValueError, OSError, EOFError) as error:
        if "bject" in str(error):
            raise DataError(f"{where}: {_OBJECTS}") from None
        raise DataError(f"{where}: is damaged and cannot be read ({error}); write the file again") from None


class _Mapped:
    """A mapped array as plain slices, in memory of their own."""

    chunks = None

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, part: tuple[slice, ...], /) -> Any:
        return np.array(self._array[part])
