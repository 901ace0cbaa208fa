"""What every part of the battery gives: indices per unit, arrays, and a plot of one unit."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Float64

from visioncore.lab.rig import Rig
from visioncore.lab.tuning.index import Index

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_SPIKES_S = 0.05
LEAST_SHARE_OF_REST = 0.05


@dataclass(frozen=True)
class Rest:
    """What units do on grey, and which of their responses count as some."""

    rates: Float64[np.ndarray, " units"]
    """The resting rates."""
    unit: str
    """In which rates are told."""

    @classmethod
    def of(cls, rig: Rig, seconds: float = 0.5) -> "Rest":
        """Shows grey."""
        display = rig.display
        grey = np.zeros((1, display.frames(seconds), display.height, display.width), np.float32)
        return cls(rig.rates(grey)[0].mean(0, dtype=np.float64), rig.rate_unit)

    def above(self, rates: Float[np.ndarray, "units ..."]) -> Float64[np.ndarray, "units ..."]:
        """Rates less the resting rate."""
        return rates - self.rates.reshape(-1, *[1] * (rates.ndim - 1))

    def silent(self, peak: Float[np.ndarray, " units"]) -> Bool[np.ndarray, " units"]:
        """Units whose largest response above rest is none: at most a twentieth of the resting rate or of a spike per
        second.
        """
        least = LEAST_SPIKES_S if self.unit == "spikes/s" else 0.0
        return ~(peak > np.maximum(LEAST_SHARE_OF_REST * np.abs(self.rates), least))


class Measured(ABC):
    """Base of the battery's parts. Must provide `indices`, `arrays` and `panels`; units in the order of the rig's."""

    name: ClassVar[str]
    """Before the names of its arrays."""

    @property
    @abstractmethod
    def indices(self) -> Mapping[str, Index]:
        """By the name of its column; what has a unit of measurement ends in it."""

    @abstractmethod
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Responses and the conditions that they are of."""

    @property
    @abstractmethod
    def panels(self) -> "Mapping[str, Callable[[Axes, int], None]]":
        """By its title, what draws one curve of a unit."""

    def plot(self, axes: "Axes", unit: int) -> None:
        """The first of the panels."""
        next(iter(self.panels.values()))(axes, unit)
