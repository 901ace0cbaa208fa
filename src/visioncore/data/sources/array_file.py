"""Files that hold named arrays, behind one protocol: a format of such files is one member of it."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Shaped

Order = tuple[int, ...]
"""The axes of an array in a file, in the order in which they are wanted; None: as they are."""


@dataclass(frozen=True)
class ArrayHeader:
    """Shape and type of one array in a file, known without reading it."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def turned(self, order: Order | None) -> "ArrayHeader":
        """Of the array with its axes in another order."""
        if order is None:
            return self
        return ArrayHeader(tuple(self.shape[axis] for axis in order), self.dtype)


class ArrayStream(Protocol):
    """Rows of one array: asking in order reads the file once, asking for an earlier row may start over."""

    header: ArrayHeader

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "..."]:
        """Rows [start, stop), in memory of their own.

        Raises:
            DataError: the file is damaged.
        """
        ...

    def close(self) -> None:
        """Close the file; the next `read` opens it again."""
        ...


class ArrayFile(Protocol):
    """The arrays of one file, by their keys. Each method raises `DataError` where the key is not there, or damaged."""

    where: str
    """Names the session and the file in every error."""
    counts_from: int
    """What numbers of bins start at: 0, or 1 where MATLAB wrote them."""

    def digest(self, key: str) -> list[Any]:
        """What identifies an array's content without reading all of it, as JSON."""
        ...

    def names(self) -> tuple[str, ...]:
        """All arrays that are there."""
        ...

    def header(self, key: str) -> ArrayHeader: ...

    def read(self, key: str) -> Shaped[np.ndarray, "..."]:
        """A whole array."""
        ...

    def stream(self, key: str, order: Order | None = None) -> ArrayStream:
        """An array, read along its first axis: the first in `order`, where that is given."""
        ...
