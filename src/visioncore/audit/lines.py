"""Scores of the intact twin, of the levels that survive any control, and of the controls, with paired intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from visioncore import metrics
from visioncore.audit.controls import ROLES, AuditedBlock, Predictions, Role, stretches_of
from visioncore.audit.findings import ControlLine, ControlScores
from visioncore.audit.recalibration import recalibrated
from visioncore.evaluation import Estimate
from visioncore.metrics import Sums

FEWEST_BLOCKS = 6
"""Blocks to resample, where units are too few: chance has all of five on one side of zero in 3 % of cases, so that an
interval from fewer than six says nothing."""


@dataclass(frozen=True)
class Score:
    """Mean over units, and bootstrap draws of it: paired between all lines."""

    mean: float
    draws: Float64[np.ndarray, " draws"] | None

    def less(self, other: "Score") -> "Score":
        """The difference, draw by draw."""
        both = self.draws is not None and other.draws is not None
        return Score(self.mean - other.mean, self.draws - other.draws if both else None)  # type: ignore[operator]

    @property
    def ci95(self) -> tuple[float, float] | None:
        """The central 95 % of the draws."""
        return metrics.interval(self.draws)

    @property
    def estimate(self) -> Estimate:
        """Without the draws, as it is told; empty where the mean is not finite."""
        finite = bool(np.isfinite(self.mean))
        return Estimate(mean=float(self.mean) if finite else None, ci95=self.ci95 if finite else None)


@dataclass(frozen=True)
class Line:
    """One prediction of the whole population, scored. Traces have a correlation only."""

    name: str
    role: Role
    scores: dict[str, Score]


class LineScores:
    """Gathers the sums of one kind of prediction, session by session."""

    def __init__(self, name: str, counts: bool) -> None:
        self.name, self.counts = name, counts
        self.raw: list[Sums] = []
        self.fitted: list[Sums] = []

    def add(
        self,
        blocks: Sequence[AuditedBlock],
        predictions: Predictions,
        null: Float64[np.ndarray, " units"],
        stretch_bins: int,
    ) -> None:
        """Take in one session's predictions, one per block."""
        recorded, prediction = np.concatenate([b.recorded for b in blocks]), np.concatenate(predictions)
        # Where a control has no prediction (the other trial was shorter), its bins are left out.
        valid = np.concatenate([b.valid for b in blocks]) & np.isfinite(prediction)
        rows = stretches_of(blocks, stretch_bins)
        starts = np.cumsum([0, *(len(b.recorded) for b in blocks)])
        self.raw.append(_sums(rows, starts, prediction, recorded, null, valid))
        if self.counts:
            safe = np.where(valid, prediction, np.float32(0))
            fitted = recalibrated(safe, recorded, valid)
            self.fitted.append(_sums(rows, starts, fitted.astype(np.float32), recorded, null, valid))

    def line(self, units: Sequence[Bool[np.ndarray, " _"]]) -> Line:
        """The scores over the chosen units of every session."""
        raw, fitted = (
            [_of_units(s, chosen) for s, chosen in zip(sums, units, strict=True)]
            for sums in (self.raw, self.fitted or self.raw)
        )
        scores = {"correlation": _score(raw, "correlation")}
        if self.counts:
            scores["bits_per_spike"] = _score(raw, "bits_per_spike")
            scores["recalibrated_bits_per_spike"] = _score(fitted, "bits_per_spike")
        return Line(self.name, ROLES[self.name], scores)


def _of_units(sums: Sums, chosen: Bool[np.ndarray, " units"]) -> Sums:
    return sums.map(lambda a: a[:, chosen])


def _sums(
    rows: list[list[tuple[int, slice]]],
    starts: np.ndarray,
    prediction: Float32[np.ndarray, "time units"],
    recorded: Float32[np.ndarray, "time units"],
    null: Float64[np.ndarray, " units"],
    valid: Bool[np.ndarray, "time units"],
) -> Sums:
    stacked = []
    for row in rows:
        bins = np.concatenate([np.arange(starts[i] + part.start, starts[i] + part.stop) for i, part in row])
        stacked.append(Sums.measure(prediction[bins], recorded[bins], null, valid[bins]))
    return Sums.stack(stacked)


def _score(sessions: list[Sums], name: str) -> Score:
    mean = metrics.mean_or_nan(getattr(s.map(lambda a: a.sum(0)), name) for s in sessions)
    n_blocks, n_units = (sum(s.bins.shape[axis] for s in sessions) for axis in (0, 1))
    if n_blocks < FEWEST_BLOCKS and n_units < metrics.MIN_RESAMPLED_UNITS:
        return Score(mean, None)
    return Score(mean, metrics.population_draws(sessions, lambda sums: getattr(sums, name)))


def told(lines: dict[str, Line]) -> tuple[ControlLine, ...]:
    """Every line with its scores, and how far it is from the intact twin and from behaviour alone."""
    return tuple(
        ControlLine(
            name=line.name,
            role=line.role,
            correlation=line.scores["correlation"].estimate,
            bits_per_spike=_estimate(line, "bits_per_spike"),
            recalibrated_bits_per_spike=_estimate(line, "recalibrated_bits_per_spike"),
            less_intact=_less(line, lines["intact"]),
            less_behaviour_only=_less(line, lines["behaviour only"]),
        )
        for line in lines.values()
    )


def _estimate(line: Line, name: str) -> Estimate | None:
    return line.scores[name].estimate if name in line.scores else None


def _less(line: Line, base: Line) -> ControlScores:
    return ControlScores(**{name: s.less(base.scores[name]).estimate for name, s in line.scores.items()})
