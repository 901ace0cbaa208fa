"""Units that are worth a model: by their rate, by what was measured of them, by name, by presence."""

import logging
from collections.abc import Iterator
from typing import Annotated, Literal, Self

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped
from pydantic import Field, NonNegativeFloat, model_validator

from visioncore.config import Config
from visioncore.data.preparation.base import (
    PIECE_BYTES,
    BaseStepConfig,
    ChangedRecording,
    in_pieces,
    with_spec,
)
from visioncore.data.preparation.causal import rate_of
from visioncore.errors import DataError
from visioncore.recording import SessionRecording, Signal
from visioncore.spec import Sampling

_STEP = "select_units"
PARTS = 100
"""Of a session, for `min_presence`. Source: the presence ratio of the Allen Institute's `ecephys_spike_sorting`."""

_logger = logging.getLogger(__name__)


class ColumnRule(Config):
    """What a column of the units must hold. A unit of which it is not known is left out."""

    column: str = Field(min_length=1)
    equals: Annotated[tuple[str | bool | int | float, ...], Field(min_length=1)] | None = None
    """One of these."""
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.equals is None and self.min is None and self.max is None:
            raise ValueError("asks for nothing; give equals, min or max")
        if self.equals is not None and (self.min is not None or self.max is not None):
            raise ValueError("gives equals beside min or max; give one of them")
        return self

    def holds(self, value: object) -> bool:
        """Whether a unit with this value is kept."""
        if self.equals is not None:
            return value in self.equals
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class SelectUnitsConfig(BaseStepConfig):
    """`type: select_units`: units that satisfy every rule that is given. Rates and presence are those of all bins of
    trials that count, whatever split they go to. A session of the stimulus alone stays as it is.
    """

    type: Literal["select_units"] = "select_units"
    ids: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    columns: tuple[ColumnRule, ...] = ()
    """Rules on what was measured of each unit (`units` of the session)."""
    min_rate_hz: NonNegativeFloat | None = None
    """Spikes per second."""
    min_presence: float | None = Field(default=None, ge=0, le=1)
    """Share of 100 equal parts of the session in which the unit has a response that is not 0, of those parts in which
    anything counts."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.ids is None and not self.columns and self.min_rate_hz is None and self.min_presence is None:
            raise ValueError("selects nothing; give ids, columns, min_rate_hz or min_presence")
        return self

    @classmethod
    def tiny(cls) -> "SelectUnitsConfig":
        return cls(columns=(ColumnRule(column="depth", min=1.0),), min_rate_hz=0.1, min_presence=0.1)

    def apply(self, recording: SessionRecording, sampling: Sampling) -> SessionRecording:
        if not recording.spec.unit_ids:
            return recording
        if self.min_rate_hz is not None and recording.spec.response_kind != "counts":
            raise DataError(
                f"session '{recording.spec.id}', step {_STEP}: traces have no rate; leave min_rate_hz out"
            )
        why: dict[str, Bool[np.ndarray, " units"]] = {}
        unit_ids = recording.spec.unit_ids
        if self.ids is not None:
            why["ids"] = np.array([unit in self.ids for unit in unit_ids], bool)
            if unknown := [unit for unit in self.ids if unit not in unit_ids]:
                _logger.warning(
                    "session '%s', step %s: has no unit %s", recording.spec.id, _STEP, ", ".join(unknown)
                )
        for rule in self.columns:
            why[f"column {rule.column}"] = self._by_column(recording, rule)
        if self.min_rate_hz is not None or self.min_presence is not None:
            sums, bins, presence = _activity(recording)
            if self.min_rate_hz is not None:
                rate_hz = sums / np.maximum(bins, 1) * rate_of(sampling, _STEP)
                why["min_rate_hz"] = rate_hz >= self.min_rate_hz
            if self.min_presence is not None:
                why["min_presence"] = presence >= self.min_presence
        kept = np.logical_and.reduce(list(why.values()))
        told = ", ".join(f"{name} leaves {int(good.sum())}" for name, good in why.items())
        if not kept.any():
            raise DataError(
                f"session '{recording.spec.id}', step {_STEP}: of {len(unit_ids)} units none is left ({told}); ask for "
                "less, or leave the session out"
            )
        _logger.info(
            "session '%s', step %s: %d of %d units (%s)",
            recording.spec.id, _STEP, int(kept.sum()), len(unit_ids), told,
        )  # fmt: skip
        return SelectedUnits(recording, np.flatnonzero(kept))

    def _by_column(self, recording: SessionRecording, rule: ColumnRule) -> Bool[np.ndarray, " units"]:
        table = recording.spec.units
        if rule.column not in table:
            raise DataError(
                f"session '{recording.spec.id}', step {_STEP}: units have no column '{rule.column}'; they have: "
                f"{', '.join(table) or 'none'}"
            )
        return np.array([rule.holds(value) for value in table[rule.column]], bool)


class SelectedUnits(ChangedRecording):
    """Some of the units, in their order."""

    def __init__(self, before: SessionRecording, kept: Int64[np.ndarray, " units"]) -> None:
        super().__init__(before)
        self._kept, self._n_before = kept, len(before.spec.unit_ids)
        spec = before.spec
        self.spec = with_spec(
            spec,
            unit_ids=tuple(spec.unit_ids[i] for i in kept),
            units={name: tuple(values[i] for i in kept) for name, values in spec.units.items()},
        )
        self.unit_truth = {name: [values[i] for i in kept] for name, values in before.unit_truth.items()}

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal."""
        if signal not in ("responses", "rates", "valid"):
            return self.before.read(signal, start, stop)

        def some(begin: int, end: int) -> Shaped[np.ndarray, "time units"]:
            values = self.before.read(signal, begin, end)
            # A mask may be one column for all units.
            one_for_all = signal == "valid" and values.shape[1] == 1
            return values if one_for_all else values[:, self._kept]

        return in_pieces(start, stop, 8 * self._n_before, some)


def _activity(
    recording: SessionRecording,
) -> tuple[Float64[np.ndarray, " units"], Int64[np.ndarray, " units"], Float64[np.ndarray, " units"]]:
    """Per unit: the sum of its responses, in how many bins they count, and its presence."""
    n_units = len(recording.spec.unit_ids)
    sums, bins = np.zeros(n_units), np.zeros(n_units, np.int64)
    active, counted = np.zeros((PARTS, n_units), bool), np.zeros(PARTS, bool)
    for start, responses, valid in _pieces(recording):
        values = np.where(valid, responses, 0)
        sums += values.sum(axis=0)
        bins += np.broadcast_to(valid, values.shape).sum(axis=0)
        part = (start + np.arange(len(values))) * PARTS // recording.n_bins
        for number in np.unique(part):
            own = part == number
            active[number] |= (values[own] != 0).any(axis=0)
            counted[number] |= valid[own].any()
    return sums, bins, active.sum(axis=0) / max(int(counted.sum()), 1)


def _pieces(
    recording: SessionRecording,
) -> Iterator[tuple[int, Shaped[np.ndarray, "time units"], Bool[np.ndarray, "time some"]]]:
    in_trial = np.zeros(recording.n_bins, bool)
    for trial in recording.trials:
        in_trial[trial.start : trial.stop] = True
    rows = max(1, PIECE_BYTES // (8 * max(len(recording.spec.unit_ids), 1)))
    for start in range(0, recording.n_bins, rows):
        stop = min(start + rows, recording.n_bins)
        valid = recording.read("valid", start, stop) & in_trial[start:stop, None]
        yield start, recording.read("responses", start, stop), valid
