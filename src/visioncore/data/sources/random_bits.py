"""The random bits of checkerboards, as the programs drew them that showed them: by name, seed and number of the draw.

Bits are drawn a block at a time. A block's start is found again without drawing what lies before it: by a kept state
(`ran1`, `mt19937`), or by a jump (`pcg64`). Blocks that were not reached yet are drawn in order. Cost of 25 minutes at
60 Hz of 36 x 64 (207 million draws), once, on one core: `ran1` 12 s, for each draw depends on the one before, `mt19937`
and `pcg64` 2 s.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64, UInt8

GeneratorName = Literal["ran1", "mt19937", "pcg64"]
DrawName = Literal["uniform", "integers"]

_BLOCK = 2**20
_BLOCKS_KEPT = 8
_MODULUS, _FACTOR = 2**31 - 1, 16807
_ENTRIES, _WARM_UP = 32, 8
_MATLAB_ZERO = 5489


class RandomBits(ABC):
    """A sequence of bits; a draw above one half is 1."""

    def __init__(self) -> None:
        self._states: list[Any] = [self._first_state()]
        self._blocks: OrderedDict[int, UInt8[np.ndarray, " bytes"]] = OrderedDict()

    def read(self, start: int, stop: int) -> UInt8[np.ndarray, " draws"]:
        """Draws [start, stop), 0 or 1."""
        parts = []
        for block in range(start // _BLOCK, (stop - 1) // _BLOCK + 1):
            first, last = max(start - block * _BLOCK, 0), min(stop - block * _BLOCK, _BLOCK)
            whole = self._block(block)[first // 8 : -(-last // 8)]
            parts.append(np.unpackbits(whole)[first % 8 : first % 8 + last - first])
        return np.concatenate(parts) if parts else np.zeros(0, np.uint8)

    def _block(self, number: int) -> UInt8[np.ndarray, " bytes"]:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        while len(self._states) <= number:
            self._draw(len(self._states) - 1)
        return self._draw(number)

    def _draw(self, number: int) -> UInt8[np.ndarray, " bytes"]:
        bits, state = self._drawn(self._states[number], number, _BLOCK)
        if len(self._states) == number + 1:
            self._states.append(state)
        packed = np.packbits(bits)
        self._blocks[number] = packed
        if len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return packed

    @abstractmethod
    def _first_state(self) -> Any: ...

    @abstractmethod
    def _drawn(self, state: Any, number: int, n: int) -> tuple[UInt8[np.ndarray, " draws"], Any]:
        """`n` bits from the state on, and the state after them."""


class Ran1(RandomBits):
    """`ran1` of Numerical Recipes: x ← 16807 x mod (2³¹ − 1), shuffled by a table of 32 (Bays and Durham).

    A draw's five highest bits choose the entry that is drawn next, so that these alone are enough to follow the table,
    and the highest of them is the bit that is wanted.

    Args:
        seed: as given to the program, with either sign; 0 counts as 1.
    """

    def __init__(self, seed: int) -> None:
        self._seed = max(abs(seed), 1)
        super().__init__()

    def _first_state(self) -> tuple[int, tuple[int, ...], int]:
        x, table = self._seed % _MODULUS, [0] * _ENTRIES
        for entry in range(_ENTRIES + _WARM_UP - 1, -1, -1):
            x = x * _FACTOR % _MODULUS
            if entry < _ENTRIES:
                table[entry] = x >> 26
        return x, tuple(table), table[0]

    def _drawn(self, state: Any, number: int, n: int) -> tuple[UInt8[np.ndarray, " draws"], Any]:
        x, table, entry = state
        values = _lehmer(x, n)
        held = list(table)
        drawn = _shuffled((values >> 26).astype(np.uint8).tobytes(), held, entry)
        fives = np.fromiter(drawn, np.uint8, n)
        return fives >> 4, (int(values[-1]), tuple(held), int(fives[-1]))


class Twister(RandomBits):
    """The Mersenne twister as MATLAB seeds and draws from it (`rng(seed, 'twister')`): `rand > 0.5`, or `randi(2)`.

    Each takes 53 bits of two words (`genrand_res53`), as NumPy's `RandomState(seed).random_sample()` does.

    Args:
        seed: 0 is MATLAB's default seed, 5489.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed or _MATLAB_ZERO
        super().__init__()

    def _first_state(self) -> Any:
        return np.random.RandomState(self._seed).get_state()

    def _drawn(self, state: Any, number: int, n: int) -> tuple[UInt8[np.ndarray, " draws"], Any]:
        twister = np.random.RandomState()
        twister.set_state(state)
        return (twister.random_sample(n) > 0.5).astype(np.uint8), twister.get_state()


class Pcg64(RandomBits):
    """NumPy's `default_rng(seed)`: `random() > 0.5`, or `integers(2)`, which takes half a word for each draw."""

    def __init__(self, seed: int, draw: DrawName) -> None:
        self._seed, self._draw_name = seed, draw
        super().__init__()

    def _first_state(self) -> None:
        return None

    def _block(self, number: int) -> UInt8[np.ndarray, " bytes"]:
        self._states += [None] * (number + 2 - len(self._states))  # a jump needs none of those before
        return super()._block(number)

    def _drawn(self, state: Any, number: int, n: int) -> tuple[UInt8[np.ndarray, " draws"], Any]:
        generator = np.random.PCG64(self._seed)
        words = n if self._draw_name == "uniform" else n // 2
        generator.advance(number * words)
        raw = generator.random_raw(words)
        if self._draw_name == "uniform":
            return ((raw >> np.uint64(11)) > np.uint64(2**52)).astype(np.uint8), None
        halves = np.stack(((raw >> np.uint64(31)) & np.uint64(1), raw >> np.uint64(63)), axis=1)
        return halves.astype(np.uint8).reshape(-1), None


def _lehmer(x: int, n: int) -> Int64[np.ndarray, " draws"]:
    """The `n` values after x of the minimal standard generator: a row of them, then rows that follow at a distance."""
    row = 2**10
    first = np.empty(row, np.int64)
    for k in range(row):
        x = x * _FACTOR % _MODULUS
        first[k] = x
    leap = pow(_FACTOR, row, _MODULUS)
    rows = -(-n // row)
    factors = np.empty(rows, np.int64)
    factor = 1
    for k in range(rows):
        factors[k] = factor
        factor = factor * leap % _MODULUS
    return (factors[:, None] * first[None] % _MODULUS).reshape(-1)[:n]


def _shuffled(values: bytes, table: list[int], entry: int) -> Iterator[int]:
    """The shuffle, a draw at a time: the table is changed in place."""
    for value in values:
        # The draw is the entry that the last draw chose, and its place is filled anew.
        table[entry], entry = value, table[entry]
        yield entry
