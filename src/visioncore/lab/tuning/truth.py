"""What is known of simulated cells, beside what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from visioncore.config import AsWritten
from visioncore.data.store import RecordingStore
from visioncore.lab.rig import UnitName

if TYPE_CHECKING:
    from visioncore.lab.tuning.result import Tuning


@dataclass(frozen=True)
class Truth:
    """The cells' own parameters, in the order of the units; NaN where a unit has none."""

    orientation_deg: Float64[np.ndarray, " units"]
    direction_deg: Float64[np.ndarray, " units"]
    """Of direction-selective cells."""
    period_px: Float64[np.ndarray, " units"]
    centre_px: Float64[np.ndarray, "units 2"]
    """(row, column)."""

    @classmethod
    def of(cls, store: RecordingStore, units: Sequence[UnitName]) -> "Truth | None":
        """None where nothing of it is known of any unit."""
        columns = ("orientation_deg", "direction_deg", "spatial_period_px", "rf_row_px", "rf_column_px")
        found = {name: np.array([_of(store, unit, name) for unit in units], np.float64) for name in columns}
        if not any(np.isfinite(values).any() for values in found.values()):
            return None
        orientation, direction, period, row, column = found.values()
        return cls(orientation, direction, period, np.stack([row, column], axis=1))

    def orientation_errors(self, tuning: "Tuning") -> Float64[np.ndarray, " units"]:
        """How far preferred orientations are from the true ones, 0 to 90 degrees."""
        return apart(tuning.indices["preferred_orientation_deg"].values, self.orientation_deg, 180)

    def direction_errors(self, tuning: "Tuning") -> Float64[np.ndarray, " units"]:
        """How far preferred directions are from the true ones, 0 to 180 degrees."""
        return apart(tuning.indices["preferred_direction_deg"].values, self.direction_deg, 360)

    def octaves(self, tuning: "Tuning") -> Float64[np.ndarray, " units"]:
        """Preferred spatial frequencies over the true ones, in octaves."""
        unit = tuning.display.unit
        found = tuning.indices[f"preferred_spatial_frequency_cycles_per_{unit}"].values
        return np.log2(found * tuning.display.unit_per_px * self.period_px)

    def distances_px(self, tuning: "Tuning") -> Float64[np.ndarray, " units"]:
        """How far the places where units look are from the true ones."""
        return np.asarray(np.linalg.norm(tuning.sizes.centres.centre_px - self.centre_px, axis=1))

    def to_json(self, tuning: "Tuning") -> AsWritten:
        """Medians over units, and of how many."""
        directions = self.direction_errors(tuning)
        right = directions[np.isfinite(directions)] < 90
        told: dict[str, Any] = {
            "orientation_error_deg": _median(self.orientation_errors(tuning)),
            "direction_right": float(right.mean()) if len(right) else None,
            "spatial_frequency_error_octaves": _median(np.abs(self.octaves(tuning))),
            "centre_error_px": _median(self.distances_px(tuning)),
        }
        return told


def apart(
    one: Float64[np.ndarray, " units"], other: Float64[np.ndarray, " units"], circle: float
) -> Float64[np.ndarray, " units"]:
    """Distances on a circle of so many degrees."""
    return np.asarray(np.abs((one - other + circle / 2) % circle - circle / 2))


def _median(values: np.ndarray) -> float | None:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else None


def _of(store: RecordingStore, unit: UnitName, column: str) -> float:
    session = store.sessions.get(unit.session)
    if session is None or unit.unit_id not in session.unit_ids or column not in session.unit_truth:
        return np.nan
    value = session.unit_truth[column][session.unit_ids.index(unit.unit_id)]
    return np.nan if value is None else float(value)
