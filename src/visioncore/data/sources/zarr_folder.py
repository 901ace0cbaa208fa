"""Zarr groups, version 2 and 3, read by slices. Codecs that could run code are refused."""

import hashlib
import json
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
_METADATA = ("zarr.json", ".zarray", ".zgroup")

_logger = logging.getLogger(__name__)


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr group or array."""
    return any((folder / name).is_file() for name in _METADATA)


class ZarrFolder(LazyFile):
    """An `ArrayFile` over a Zarr group; keys are paths in it."""

    def __init__(self, path: Path, session_id: str) -> None:
        self.path = path
        self.where = f"session '{session_id}' ({path.name})"
        if (path / ".zarray").is_file() or _metadata(path).get("node_type") == "array":
            raise DataError(
                f"{self.where}: is a single Zarr array; expected a group with an array for each signal"
            )
        if not is_zarr(path) or not _metadata(path):
            raise DataError(
                f"{self.where}: is not an intact Zarr group ({path / 'zarr.json'}); write it again"
            )
        self._folders = dict(_arrays_in(path, ""))
        self._intact: set[str] = set()

    def find(self) -> Iterable[str]:
        """Paths of all arrays."""
        return self._folders

    def open(self, key: str) -> Open:
        """An array."""
        return Open(_Sliced(self._array(key)), lambda: None)

    def _array(self, key: str) -> zarr.Array:
        folder = self._folders[key]
        metadata = _metadata(folder)
        for codec in _codecs(metadata):
            if any(name in codec for name in _UNSAFE):
                raise DataError(
                    f"{self.where}, key '{key}': is stored as pickles (codec '{codec}'), which could run any code when "
                    "they are read; never read: save an array of numbers or of strings"
                )
        try:
            array = zarr.open_array(str(folder), mode="r")
        except (*DAMAGE, zarr.errors.BaseZarrError) as error:
            told = " ".join(str(error).split())
            raise DataError(f"{self.where}, key '{key}': is damaged or of an unknown type ({told})") from None
        if array.dtype.kind == "O":
            raise DataError(
                f"{self.where}, key '{key}': holds Python objects, which are not read; save an array of numbers or of "
                "strings"
            )
        if key not in self._intact and _outermost(metadata) == "blosc":
            self._require_whole_chunks(folder, key)
            self._intact.add(key)
        return array

    def _require_whole_chunks(self, folder: Path, key: str) -> None:
        """Refuse chunks that were cut: Blosc reads on beyond their end and gives anything."""
        for path in _chunks(folder):
            size = path.stat().st_size
            with path.open("rb") as file:
                header = file.read(16)
            if len(header) < 16 or int.from_bytes(header[12:], "little") != size:
                raise DataError(
                    f"{self.where}, key '{key}': is damaged: chunk {path.relative_to(folder)} has {size} bytes and not "
                    "as many as it says; copy it again, or write it again"
                )

    def digest(self, key: str) -> list[Any]:
        """Names and sizes of an array's files, and the content of all of them up to 64 MiB, else of 256."""
        folder = self._folders[self.place(key)]
        files = sorted(
            [*_chunks(folder), *(folder / name for name in _METADATA if (folder / name).is_file())]
        )
        sizes = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]
        read = files
        if sum(size for _, size in sizes) > _WHOLE_BYTES:
            read = [path for path in files if path.name in _METADATA]
            read += [files[k] for k in sorted({len(files) * k // _PIECES for k in range(_PIECES)})]
        digest = hashlib.sha256(repr(sizes).encode())
        for path in read:
            digest.update(file_digest(path).encode())
        return [digest.hexdigest()]

    def stream(self, key: str, order: Any = None) -> Any:
        """An array whose rows are read a block at a time."""
        array = self._array(self.place(key))
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


class _Sliced:
    """A Zarr array as plain slices."""

    def __init__(self, array: zarr.Array) -> None:
        self._array, self.shape = array, array.shape
        self.chunks = getattr(array, "shards", None) or array.chunks
        self.dtype = np.dtype(str) if array.dtype.kind in "TU" else np.dtype(array.dtype)

    def __getitem__(self, part: tuple[slice, ...], /) -> Any:
        read = self._array[part]
        if self.dtype.kind == "U":
            return np.array(np.asarray(read).tolist(), dtype=str)
        return np.asarray(read).astype(self.dtype, copy=False)


def _arrays_in(folder: Path, above: str) -> Iterator[tuple[str, Path]]:
    """Arrays of a group and of the groups in it, by their paths."""
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if (inner / ".zarray").is_file() or _metadata(inner).get("node_type") == "array":
            yield f"{above}{inner.name}", inner
        elif is_zarr(inner):
            yield from _arrays_in(inner, f"{above}{inner.name}/")


def _metadata(folder: Path) -> Mapping[str, Any]:
    """Of an array or a group; empty where it is none, or cannot be read."""
    for name in _METADATA:
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, Mapping) else {}
    return {}


def _chunks(folder: Path) -> list[Path]:
    found = folder.rglob("*")
    return [p for p in found if not p.name.startswith(".") and p.name not in _METADATA and p.is_file()]


def _outermost(metadata: Mapping[str, Any]) -> str | None:
    """The codec that has the last word on the bytes of a chunk."""
    compressor = metadata.get("compressor")
    codecs = metadata.get("codecs")
    if isinstance(compressor, Mapping):
        return str(compressor.get("id"))
    return str(codecs[-1].get("name")) if isinstance(codecs, list) and codecs else None


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
