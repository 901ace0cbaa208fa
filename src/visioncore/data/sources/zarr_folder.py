"""Zarr groups, version 2 and 3, read by slices. Codecs that could run code are refused."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from visioncore.data.sources.clocked import file_digest
from visioncore.data.sources.lazy_file import DAMAGE, LazyFile, Open
from visioncore.errors import DataError

_WHOLE_BYTES, _PIECES = 2**26, 256
_UNSAFE = ("pickle",)

_logger = logging.getLogger(__name__)


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr group or array."""
    return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


class ZarrFolder(LazyFile):
    """An `ArrayFile` over a Zarr group; keys are paths in it."""

    def __init__(self, path: Path, session_id: str) -> None:
        self.path = path
        self.where = f"session '{session_id}' ({path.name})"
        try:
            # Not the consolidated metadata: a copy, which may be older than what it is of.
            opened = zarr.open(str(path), mode="r", use_consolidated=False)
        except (*DAMAGE, zarr.errors.BaseZarrError) as error:
            told = " ".join(str(error).split())
            raise DataError(f"{self.where}: is not an intact Zarr group ({told}); write it again") from None
        if not isinstance(opened, zarr.Group):
            raise DataError(
                f"{self.where}: is a single Zarr array; expected a group with an array for each signal"
            )
        self._arrays = dict(_arrays_of(opened, ""))

    def find(self) -> Iterable[str]:
        """Paths of all arrays."""
        return self._arrays

    def open(self, key: str) -> Open:
        """An array."""
        array = self._arrays[key]
        self._require_safe(array, key)
        if array.dtype.kind == "O":
            raise DataError(
                f"{self.where}, key '{key}': holds Python objects, which are not read; save an array of numbers or of "
                "strings"
            )
        return Open(_Sliced(array), lambda: None)

    def digest(self, key: str) -> list[Any]:
        """Names and sizes of an array's files, and the content of all of them up to 64 MiB, else of 256."""
        folder = self.path / self.place(key)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        sizes = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]
        read = files
        if sum(size for _, size in sizes) > _WHOLE_BYTES:
            metadata = [path for path in files if path.name in ("zarr.json", ".zarray", ".zattrs")]
            read = metadata + [files[k] for k in sorted({len(files) * k // _PIECES for k in range(_PIECES)})]
        digest = hashlib.sha256(repr(sizes).encode())
        for path in read:
            digest.update(file_digest(path).encode())
        return [digest.hexdigest()]

    def stream(self, key: str, order: Any = None) -> Any:
        """An array whose rows are read a block at a time."""
        array = self._arrays[self.place(key)]
        absent = array.nchunks - array.nchunks_initialized
        if absent:
            _logger.warning(
                "%s, key '%s': %d of %d chunks are not there; Zarr takes them for %s, which is right only if that is "
                "what was written",
                self.where,
                key,
                absent,
                array.nchunks,
                array.fill_value,
            )
        return super().stream(key, order)

    def _require_safe(self, array: zarr.Array, key: str) -> None:
        for codec in _codecs(array.metadata.to_dict()):
            if any(name in codec for name in _UNSAFE):
                raise DataError(
                    f"{self.where}, key '{key}': is stored as pickles (codec '{codec}'), which could run any code when "
                    "they are read; never read: save an array of numbers or of strings"
                )


class _Sliced:
    """A Zarr array as plain slices."""

    def __init__(self, array: zarr.Array) -> None:
        self._array, self.shape = array, array.shape
        self.chunks = getattr(array, "shards", None) or array.chunks
        self.dtype = np.dtype(str) if array.dtype.kind in "TU" else np.dtype(array.dtype)

    def __getitem__(self, part: tuple[slice, ...], /) -> Any:
        return np.asarray(self._array[part]).astype(self.dtype, copy=False)


def _arrays_of(group: zarr.Group, above: str) -> Iterator[tuple[str, zarr.Array]]:
    for name, member in sorted(group.members()):
        if isinstance(member, zarr.Group):
            yield from _arrays_of(member, f"{above}{name}/")
        else:
            yield f"{above}{name}", member


def _codecs(metadata: Any) -> Iterator[str]:
    """Every name of a codec, a filter or a compressor."""
    if isinstance(metadata, Mapping):
        for key, value in metadata.items():
            if key in ("id", "name") and isinstance(value, str):
                yield value
            yield from _codecs(value)
    elif isinstance(metadata, list | tuple):
        for value in metadata:
            yield from _codecs(value)
    elif (config := getattr(metadata, "get_config", None)) is not None:
        yield from _codecs(config())
