"""The named generators against published outputs, and any frame against the film drawn from its start."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visioncore.data.sources import random_bits
from visioncore.data.sources.checkerboard import CheckerboardConfig
from visioncore.data.sources.random_bits import Pcg64, Ran1, RandomBits, Twister, _lehmer
from visioncore.errors import ConfigError

IDL_RANDOMU_1 = (
    0.415999,
    0.0919649,
    0.756410,
    0.529700,
    0.930436,
    0.383502,
    0.653919,
    0.0668422,
    0.722660,
    0.671149,
)
"""IDL's `randomu` with seed 1, printed by its users: until IDL 8.2.2 it was `ran1` of Numerical Recipes."""
MATLAB_DEFAULT = (0.8147, 0.9058, 0.1270, 0.9134, 0.6324, 0.0975, 0.2785, 0.5469, 0.9575, 0.9649)
"""`rng('default'); rand(1, 10)` in MATLAB's documentation."""
CPP_MT19937_10000TH = 4123659995
"""Of a default-constructed std::mt19937, as the C++ standard requires [rand.predef]."""
PARK_AND_MILLER_10000TH = 1043618065
"""The 10,001st value from 1: Park and Miller, Communications of the ACM 31 (1988), page 1195."""
NUMPY_PCG64_DEADBEAF = (0x60D24054E17A0698, 0xD5E79D89856E4F12, 0xD254972FE64BD782, 0xF1E3072A53C72571)
"""numpy/random/tests/data/pcg64-testset-1.csv, seed 0xdeadbeaf."""


def ran1(seed: int, n: int) -> list[int]:
    """Numerical Recipes in C, second edition, 7.1, written out again."""
    x, table = seed, [0] * 32
    for j in range(39, -1, -1):
        k = x // 127773
        x = 16807 * (x - k * 127773) - 2836 * k
        x += 2147483647 if x < 0 else 0
        if j < 32:
            table[j] = x
    y, drawn = table[0], []
    for _ in range(n):
        k = x // 127773
        x = 16807 * (x - k * 127773) - 2836 * k
        x += 2147483647 if x < 0 else 0
        j = y // (1 + 2147483646 // 32)
        y, table[j] = table[j], x
        drawn.append(y)
    return drawn


def test_ran1_draws_what_idl_printed() -> None:
    assert np.allclose(np.array(ran1(1, 10)) / 2147483647, IDL_RANDOMU_1, atol=1e-6)
    assert (np.array(IDL_RANDOMU_1) > 0.5).astype(int).tolist() == Ran1(1).read(0, 10).tolist()


@pytest.mark.parametrize("seed", [1, -1, 0, 10000, -2147483646, 123456789])
def test_ran1_is_the_one_of_the_book_for_long(seed: int) -> None:
    n = 40_000
    expected = np.array(ran1(max(abs(seed), 1), n)) >= 2**30
    assert np.array_equal(Ran1(seed).read(0, n), expected)


def test_the_minimal_standard_is_the_minimal_standard() -> None:
    assert _lehmer(1, 10_000)[-1] == PARK_AND_MILLER_10000TH


def test_the_twister_is_matlabs() -> None:
    assert np.array_equal(Twister(0).read(0, 10), np.array(MATLAB_DEFAULT) > 0.5)
    twister = np.random.RandomState(Twister(0)._seed)
    assert twister.randint(0, 2**32, 10_000, dtype=np.uint32)[-1] == CPP_MT19937_10000TH
    assert np.allclose(np.random.RandomState(5489).random_sample(10), MATLAB_DEFAULT, atol=5e-5)
    assert np.array_equal(Twister(77).read(0, 5000), np.random.RandomState(77).random_sample(5000) > 0.5)
    assert np.array_equal(
        Twister(77).read(0, 5000), np.floor(np.random.RandomState(77).random_sample(5000) * 2)
    )


def test_pcg64_is_numpys() -> None:
    assert tuple(np.random.PCG64(0xDEADBEAF).random_raw(4).tolist()) == NUMPY_PCG64_DEADBEAF
    expected = [raw >> 63 for raw in NUMPY_PCG64_DEADBEAF]
    assert Pcg64(0xDEADBEAF, "uniform").read(0, 4).tolist() == expected
    n = 2**21 + 11
    assert np.array_equal(
        Pcg64(5, "uniform").read(n - 999, n), np.random.default_rng(5).random(n)[-999:] > 0.5
    )
    integers = np.random.default_rng(5).integers(2, size=n)
    assert np.array_equal(Pcg64(5, "integers").read(3, n), integers[3:])


@pytest.mark.parametrize("make", [lambda: Ran1(3), lambda: Twister(3), lambda: Pcg64(3, "integers")])
def test_any_stretch_is_the_same_whenever_it_is_read(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_bits, "_BLOCK", 2**12)
    whole: RandomBits = make()
    film = np.concatenate([whole.read(start, start + 777) for start in range(0, 77_700, 777)])
    rng = np.random.default_rng(0)
    for _ in range(30):
        start, stop = np.sort(rng.integers(0, len(film), 2))
        assert np.array_equal(make().read(start, stop), film[start:stop])
        assert np.array_equal(whole.read(start, stop), film[start:stop])
    assert len(whole._blocks) <= random_bits._BLOCKS_KEPT
    assert whole.read(5, 5).tolist() == []


def test_a_frame_is_filled_in_the_order_that_is_asked_for() -> None:
    kind: dict[str, Any] = {"name": "mt19937", "seed": 12, "rows": 3, "columns": 5}
    draws = np.random.RandomState(12).random_sample((4, 15)) > 0.5
    rows = CheckerboardConfig(**kind).build().read(np.arange(4))
    assert rows.shape == (4, 1, 3, 5)
    assert np.array_equal(rows[:, 0], 255 * draws.reshape(4, 3, 5))
    # rand(3, 5) in MATLAB: down the first column first.
    columns = CheckerboardConfig(**kind, order="columns").build().read(np.array([2, 0, 2]))
    expected = np.stack([draws[k].reshape((3, 5), order="F") for k in (2, 0, 2)])
    assert np.array_equal(columns[:, 0], 255 * expected)
    inverted = CheckerboardConfig(**kind, inverted=True).build().read(np.arange(4))
    assert np.array_equal(inverted, 255 - rows)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "ran2"}, "ran1"),
        ({"name": "pcg64", "seed": -1}, "pcg64 has seeds from 0"),
        ({"name": "ran1", "seed": 2**31}, "ran1 has seeds from"),
        ({"name": "ran1", "draw": "integers"}, "NumPy's"),
        ({"rows": 0}, "rows"),
    ],
)
def test_settings_that_no_generator_has_are_refused(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    from visioncore.config import build_config

    raw = {"name": "ran1", "seed": 1, "rows": 3, "columns": 5, **changed}
    with pytest.raises(ConfigError, match=message):
        build_config(CheckerboardConfig, raw, "generator")
