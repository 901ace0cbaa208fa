"""Two clocks that saw the same pulses: times of one on the other."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float64, Int64

from visioncore.data.align.times import checked_times
from visioncore.errors import DataError

_MOST_DRIFT = 5e-3
"""Two clocks of laboratories run apart by less than this share."""
_TOLERANCE_S = 5e-3
"""By how much an interval between pulses may differ from one clock to the other, beside drift."""
_MOST_UNMATCHED = 64
"""How many pulses at the start one of the clocks may have missed."""
_FEWEST_MATCHED = 0.5
_RIVAL = 0.9


@dataclass(frozen=True)
class ClockMap:
    """Straight lines from pulse to pulse, and on beyond the ends."""

    from_s: Float64[np.ndarray, " pulses"]
    to_s: Float64[np.ndarray, " pulses"]
    where: str

    @classmethod
    def of_pulses(
        cls, from_s: Float64[np.ndarray, " some"], to_s: Float64[np.ndarray, " others"], where: str
    ) -> Self:
        """From the times of pulses on both clocks; where one has more of them, they are matched by their intervals.

        Raises:
            DataError: too few pulses, or no or more than one way to match them.
        """
        checked_times(from_s, f"{where}, the pulses of the first clock", len(from_s), "pulses")
        checked_times(to_s, f"{where}, the pulses of the second clock", len(to_s), "pulses")
        if min(len(from_s), len(to_s)) < 2:
            raise DataError(
                f"{where}: {len(from_s)} and {len(to_s)} pulses; two clocks need at least two of each"
            )
        if len(from_s) == len(to_s) and _fit(np.diff(from_s), np.diff(to_s)).all():
            return cls(from_s, to_s, where)
        mine, theirs = _matched(from_s, to_s, where)
        return cls(from_s[mine], to_s[theirs], where)

    def __call__(self, times_s: Float64[np.ndarray, "*any"]) -> Float64[np.ndarray, "*any"]:
        """Times of the first clock, on the second."""
        mapped = np.interp(times_s, self.from_s, self.to_s)
        slope = self._slope()
        before, after = times_s < self.from_s[0], times_s > self.from_s[-1]
        mapped = np.where(before, self.to_s[0] + (times_s - self.from_s[0]) * slope, mapped)
        return np.where(after, self.to_s[-1] + (times_s - self.from_s[-1]) * slope, mapped)

    @property
    def residuals_s(self) -> Float64[np.ndarray, " pulses"]:
        """How far each pulse is from the one straight line that fits them all best."""
        centre = self.from_s.mean()
        line = np.polynomial.polynomial.polyfit(self.from_s - centre, self.to_s, 1)
        return self.to_s - np.polynomial.polynomial.polyval(self.from_s - centre, line)

    def _slope(self) -> float:
        """Beyond the ends: of the whole, which is less noisy than that of the last two pulses."""
        return float((self.to_s[-1] - self.to_s[0]) / (self.from_s[-1] - self.from_s[0]))


def _fit(mine_s: Float64[np.ndarray, " steps"], theirs_s: Float64[np.ndarray, " steps"]) -> np.ndarray:
    return np.abs(mine_s - theirs_s) <= _TOLERANCE_S + _MOST_DRIFT * np.minimum(mine_s, 60.0)


def _matched(
    from_s: Float64[np.ndarray, " some"], to_s: Float64[np.ndarray, " others"], where: str
) -> tuple[Int64[np.ndarray, " matched"], Int64[np.ndarray, " matched"]]:
    """Pulses that are one: walked through together from every start that is possible, the longest walk taken."""
    starts = [(i, 0) for i in range(min(_MOST_UNMATCHED, len(from_s) - 1))]
    starts += [(0, j) for j in range(1, min(_MOST_UNMATCHED, len(to_s) - 1))]
    walks = [_walk(from_s, to_s, i, j) for i, j in starts]
    walks.sort(key=lambda walk: -len(walk[0]))
    best = walks[0]
    fewest = min(len(from_s), len(to_s))
    numbers = f"{len(from_s)} pulses on one clock and {len(to_s)} on the other"
    if len(best[0]) < max(2, _FEWEST_MATCHED * fewest):
        raise DataError(
            f"{where}: {numbers}, and at most {len(best[0])} have the same intervals; are these the same pulses, both "
            "in seconds?"
        )
    shift = to_s[best[1][0]] - from_s[best[0][0]]
    for mine, theirs in walks[1:]:
        apart = abs(to_s[theirs[0]] - from_s[mine[0]] - shift)
        drift = _MOST_DRIFT * abs(from_s[mine[0]] - from_s[best[0][0]])
        if apart > _TOLERANCE_S + drift and len(mine) >= _RIVAL * len(best[0]):
            raise DataError(
                f"{where}: {numbers}, and their intervals fit in more than one way (shifted by "
                f"{apart:.4g} s, {len(mine)} of {len(best[0])} fit as well): which pulse was missed cannot be "
                "told. Leave out the pulses that only one clock has"
            )
    return best


def _walk(
    from_s: Float64[np.ndarray, " some"], to_s: Float64[np.ndarray, " others"], i: int, j: int
) -> tuple[Int64[np.ndarray, " matched"], Int64[np.ndarray, " matched"]]:
    """Pulses matched from i and j on; one that has no partner is passed over."""
    mine, theirs = [i], [j]
    a, b = i + 1, j + 1
    while a < len(from_s) and b < len(to_s):
        step, other = from_s[a] - from_s[mine[-1]], to_s[b] - to_s[theirs[-1]]
        slack = _TOLERANCE_S + _MOST_DRIFT * min(step, 60.0)
        if abs(step - other) <= slack:
            mine.append(a)
            theirs.append(b)
            a, b = a + 1, b + 1
        elif other < step:
            b += 1
        else:
            a += 1
    return np.array(mine), np.array(theirs)
