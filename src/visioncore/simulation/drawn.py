"""What the simulators have in common: ranges to draw from, and how they name what they yield."""

from typing import Self

from pydantic import model_validator

from visioncore.config import Config


class DrawnConfig(Config):
    """Every pair of numbers is a range that cells, or sessions, draw from; ranges ascend."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and isinstance(value[0], float) and value[0] > value[1]:
                low, high = value
                raise ValueError(f"{name} must ascend, got {low} to {high}")
        return self


def unit_names(session_id: str, n_units: int) -> tuple[str, ...]:
    """What the units of a simulated session are called."""
    return tuple(f"{session_id}-{unit:03d}" for unit in range(n_units))
