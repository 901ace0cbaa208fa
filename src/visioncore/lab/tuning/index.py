"""A number per unit, and the reason where a unit has none."""

from collections import Counter
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from visioncore.config import AsWritten

POOR = "the fit does not describe its curve (R² under 0.6)"


@dataclass(frozen=True)
class Index:
    """One number of every unit's tuning. What is undefined is NaN, and says why."""

    values: Float64[np.ndarray, " units"]
    why: tuple[str, ...]
    """Per unit; empty where it is defined."""
    circle: float | None = None
    """For angles: after so many degrees they begin anew, so they have no median."""

    @classmethod
    def of(
        cls,
        values: Shaped[np.ndarray, " units"],
        *undefined: tuple[Bool[np.ndarray, " units"], str],
        circle: float | None = None,
    ) -> Self:
        """Values as they were computed, and where they mean nothing.

        Args:
            undefined: where, and why; the first reason of a unit is the one that is told.
        """
        found = np.array(values, np.float64)
        why = np.full(len(found), "", object)
        for where, reason in (*undefined, (~np.isfinite(found), "it is not a finite number")):
            why[where & (why == "")] = reason
        found[why != ""] = np.nan
        return cls(found if circle is None else found % circle, tuple(why.tolist()), circle)

    @property
    def defined(self) -> Bool[np.ndarray, " units"]:
        """Which units have it."""
        return np.isfinite(self.values)

    @property
    def median(self) -> float | None:
        """Over the units that have it; None where none has, and for angles."""
        return float(np.nanmedian(self.values)) if self.defined.any() and not self.circle else None

    @property
    def quartiles(self) -> tuple[float, float] | None:
        """Over the units that have it; None where none has, and for angles."""
        if not self.defined.any() or self.circle:
            return None
        low, high = np.nanquantile(self.values, (0.25, 0.75))
        return float(low), float(high)

    @property
    def undefined(self) -> dict[str, int]:
        """How many units lack it, by the reason, the most frequent first."""
        return dict(Counter(reason for reason in self.why if reason).most_common())

    def to_json(self) -> AsWritten:
        """The population in short."""
        quartiles = self.quartiles
        return {
            "median": self.median,
            "quartiles": None if quartiles is None else list(quartiles),
            "units": int(self.defined.sum()),
            "undefined": self.undefined,
        }

    def written(self, unit: int) -> float | None:
        """The number of one unit, as tables have it."""
        value = float(self.values[unit])
        return value if np.isfinite(value) else None
