"""Arrays whose axes stand in another order than the `arrays` format wants them."""

from typing import Any

import numpy as np
from jaxtyping import Shaped

from visioncore.data.sources.array_file import ArrayFile, ArrayHeader, ArrayStream, Order
from visioncore.data.sources.arrays_config import AXES, ArraysSessionConfig
from visioncore.errors import DataError


class TurnedFile:
    """An `ArrayFile` that turns the axes of another as a session's `axes` say."""

    def __init__(self, file: ArrayFile, session: ArraysSessionConfig) -> None:
        self._file = file
        self.where, self.counts_from = file.where, file.counts_from
        self._letters: dict[str, tuple[str, str]] = {}
        for signal, letters in session.axes.items():
            keys = session.masks if signal == "valid" else (getattr(session, signal),)
            if not keys or keys[0] is None:
                raise DataError(
                    f"{self.where}: has axes of {signal} but no {signal}; name the array that holds it"
                )
            self._letters.update({key: (signal, letters) for key in keys})

    def digest(self, key: str) -> list[Any]:
        """What identifies an array's content."""
        return self._file.digest(key)

    def names(self) -> tuple[str, ...]:
        """All arrays that are there."""
        return self._file.names()

    def header(self, key: str) -> ArrayHeader:
        """Shape, with axes as they are wanted, and type."""
        return self._file.header(key).turned(self._order(key))

    def read(self, key: str) -> Shaped[np.ndarray, "..."]:
        """A whole array."""
        array, order = self._file.read(key), self._order(key)
        return array if order is None else array.transpose(order)

    def stream(self, key: str, order: Order | None = None) -> ArrayStream:
        """An array, read along its first axis as it is wanted."""
        assert order is None
        return self._file.stream(key, self._order(key))

    def _order(self, key: str) -> Order | None:
        if key not in self._letters:
            return None
        signal, letters = self._letters[key]
        shape = self._file.header(key).shape
        if signal == "valid" and len(shape) == 1:
            return None
        if len(shape) != len(letters):
            raise DataError(
                f"{self.where}, key '{key}': has shape {shape}, {len(shape)} axes, and axes.{signal} names "
                f"{len(letters)}: {letters}"
            )
        wanted = next(order for order in AXES[signal] if len(order) == len(letters))
        return tuple(letters.index(axis) for axis in wanted)
