"""One array on disk: Zarr v3, chunked along time, where a changed, cut or lost byte never goes unnoticed.

Every chunk ends in its CRC-32C. What Zarr does not guard, the manifest does: it keeps the SHA-256 of the
array's metadata, and the size of every chunk, because Zarr takes a missing chunk for zeros.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Shaped
from zarr.codecs import Crc32cCodec, ZstdCodec

from visioncore.config import Config
from visioncore.errors import DataError

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
    folder: Path,
    shape: tuple[int, ...],
    dtype: np.dtype,
    dimension_names: tuple[str, ...],
    read_rows: Callable[[int, int], Shaped[np.ndarray, "..."]],
) -> ArrayManifest:
    """Write an array one chunk of about a megabyte at a time; `read_rows(start, stop)` is called in order."""
    row_bytes = max(1, int(np.prod(shape[1:])) * dtype.itemsize)
    chunk_rows = min(shape[0], max(16, _CHUNK_BYTES // row_bytes))
    array = zarr.create_array(
        store=str(folder),
        shape=shape,
        dtype=dtype,
        chunks=(chunk_rows, *shape[1:]),
        compressors=(ZstdCodec(level=1), Crc32cCodec()),
        fill_value=0,
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=dimension_names,
        config={"write_empty_chunks": True},
    )
    for start in range(0, shape[0], chunk_rows):
        stop = min(start + chunk_rows, shape[0])
        array[start:stop] = read_rows(start, stop)
    n_chunks = -(-shape[0] // chunk_rows)
    return ArrayManifest(
        shape=shape,
        dtype=str(dtype),
        chunk_rows=chunk_rows,
        metadata_sha256=file_sha256(folder / _METADATA),
        chunk_sizes=tuple(_chunk_path(folder, k, len(shape)).stat().st_size for k in range(n_chunks)),
    )


class StoredArray:
    """An array opened read-only; each process opens its own handle, so it may be pickled and forked."""

    def __init__(self, folder: Path, manifest: ArrayManifest, where: str) -> None:
        self._folder = folder
        self._manifest = manifest
        self._where = where
        self._handle: Any = None
        self._handle_pid = -1
        self._memory: Shaped[np.ndarray, "..."] | None = None
        self._verify_files()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, time first."""
        return self._manifest.shape

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
        for chunk in range(start // self._manifest.chunk_rows, -(-stop // self._manifest.chunk_rows)):
            self._verify_size(chunk)
        try:
            return np.asarray(self._opened()[start:stop])
        except (ValueError, RuntimeError, OSError, KeyError, TypeError) as error:
            first_chunk = _chunk_path(self._folder, start // self._manifest.chunk_rows, len(self.shape)).name
            raise DataError(
                f"{self._where}: bins {start} to {stop} (chunk {first_chunk} or following) are damaged on "
                f"disk ({error}); delete the store and prepare it again"
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_handle_pid": -1, "_memory": None}

    def _opened(self) -> Any:
        if self._handle_pid != os.getpid():
            self._handle = zarr.open_array(str(self._folder), mode="r")
            self._handle_pid = os.getpid()
        return self._handle

    def _verify_files(self) -> None:
        require_sha256(self._folder / _METADATA, self._manifest.metadata_sha256, self._where)
        for chunk in range(len(self._manifest.chunk_sizes)):
            self._verify_size(chunk)

    def _verify_size(self, chunk: int) -> None:
        path = _chunk_path(self._folder, chunk, len(self.shape))
        expected = self._manifest.chunk_sizes[chunk]
        try:
            found = path.stat().st_size
        except OSError as error:
            raise DataError(
                f"{self._where}: chunk {path} is missing ({error.strerror}); "
                "delete the store and prepare it again"
            ) from None
        if found != expected:
            raise DataError(
                f"{self._where}: chunk {path} has {found} bytes instead of {expected}; "
                "delete the store and prepare it again"
            )


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def require_sha256(path: Path, expected: str, where: str) -> None:
    """Refuse a file whose content is not what was written.

    Raises:
        DataError: the file is missing or changed.
    """
    try:
        found = file_sha256(path)
    except OSError as error:
        raise DataError(
            f"{where}: {path} cannot be read ({error.strerror}); delete the store and prepare it again"
        ) from None
    if found != expected:
        raise DataError(
            f"{where}: {path} was changed after it was written; delete the store and prepare it again"
        )


def _chunk_path(folder: Path, chunk: int, n_dimensions: int) -> Path:
    return folder / ".".join(["c", str(chunk), *["0"] * (n_dimensions - 1)])
