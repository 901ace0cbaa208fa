"""One array on disk: Zarr v3, chunked along time, where a changed, cut or lost byte never goes unnoticed.

Every chunk ends in its CRC-32C. What Zarr does not guard, the manifest does: it keeps the SHA-256 of the
array's metadata, and the size of every chunk, because Zarr takes a missing chunk for zeros.
"""

import contextlib
import copy
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from jaxtyping import Int64, Shaped
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.errors import ContainsArrayError, ContainsGroupError

from visioncore.config import Config
from visioncore.errors import DataError
from visioncore.remote import AnyPath, RemotePath

_CHUNK_BYTES = 2**20
_METADATA = "zarr.json"


class ArrayManifest(Config):
    """What an intact array on disk looks like."""

    shape: tuple[int, ...]
    dtype: str
    chunk_rows: int
    metadata_sha256: str
    chunk_sizes: tuple[int, ...]


def write_array(
    folder: AnyPath,
    shape: tuple[int, ...],
    dtype: np.dtype,
    dimension_names: tuple[str, ...],
    read_rows: Callable[[int, int], Shaped[np.ndarray, "..."]],
) -> ArrayManifest:
    """Write an array one chunk of about a megabyte at a time; `read_rows(start, stop)` is called in order."""
    row_bytes = max(1, int(np.prod(shape[1:])) * dtype.itemsize)
    chunk_rows = min(shape[0], max(16, _CHUNK_BYTES // row_bytes))
    chunks = (chunk_rows, *shape[1:])
    with _reached(folder):
        array = _made_array(folder, shape, dtype, chunks, dimension_names)
    for start in range(0, shape[0], chunk_rows):
        stop = min(start + chunk_rows, shape[0])
        rows = read_rows(start, stop)
        with _reached(folder):
            array[start:stop] = rows
    sizes = _chunk_sizes(folder, [_chunk_name(k, len(shape)) for k in range(-(-shape[0] // chunk_rows))])
    return ArrayManifest(
        shape=shape,
        dtype=str(dtype),
        chunk_rows=chunk_rows,
        metadata_sha256=file_sha256(folder / _METADATA),
        chunk_sizes=sizes,
    )


def _made_array(
    folder: AnyPath, shape: tuple[int, ...], dtype: np.dtype, chunks: tuple[int, ...], names: tuple[str, ...]
) -> Any:
    """A new array; behind a URL, one of the same form that an interrupted process began is gone on with."""
    store = zarr_store(folder, "w")
    try:
        return zarr.create_array(
            store=store,
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            compressors=(ZstdCodec(level=1), Crc32cCodec()),
            fill_value=0,
            chunk_key_encoding={"name": "default", "separator": "."},
            dimension_names=names,
            config={"write_empty_chunks": True},
        )
    except ContainsArrayError:
        begun = zarr.open_array(store, mode="r+", zarr_format=3, config={"write_empty_chunks": True})
        if (begun.shape, begun.dtype, begun.chunks) != (shape, dtype, chunks):
            raise DataError(
                f"{folder}: another version of VisionCore began this and did not finish; delete {folder.parent}"
            ) from None
        return begun


def make_group(folder: AnyPath) -> None:
    """The Zarr group that a session's arrays are in; behind a URL it may be there."""
    with _reached(folder), contextlib.suppress(ContainsGroupError):
        zarr.create_group(zarr_store(folder, "w"))


def _reached(folder: AnyPath) -> contextlib.AbstractContextManager[None]:
    return folder.reached() if isinstance(folder, RemotePath) else contextlib.nullcontext()


class StoredArray:
    """An array opened read-only; each process opens its own handle, so it may be pickled and forked."""

    def __init__(self, folder: AnyPath, manifest: ArrayManifest, where: str) -> None:
        self._folder = folder
        self._manifest = manifest
        self._where = where
        self._handle: Any = None
        self._handle_pid = -1
        self._memory: Shaped[np.ndarray, "..."] | None = None
        self._columns: Int64[np.ndarray, " columns"] | None = None
        self._verify_files()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, time first."""
        whole = self._manifest.shape
        return whole if self._columns is None else (whole[0], len(self._columns))

    def columns(self, places: Int64[np.ndarray, " columns"]) -> "StoredArray":
        """The same array (time, columns) with some of its columns alone, in this order."""
        other = copy.copy(self)
        other._columns = places if self._columns is None else self._columns[places]
        other._memory = None if self._memory is None else self._memory[:, places]
        return other

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return int(np.prod(self.shape)) * np.dtype(self._manifest.dtype).itemsize

    def load_into_memory(self) -> None:
        """Read everything once; later reads copy from memory."""
        if self._memory is None:
            self._memory = self.read(0, self.shape[0])

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "..."]:
        """Rows [start, stop), in memory of their own; touches only the chunks that hold them.

        Raises:
            IndexError: the rows are not all inside the array.
            DataError: a chunk is lost or damaged.
        """
        if not 0 <= start <= stop <= self.shape[0]:
            raise IndexError(f"{self._where}: rows {start} to {stop} of {self.shape[0]}")
        if self._memory is not None:
            return self._memory[start:stop].copy()
        if start == stop:
            return np.empty((0, *self.shape[1:]), self._manifest.dtype)
        if isinstance(self._folder, Path):
            for chunk in range(start // self._manifest.chunk_rows, -(-stop // self._manifest.chunk_rows)):
                self._verify_size(self._folder, chunk)
        try:
            rows = np.asarray(self._opened()[start:stop])
            return rows if self._columns is None else rows[:, self._columns]
        except DataError:
            raise
        except Exception as error:
            first = _chunk_name(start // self._manifest.chunk_rows, len(self.shape))
            what = f"{self._where}: bins {start} to {stop} (chunk {first} or following)"
            if isinstance(error, ValueError | RuntimeError | KeyError | TypeError) or (
                isinstance(error, OSError) and isinstance(self._folder, Path)
            ):
                raise DataError(
                    f"{what} are damaged on disk ({error}); delete the store and prepare it again"
                ) from None
            if isinstance(self._folder, Path):
                raise
            # Each file system of fsspec has its own errors.
            raise DataError(
                f"{what} cannot be read from {self._folder} ({type(error).__name__}: {error}); check the network; "
                "where a chunk is missing, delete the store and prepare it again"
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_handle_pid": -1, "_memory": None}

    def _opened(self) -> Any:
        if self._handle_pid != os.getpid():
            self._handle = zarr.open_array(zarr_store(self._folder, "r"), mode="r", zarr_format=3)
            self._handle_pid = os.getpid()
        return self._handle

    def _verify_files(self) -> None:
        require_sha256(self._folder / _METADATA, self._manifest.metadata_sha256, self._where)
        if isinstance(self._folder, Path):
            for chunk in range(len(self._manifest.chunk_sizes)):
                self._verify_size(self._folder, chunk)
            return
        found = self._folder.sizes()
        for chunk, expected in enumerate(self._manifest.chunk_sizes):
            name = _chunk_name(chunk, len(self.shape))
            if name not in found:
                raise self._missing(self._folder / name, "no such file")
            if (size := found[name]) is not None and size != expected:
                raise self._cut(self._folder / name, size, expected)

    def _verify_size(self, folder: Path, chunk: int) -> None:
        path = folder / _chunk_name(chunk, len(self.shape))
        expected = self._manifest.chunk_sizes[chunk]
        try:
            found = path.stat().st_size
        except OSError as error:
            raise self._missing(path, error.strerror) from None
        if found != expected:
            raise self._cut(path, found, expected)

    def _missing(self, path: AnyPath, why: str | None) -> DataError:
        return DataError(
            f"{self._where}: chunk {path} is missing ({why}); delete the store and prepare it again"
        )

    def _cut(self, path: AnyPath, found: int, expected: int) -> DataError:
        return DataError(
            f"{self._where}: chunk {path} has {found} bytes instead of {expected}; "
            "delete the store and prepare it again"
        )


def zarr_store(folder: AnyPath, mode: Literal["r", "w"]) -> Any:
    """What Zarr takes for a folder."""
    return folder.zarr_store(mode) if isinstance(folder, RemotePath) else str(folder)


def file_sha256(path: AnyPath) -> str:
    """Hex digest of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def require_sha256(path: AnyPath, expected: str, where: str) -> None:
    """Refuse a file whose content is not what was written.

    Raises:
        DataError: the file is missing or changed.
    """
    try:
        found = file_sha256(path)
    except OSError as error:
        raise DataError(
            f"{where}: {path} cannot be read ({error.strerror or error}); delete the store and prepare it again"
        ) from None
    if found != expected:
        raise DataError(
            f"{where}: {path} was changed after it was written; delete the store and prepare it again"
        )


def _chunk_sizes(folder: AnyPath, names: Sequence[str]) -> tuple[int, ...]:
    """Of what was just written."""
    if isinstance(folder, Path):
        return tuple((folder / name).stat().st_size for name in names)
    sizes = folder.sizes()
    return tuple(
        size if (size := sizes.get(name)) is not None else len((folder / name).read_bytes()) for name in names
    )


def _chunk_name(chunk: int, n_dimensions: int) -> str:
    return ".".join(["c", str(chunk), *["0"] * (n_dimensions - 1)])
