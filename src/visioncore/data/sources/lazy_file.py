"""What files have in common whose arrays are read in slices: keys, errors, and rows a block at a time."""

import difflib
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Shaped

from visioncore.data.sources.array_file import ArrayHeader, ArrayStream, Order
from visioncore.errors import DataError

DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)
_BLOCK_BYTES = 2**25
"""Read at once, rounded to the chunks of the file."""
_MOST_BYTES = 2**27
"""Likewise where chunks are so long that each would be decompressed many times."""


class Lazy(Protocol):
    """An array in a file, read by slices."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def chunks(self) -> tuple[int, ...] | None: ...

    def __getitem__(self, part: tuple[slice, ...], /) -> Any: ...


@dataclass
class Open:
    """An array that is open, and how to let go of its file."""

    array: Lazy
    close: Callable[[], None]


class LazyFile(ABC):
    """An `ArrayFile` whose arrays are read in slices. A format provides `find`, `open` and `digest`."""

    where: str
    counts_from = 0

    @abstractmethod
    def find(self) -> Iterable[str]:
        """Keys of all arrays."""

    @abstractmethod
    def open(self, key: str) -> Open:
        """One of them."""

    @abstractmethod
    def digest(self, key: str) -> list[Any]:
        """What identifies an array's content without reading all of it, as JSON."""

    def names(self) -> tuple[str, ...]:
        """All arrays that are there."""
        return tuple(self.find())

    def place(self, key: str) -> str:
        """The key as the file spells it: a path, of which the end is enough where only one array has it.

        Raises:
            DataError: no such key, or several.
        """
        held = self.names()
        if key in held:
            return key
        ends = [name for name in held if name.endswith(f"/{key}")]
        if len(ends) == 1:
            return ends[0]
        if ends:
            raise DataError(
                f"{self.where}: key '{key}' stands for {len(ends)} arrays: {', '.join(ends)}; name one"
            )
        tails = {name.rpartition("/")[2]: name for name in held}
        near = difflib.get_close_matches(key, [*held, *tails], 1, cutoff=0.4)
        hint = f"; did you mean '{tails.get(near[0], near[0])}'?" if near else ""
        shown = ", ".join(sorted(held)[:50]) or "no arrays"
        raise DataError(f"{self.where}: has no key '{key}'{hint} The file holds: {shown}")

    def header(self, key: str) -> ArrayHeader:
        """Shape and type of an array.

        Raises:
            DataError: no such key, damaged, or no array of numbers or strings.
        """
        with self.errors(key), self._opened(key) as array:
            return ArrayHeader(tuple(array.shape), array.dtype)

    def read(self, key: str) -> Shaped[np.ndarray, "..."]:
        """A whole array.

        Raises:
            DataError: no such key, damaged, or no array of numbers or strings.
        """
        with self.errors(key), self._opened(key) as array:
            return np.asarray(array[(slice(None),) * len(array.shape)])

    def stream(self, key: str, order: Order | None = None) -> ArrayStream:
        """An array whose rows are read a block at a time."""
        return LazyStream(self, key, order)

    @contextmanager
    def errors(self, key: str) -> Iterator[None]:
        """Anything that goes wrong inside is a damage of the array."""
        try:
            yield
        except DataError:
            raise
        except DAMAGE as error:
            told = " ".join(str(error).split())
            raise DataError(
                f"{self.where}, key '{key}': is damaged and cannot be read ({type(error).__name__}: {told}); "
                "write the file again"
            ) from None

    @contextmanager
    def _opened(self, key: str) -> Iterator[Lazy]:
        held = self.open(self.place(key))
        try:
            yield held.array
        finally:
            held.close()


class LazyStream:
    """Rows of one array. A block of them is kept, so that no chunk is decompressed for every few rows."""

    def __init__(self, file: LazyFile, key: str, order: Order | None) -> None:
        self._file, self._key = file, key
        self._order = order
        self.header = file.header(key).turned(order)
        self._open: Open | None = None
        self._start = 0
        self._block: Shaped[np.ndarray, "..."] | None = None

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "..."]:
        """Rows [start, stop), in memory of their own.

        Raises:
            DataError: the file is damaged.
        """
        rows = np.empty((stop - start, *self.header.shape[1:]), self.header.dtype)
        at = start
        while at < stop:
            block = self._block
            if block is None or not self._start <= at < self._start + len(block):
                block = self._read_block(at)
            upto = min(stop, self._start + len(block))
            rows[at - start : upto - start] = block[at - self._start : upto - self._start]
            at = upto
        return rows

    def close(self) -> None:
        """Close the file; the next `read` opens it again."""
        self._block = None
        if self._open is not None:
            self._open.close()
            self._open = None

    def _read_block(self, at: int) -> Shaped[np.ndarray, "..."]:
        with self._file.errors(self._key):
            if self._open is None:
                self._open = self._file.open(self._file.place(self._key))
            array = self._open.array
            order = self._order or tuple(range(len(array.shape)))
            n_rows = self._block_rows(array, order[0])
            start = at // n_rows * n_rows
            part = [slice(None)] * len(order)
            part[order[0]] = slice(start, min(start + n_rows, self.header.shape[0]))
            self._block = None
            block = np.asarray(array[tuple(part)]).transpose(order)
            self._start, self._block = start, block
            return block

    def _block_rows(self, array: Lazy, axis: int) -> int:
        row_bytes = max(1, int(np.prod(self.header.shape[1:])) * self.header.dtype.itemsize)
        fit = max(1, _BLOCK_BYTES // row_bytes)
        chunk = array.chunks[axis] if array.chunks else 1
        if chunk > fit:
            return max(1, min(chunk, _MOST_BYTES // row_bytes))
        return fit // chunk * chunk
