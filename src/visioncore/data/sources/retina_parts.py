"""What layouts of retina recordings have in common: films one after the other, and responses frame by frame."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from visioncore.data.sources.missing import without_codes
from visioncore.errors import DataError
from visioncore.recording import Split

BREAK_S = 10.0
"""Between films, of whose times nothing is known but that one did not run into the other."""


class RowsOf(Protocol):
    """Rows [start, stop) of something in a file."""

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "..."]: ...


@dataclass(frozen=True)
class InMemory:
    """Rows of an array."""

    array: Shaped[np.ndarray, "time ..."]

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "..."]:
        """Rows [start, stop)."""
        return self.array[start:stop]


class Joined:
    """Rows of several arrays, one array after the other; read by slices, with NaN in the place of `codes`."""

    def __init__(
        self,
        parts: Sequence[tuple[RowsOf, int]],
        row: tuple[int, ...],
        dtype: np.dtype,
        codes: tuple[float, ...] = (),
    ) -> None:
        self._codes = codes
        self._parts = [part for part, _ in parts]
        self._edges = np.concatenate([[0], np.cumsum([n for _, n in parts])]).astype(int)
        self.shape, self.dtype = (int(self._edges[-1]), *row), dtype

    def __getitem__(self, rows: slice) -> Shaped[np.ndarray, "time ..."]:
        start, stop, _ = rows.indices(self.shape[0])
        read = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        for part, first, last in zip(self._parts, self._edges[:-1], self._edges[1:], strict=True):
            low, high = max(start, int(first)), min(stop, int(last))
            if low < high:
                read[low - start : high - start] = part.read(low - int(first), high - int(first))
        return without_codes(read, self._codes)


@dataclass(frozen=True)
class Films:
    """`Pictures` of films of (time, channels, height, width) that are read in order."""

    rows: Joined

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, channels, height, width = self.rows.shape
        return channels, height, width

    @property
    def dtype(self) -> np.dtype:
        """uint8 or a float."""
        return self.rows.dtype

    def read(self, numbers: Int64[np.ndarray, " some"]) -> Shaped[np.ndarray, "some channels height width"]:
        """Pictures by number; those of one call should lie together."""
        if not len(numbers):
            return np.zeros((0, *self.shape), self.dtype)
        low = int(numbers.min())
        return self.rows[low : int(numbers.max()) + 1][numbers - low]


@dataclass(frozen=True)
class Film:
    """One showing of a film."""

    name: str
    times_s: Float64[np.ndarray, " frames"]
    interval_s: float
    split: Split | None
    stimulus_id: str | None

    @property
    def samples_s(self) -> Float64[np.ndarray, " frames"]:
        """The middle of each frame, where what was measured during it stands."""
        return self.times_s + self.interval_s / 2


def events_of(
    counts: Sequence[tuple[Film, Shaped[np.ndarray, "time units"]]], where: str
) -> tuple[Float64[np.ndarray, " spikes"], Int64[np.ndarray, " spikes"]]:
    """Spikes of counts that somebody has binned by frames: each in the middle of its frame; times and units.

    Raises:
        DataError: a count is negative, no whole number or not finite.
    """
    times: list[np.ndarray] = []
    units: list[np.ndarray] = []
    for film, values in counts:
        if not np.isfinite(values).all():
            raise DataError(f"{where}: counts of '{film.name}' hold NaN; expected whole numbers")
        wrong = (values < 0) | (values != np.floor(values))
        if wrong.any():
            frame, unit = (int(axis[0]) for axis in np.nonzero(wrong))
            raise DataError(
                f"{where}: the count of unit {unit} in frame {frame} of '{film.name}' is {values[frame, unit]}; counts "
                "are whole numbers from 0 (a mean over repeats is not one, nor is a smoothed rate: response_kind: "
                "trace)"
            )
        frames, columns = np.nonzero(values)
        n = values[frames, columns].astype(np.int64)
        times.append(np.repeat(film.samples_s[frames], n))
        units.append(np.repeat(columns, n))
    return np.concatenate(times), np.concatenate(units).astype(np.int64)


def in_natural_order(names: Sequence[str]) -> list[str]:
    """cell2 before cell10."""
    return sorted(
        names, key=lambda name: [(int(p) if p.isdigit() else -1, p) for p in re.split(r"(\d+)", name)]
    )


def plain(value: Any) -> Any:
    """A value of a file as JSON has it; NaN is None."""
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
