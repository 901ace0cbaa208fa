"""Recorded tuning beside predicted: the same estimate of the same trials, where the recording showed gratings."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float64
from scipy.stats import f as f_distribution

from visioncore.data.store import RecordingStore
from visioncore.drawing import PREDICTED, RECORDED
from visioncore.evaluation.prediction import check_fit
from visioncore.lab.rig import Rig, UnitName
from visioncore.lab.tuning.index import Index
from visioncore.lab.tuning.measured import Measured
from visioncore.lab.tuning.showing import Told, counting
from visioncore.lab.tuning.trials import Conditions, conditions_of, frames_of_gratings, gratings_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_CONDITIONS = 8
SIGNIFICANT = 0.05
FEW = "fewer than 8 grating conditions were recorded of it"
FEW_UNSEEN = "fewer than 8 grating conditions outside the training split were recorded of it"
NO_ORIENTATION = "what was recorded does not depend on orientation (F test, p of 0.05 or more)"
NO_DIRECTION = "what was recorded does not depend on direction (F test, p of 0.05 or more)"
ORIENTATIONS = "the recording's gratings have orientations alone"
CONSTANT = "all conditions are answered alike"


@dataclass(frozen=True)
class Harmonics:
    """Responses as a constant, a wave over the circle and one over half of it, by least squares: directions may lie as
    they will. For directions all around in equal steps, these are the vector sums.
    """

    constant: float
    direction: complex
    orientation: complex
    p_direction: float
    """Of the wave over the circle, against chance: an F test."""
    p_orientation: float

    @classmethod
    def of(
        cls, degrees: Float64[np.ndarray, " conditions"], responses: Float64[np.ndarray, " conditions"]
    ) -> "Harmonics":
        """At least 8 conditions."""
        angle = np.deg2rad(degrees)
        waves = np.stack(
            [np.ones_like(angle), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], axis=1
        )
        weights, left = _least_squares(waves, responses)
        freedom = len(angle) - np.linalg.matrix_rank(waves)
        p = []
        for kept in ([0, 3, 4], [0, 1, 2]):
            _, without = _least_squares(waves[:, kept], responses)
            ratio = (without - left) / 2 / max(left / max(freedom, 1), 1e-300)
            p.append(float(f_distribution.sf(max(ratio, 0), 2, freedom)) if freedom > 0 else 1.0)
        return cls(
            float(weights[0]), complex(weights[1], weights[2]), complex(weights[3], weights[4]), p[0], p[1]
        )

    @property
    def orientation_deg(self) -> float:
        """Preferred, 0 to 180."""
        return float(np.rad2deg(np.angle(self.orientation)) / 2 % 180)

    @property
    def direction_deg(self) -> float:
        """Where the curve peaks, to half a degree."""
        around = np.arange(0, 360, 0.5)
        return float(around[self.at(around).argmax()])

    @property
    def osi(self) -> float:
        """1 less the circular variance, as `osi_vector`; the resting rate is not subtracted. Over directions that lie
        unevenly, it may exceed 1.
        """
        return abs(self.orientation) / (2 * self.constant) if self.constant > 0 else np.nan

    def at(self, degrees: np.ndarray) -> np.ndarray:
        """The curve."""
        angle = np.deg2rad(degrees)
        waves = np.conj(self.direction) * np.exp(1j * angle) + np.conj(self.orientation) * np.exp(2j * angle)
        return np.asarray(self.constant + waves.real)


def _least_squares(waves: np.ndarray, responses: np.ndarray) -> tuple[np.ndarray, float]:
    weights = np.linalg.lstsq(waves, responses, rcond=None)[0]
    return weights, float(np.sum((responses - waves @ weights) ** 2))


@dataclass(frozen=True)
class RecordedTuning(Measured):
    """Mean responses in the recording's own grating trials, with the behaviour of then, beside predictions of them."""

    name: ClassVar[str] = "recorded"

    units: tuple[UnitName, ...]
    sessions: tuple[Conditions, ...]
    columns: tuple[int | None, ...]
    """Where each unit stands in its session."""
    per_bin: float
    """What a response per bin is multiplied by for the unit of rates."""

    @property
    def splits(self) -> dict[str, int]:
        """How many trials of each split there are."""
        found: Counter[str] = Counter()
        for session in self.sessions:
            found.update(session.splits)
        return dict(found)

    def of(self, unit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Directions, recorded and predicted responses, and whether all trials are outside the training split, in each
        condition in which a unit was recorded.
        """
        column = self.columns[unit]
        session = next((s for s in self.sessions if s.session == self.units[unit].session), None)
        if session is None or column is None:
            return (np.empty(0),) * 3 + (np.empty(0, bool),)
        recorded, predicted = session.recorded[:, column], session.predicted[:, column]
        known = np.isfinite(recorded)
        return (
            session.directions_deg[known],
            self.per_bin * recorded[known],
            self.per_bin * predicted[known],
            session.unseen[known],
        )

    @cached_property
    def fits(self) -> tuple[tuple[Harmonics, Harmonics] | None, ...]:
        """Of recorded and of predicted responses; None for too few conditions."""
        found: list[tuple[Harmonics, Harmonics] | None] = []
        for unit in range(len(self.units)):
            degrees, recorded, predicted, _ = self.of(unit)
            enough = len(degrees) >= LEAST_CONDITIONS
            found.append(
                (Harmonics.of(degrees, recorded), Harmonics.of(degrees, predicted)) if enough else None
            )
        return tuple(found)

    @cached_property
    def indices(self) -> Mapping[str, Index]:
        """Preferences of both and how far they are apart, and how far their responses correlate."""
        fits = self.fits
        few = (np.array([own is None for own in fits]), FEW)
        untuned = np.array([own is not None and own[0].p_orientation >= SIGNIFICANT for own in fits])
        undirected = np.array([own is not None and own[0].p_direction >= SIGNIFICANT for own in fits])
        half = np.array([not self._whole_circle(unit.session) for unit in self.units])
        orientation = [self._values(k, lambda own: own.orientation_deg) for k in (0, 1)]
        direction = [self._values(k, lambda own: own.direction_deg) for k in (0, 1)]
        tuned, directed = (
            (few, (untuned, NO_ORIENTATION)),
            (few, (half, ORIENTATIONS), (undirected, NO_DIRECTION)),
        )
        told = {}
        for name, angles, why, circle in (
            ("orientation", orientation, tuned, 180),
            ("direction", direction, directed, 360),
        ):
            told[f"recorded_{name}_deg"] = Index.of(angles[0], *why, circle=circle)
            told[f"predicted_{name}_deg"] = Index.of(angles[1], *why, circle=circle)
            apart = np.abs((angles[1] - angles[0] + circle / 2) % circle - circle / 2)
            told[f"{name}_difference_deg"] = Index.of(apart, *why)
        told["recorded_osi_vector"] = Index.of(self._values(0, lambda own: own.osi), few)
        told["predicted_osi_vector"] = Index.of(self._values(1, lambda own: own.osi), few)
        for name, unseen, reason in (
            ("recorded_correlation", False, FEW),
            ("recorded_correlation_unseen", True, FEW_UNSEEN),
        ):
            values, n = self._correlations(unseen)
            told[name] = Index.of(values, (n < LEAST_CONDITIONS, reason), (np.isnan(values), CONSTANT))
        return told

    def _values(self, which: int, of: Callable[[Harmonics], float]) -> Float64[np.ndarray, " units"]:
        return np.array([np.nan if own is None else of(own[which]) for own in self.fits])

    def _whole_circle(self, session: str) -> bool:
        return any(own.whole_circle for own in self.sessions if own.session == session)

    def _correlations(self, unseen: bool) -> tuple[np.ndarray, np.ndarray]:
        """Over conditions, and over how many."""
        values, n = np.full(len(self.units), np.nan), np.zeros(len(self.units), int)
        for unit in range(len(self.units)):
            _, recorded, predicted, outside = self.of(unit)
            kept = outside if unseen else np.ones_like(outside)
            n[unit] = kept.sum()
            if n[unit] > 1 and np.ptp(recorded[kept]) > 0 and np.ptp(predicted[kept]) > 0:
                values[unit] = np.corrcoef(recorded[kept], predicted[kept])[0, 1]
        return values, n

    def arrays(self) -> Mapping[str, np.ndarray]:
        """For each session, by its place among `sessions`."""
        found: dict[str, np.ndarray] = {"sessions": np.array([own.session for own in self.sessions])}
        for k, own in enumerate(self.sessions):
            found[f"{k}_directions_deg"], found[f"{k}_others"] = own.directions_deg, own.others
            found[f"{k}_unseen"] = own.unseen
            mine = [c for u, c in zip(self.units, self.columns, strict=True) if u.session == own.session]
            kept = [column for column in mine if column is not None]
            found[f"{k}_recorded"], found[f"{k}_predicted"] = own.recorded[:, kept], own.predicted[:, kept]
        return found

    @property
    def panels(self) -> "Mapping[str, Callable[[Axes, int], None]]":
        """Responses and curves over direction."""
        return {"recorded and predicted": self._plot}

    def _plot(self, axes: "Axes", unit: int) -> None:
        degrees, *both, _ = self.of(unit)
        around = np.linspace(0, 360 if self._whole_circle(self.units[unit].session) else 180, 181)
        fits = self.fits[unit] or (None, None)
        for own, fitted, colour, label in zip(
            both, fits, (RECORDED, PREDICTED), ("recorded", "predicted"), strict=True
        ):
            axes.plot(degrees, own, "o", color=colour, markersize=3, label=label)
            if fitted is not None:
                axes.plot(around, fitted.at(around), color=colour, linewidth=1.2)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.set_xlabel("direction (deg)")


def recorded_tuning(rig: Rig, store: RecordingStore, told: Told) -> RecordedTuning | None:
    """What the recording tells of the rig's units; None where it showed no gratings to any of them.

    Raises:
        DataError: the recording is not like the one that the predictor was made for.
        CheckpointError: the predictor lacks sessions or units of it.
    """
    if not any(
        gratings_in(store.sessions[name]) is not None for name in rig.sessions if name in store.sessions
    ):
        return None
    store = check_fit(rig.predictor, store)
    mine = [store.sessions[name] for name in rig.sessions if name in store.sessions]
    more = counting(told, "recorded gratings", sum(frames_of_gratings(session) for session in mine))
    found: Sequence[Conditions | None] = [conditions_of(rig.predictor, store, one, more) for one in mine]
    sessions = tuple(own for own in found if own is not None)
    if not sessions:
        return None
    ids = {session.id: session.unit_ids for session in mine}
    columns = tuple(
        ids[unit.session].index(unit.unit_id) if unit.unit_id in ids.get(unit.session, ()) else None
        for unit in rig.units
    )
    counts = rig.predictor.spec.response_kind == "counts"
    return RecordedTuning(rig.units, sessions, columns, rig.display.rate_hz if counts else 1.0)
