"""NPZ files read member by member, never trusting a byte: a damaged file is a `DataError`, not a traceback.

A video is read as a stream, so that an array larger than memory can be prepared.
"""

import difflib
import io
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from visioncore.data.sources.array_file import ArrayHeader, Order
from visioncore.errors import DataError

_DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,  # an encrypted member; includes NotImplementedError, an unknown compression
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    UserWarning,  # numpy on a header that it has to guess at
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


@contextmanager
def _python_2_is_fine() -> Iterator[None]:
    """Any warning of NumPy's is a damage, but that a header was written by Python 2 (its shapes read `2880L`)."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*required additional header parsing.*", UserWarning)
        yield


@runtime_checkable
class _ByteStream(Protocol):
    """A member of the archive, opened."""

    def read(self, size: int = -1, /) -> bytes: ...

    def tell(self) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class MemberHeader(ArrayHeader):
    """Of a member of the archive."""

    fortran_order: bool


class NpzFile:
    """An `ArrayFile` over an NPZ file.

    Args:
        session_id: of the session that errors name; None where it is not of one.
    """

    counts_from = 0

    def __init__(self, path: Path, session_id: str | None) -> None:
        self.path = path
        self.where = str(path) if session_id is None else f"session '{session_id}' ({path.name})"
        try:
            with zipfile.ZipFile(path) as archive:
                members = [i for i in archive.infolist() if i.filename.endswith(".npy")]
        except _DAMAGE as error:
            raise DataError(
                f"{self.where}: is not an intact NPZ file ({error}); write it with numpy.savez"
            ) from None
        self._members = {member.filename.removesuffix(".npy"): member for member in members}

    def names(self) -> tuple[str, ...]:
        """All arrays that are there."""
        return tuple(self._members)

    def digest(self, key: str) -> list[Any]:
        """What identifies an array's content without reading it: the file's own checksum and size."""
        member = self._member(key)
        return [member.CRC, member.file_size]

    def header(self, key: str) -> MemberHeader:
        """Shape and type of an array.

        Raises:
            DataError: no such key, damaged, or an array of Python objects.
        """
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._member(key)) as stream:
                return self._read_header(stream, key)
        except _DAMAGE as error:
            raise self._damaged(key, error) from None

    def read(self, key: str) -> Shaped[np.ndarray, "..."]:
        """A whole array, after its checksum has been verified.

        Raises:
            DataError: no such key, damaged, or an array of Python objects.
        """
        self.header(key)
        try:
            with zipfile.ZipFile(self.path) as archive:
                content = archive.read(self._member(key))
            with _python_2_is_fine():
                return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        except _DAMAGE as error:
            raise self._damaged(key, error) from None

    def stream(self, key: str, order: Order | None = None) -> "NpzStream":
        """An array whose rows are read in order, a few at a time; one whose axes are turned is read whole."""
        return NpzStream(self, key, order)

    def _member(self, key: str) -> zipfile.ZipInfo:
        if key not in self._members:
            near = difflib.get_close_matches(key, list(self._members), 1, cutoff=0.4)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            held = ", ".join(sorted(self._members)) or "no arrays"
            raise DataError(f"{self.where}: has no key '{key}'{hint} The file holds: {held}")
        return self._members[key]

    def _read_header(self, stream: _ByteStream, key: str) -> MemberHeader:
        with _python_2_is_fine():
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
            else:
                shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
        if dtype.hasobject:
            raise DataError(
                f"{self.where}, key '{key}': holds Python objects, which are not read; "
                "save an array of numbers or of strings"
            )
        stored = self._member(key).file_size - stream.tell()
        expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if stored != expected:
            raise DataError(
                f"{self.where}, key '{key}': is damaged: {stored} bytes where {shape} {dtype} is {expected}"
            )
        return MemberHeader(shape, dtype, fortran_order)

    def _damaged(self, key: str, error: BaseException) -> DataError:
        if isinstance(error, DataError):
            return error
        return DataError(
            f"{self.where}, key '{key}': is damaged and cannot be read ({type(error).__name__}: {error}); "
            "write the file again"
        )


class NpzStream:
    """Rows of one array: asking in order reads the file once, asking for an earlier row starts over."""

    def __init__(self, file: NpzFile, key: str, order: Order | None = None) -> None:
        self._file = file
        self._key = key
        header = file.header(key)
        self.header: ArrayHeader = header.turned(order)
        self._whole = file.read(key) if header.fortran_order or order else None
        if order and self._whole is not None:
            self._whole = self._whole.transpose(order)
        self._stream: _ByteStream | None = None
        self._next_row = 0

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "..."]:
        """Rows [start, stop), in memory of their own.

        Raises:
            DataError: the file is damaged.
        """
        if self._whole is not None:
            return self._whole[start:stop].copy()
        row_shape = self.header.shape[1:]
        row_bytes = int(np.prod(row_shape)) * self.header.dtype.itemsize
        try:
            stream = self._at(start, row_bytes)
            content = stream.read((stop - start) * row_bytes)
            self._next_row = stop
            rows = np.frombuffer(content, self.header.dtype).reshape(stop - start, *row_shape)
        except _DAMAGE as error:
            raise self._file._damaged(self._key, error) from None
        return rows.copy()

    def _at(self, start: int, row_bytes: int) -> _ByteStream:
        if self._stream is None or start < self._next_row:
            self.close()
            # The archive is closed with the stream: ZipFile keeps the file open while a member is.
            with zipfile.ZipFile(self._file.path) as archive:
                self._stream = archive.open(self._file._member(self._key))
            self._file._read_header(self._stream, self._key)
            self._next_row = 0
        left = (start - self._next_row) * row_bytes
        while left > 0:
            left -= len(self._stream.read(min(left, 2**20))) or left
        return self._stream

    def close(self) -> None:
        """Close the file; the next `read` opens it again."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
