"""Checkerboards that no file holds: a named generator and its seed say what was shown, frame by frame."""

from typing import Literal, Self

import numpy as np
from jaxtyping import Int64, UInt8
from pydantic import PositiveInt, model_validator

from visioncore.config import Config
from visioncore.data.sources.random_bits import (
    DrawName,
    GeneratorName,
    Pcg64,
    Ran1,
    RandomBits,
    Twister,
)

Order = Literal["rows", "columns"]

_SEEDS: dict[str, tuple[int, int]] = {
    "ran1": (-(2**31) + 2, 2**31 - 2),
    "mt19937": (0, 2**32 - 1),
    "pcg64": (0, 2**128 - 1),
}


class CheckerboardConfig(Config):
    """A film of black (0) and white (255) stixels, one draw for each, frame after frame.

    A frame has one pixel for each stixel: `stixel_px` says how large these are on the display, so that degrees and µm
    per pixel, which are the display's, become those of a stixel.
    """

    name: GeneratorName
    seed: int
    rows: PositiveInt
    columns: PositiveInt
    order: Order = "rows"
    """How a frame is filled: row after row, or column after column (as `rand(rows, columns)` is in MATLAB)."""
    draw: DrawName = "uniform"
    """White where a uniform draw is above one half, or (`pcg64`) where `integers(2)` is 1."""
    inverted: bool = False
    """Whether these are black instead."""
    stixel_px: PositiveInt = 1
    refreshes_per_frame: PositiveInt = 1
    """Refreshes of the display for which a frame stays."""

    @model_validator(mode="after")
    def _generator_has_such_seeds_and_draws(self) -> Self:
        low, high = _SEEDS[self.name]
        if not low <= self.seed <= high:
            raise ValueError(f"{self.name} has seeds from {low} to {high}; found {self.seed}")
        if self.draw == "integers" and self.name != "pcg64":
            raise ValueError(f"{self.name} has no draw 'integers', which is NumPy's; leave `draw` out")
        return self

    def build(self) -> "Checkerboard":
        """The film."""
        return Checkerboard(self)

    def bits(self) -> RandomBits:
        """The generator, at its start."""
        if self.name == "ran1":
            return Ran1(self.seed)
        return Twister(self.seed) if self.name == "mt19937" else Pcg64(self.seed, self.draw)


class Checkerboard:
    """`Pictures` without an end: any frame, drawn when it is asked for."""

    def __init__(self, config: CheckerboardConfig) -> None:
        self._config, self._bits = config, config.bits()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width in stixels."""
        return 1, self._config.rows, self._config.columns

    @property
    def dtype(self) -> np.dtype:
        """uint8."""
        return np.dtype(np.uint8)

    def read(self, numbers: Int64[np.ndarray, " some"]) -> UInt8[np.ndarray, "some 1 rows columns"]:
        """Frames by number, from 0."""
        rows, columns = self._config.rows, self._config.columns
        wanted, at = np.unique(numbers, return_inverse=True)
        if not len(wanted):
            return np.zeros((0, 1, rows, columns), np.uint8)
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1)
        n = rows * columns
        bits = np.concatenate([self._bits.read(int(run[0]) * n, (int(run[-1]) + 1) * n) for run in runs])
        if self._config.order == "rows":
            frames = bits.reshape(-1, 1, rows, columns)
        else:
            frames = bits.reshape(-1, 1, columns, rows).swapaxes(-1, -2)
        return ((frames ^ 1 if self._config.inverted else frames) * np.uint8(255))[at]
