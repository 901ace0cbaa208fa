"""Two clocks that saw the same pulses."""

import numpy as np
import pytest

from visioncore.data.align import ClockMap
from visioncore.errors import DataError

RNG = np.random.default_rng(3)
PULSES = 12.0 + np.cumsum(RNG.uniform(0.5, 2.0, 2400))
"""On the display's clock, for some fifty minutes."""


def _ephys(times_s: np.ndarray) -> np.ndarray:
    """The same moments on a clock that began earlier, runs 80 millionths fast, and wanders by some milliseconds."""
    return 431.7 + times_s * (1 + 80e-6) + 0.004 * np.sin(times_s / 700)


def test_times_are_mapped_within_half_a_millisecond_over_an_hour() -> None:
    clock = ClockMap.of_pulses(PULSES, _ephys(PULSES), "sync")
    moments = RNG.uniform(PULSES[0], PULSES[-1], 1000)
    np.testing.assert_allclose(clock(moments), _ephys(moments), atol=5e-4)
    assert 1e-3 < np.abs(clock.residuals_s).max() < 0.01


def test_beyond_the_pulses_the_clock_runs_on() -> None:
    clock = ClockMap.of_pulses(PULSES, _ephys(PULSES), "sync")
    for moment in (PULSES[0] - 10, PULSES[-1] + 10):
        assert clock(np.array([moment]))[0] == pytest.approx(_ephys(np.array([moment]))[0], abs=2e-3)


@pytest.mark.parametrize(
    "lost",
    [
        {"from": slice(0, 3)},
        {"from": [-1]},
        {"to": slice(0, 5)},
        {"to": [700, 701, 1500]},
        {"from": [10, 1200], "to": [3, 900, 2399]},
    ],
    ids=str,
)
def test_pulses_that_one_clock_missed_are_found_by_their_intervals(lost: dict) -> None:
    mine, theirs = np.delete(PULSES, lost.get("from", [])), np.delete(_ephys(PULSES), lost.get("to", []))
    clock = ClockMap.of_pulses(mine, theirs, "sync")
    moments = np.linspace(PULSES[5], PULSES[-5], 500)
    np.testing.assert_allclose(clock(moments), _ephys(moments), atol=2e-3)


def test_the_same_number_of_pulses_with_one_missed_on_each_side_is_not_taken_as_it_is() -> None:
    mine, theirs = np.delete(PULSES, 100), np.delete(_ephys(PULSES), 2000)
    assert len(mine) == len(theirs)
    clock = ClockMap.of_pulses(mine, theirs, "sync")
    moments = np.linspace(PULSES[5], PULSES[-5], 500)
    np.testing.assert_allclose(clock(moments), _ephys(moments), atol=2e-3)


def test_regular_pulses_of_which_one_is_missing_cannot_be_told_apart() -> None:
    regular = np.arange(600.0)
    with pytest.raises(
        DataError, match=r"sync: 600 pulses on one clock and 599 on the other.*more than one way"
    ):
        ClockMap.of_pulses(regular, _ephys(regular)[1:], "sync")


def test_pulses_of_another_kind_or_unit_are_refused() -> None:
    with pytest.raises(DataError, match="are these the same pulses, both in seconds"):
        ClockMap.of_pulses(PULSES, _ephys(PULSES)[:-1] * 1000, "sync")
    with pytest.raises(DataError, match="two clocks need at least two"):
        ClockMap.of_pulses(PULSES[:1], PULSES[:1], "sync")
    with pytest.raises(DataError, match="jump back"):
        ClockMap.of_pulses(PULSES[::-1].copy(), PULSES, "sync")
