"""From the statistics of units to the scores of a population."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import numpy as np

from visioncore import metrics
from visioncore.evaluation.records import BitsPerSpike, Ceiling, Correlation, Interval, ScoredSection
from visioncore.metrics import Sums

PUBLISHED_FEV = 0.15
"""Units with less are left out of published FEVE (Cadena et al. 2019; the Sensorium competition)."""
_NOT_DEFINED: dict[str, Any] = {"mean": None, "median": None, "ci95": None}


@dataclass(frozen=True)
class RepeatScores:
    """Scores on repeats, one per unit; NaN where they are not defined."""

    cc_norm: np.ndarray
    feve: np.ndarray
    fev: np.ndarray
    """The share of the variance that repeats share."""
    correlation_to_average: np.ndarray
    oracle: np.ndarray
    snr: np.ndarray
    """The signal power over its error."""

    @classmethod
    def undefined(cls, n_units: int) -> "RepeatScores":
        """Where no stimulus was repeated."""
        return cls(*(np.full(n_units, np.nan) for _ in fields(cls)))

    def take(self, units: np.ndarray) -> "RepeatScores":
        """The scores of some of the units."""
        return RepeatScores(*(getattr(self, f.name)[units] for f in fields(self)))

    def of_unit(self, unit: int) -> dict[str, float | None]:
        """The scores of one unit, by the names that they have in its row."""
        return {f.name: number(getattr(self, f.name)[unit]) for f in fields(self)}


@dataclass(frozen=True)
class Part:
    """What one session contributes to a section: a choice of its blocks and units."""

    model: Sums
    """(blocks, units)"""
    ceiling: Sums | None
    repeats: RepeatScores
    n_repeats: int
    n_bins: int

    def take(self, units: np.ndarray) -> "Part":
        ceiling = self.ceiling.map(lambda a: a[:, units]) if self.ceiling else None
        return Part(
            self.model.map(lambda a: a[:, units]),
            ceiling,
            self.repeats.take(units),
            self.n_repeats,
            self.n_bins,
        )


def section_of(parts: list[Part], counts: bool) -> ScoredSection:
    """The scores of a population."""
    included = [exclusion_reasons(part.model, counts) == "" for part in parts]
    n_units = sum(len(chosen) for chosen in included)
    parts = [part.take(np.flatnonzero(chosen)) for part, chosen in zip(parts, included, strict=True)]
    totals = [part.model.map(lambda a: a.sum(0)) for part in parts]
    scored = {
        name: _distribution(parts, totals, name)
        for name in ("bits_per_spike", "correlation")
        if any(part.model.bins.shape[1] for part in parts) and (counts or name == "correlation")
    }
    spikes = sum(float(total.spikes.sum()) for total in totals)
    fraction, interval, ceiling = _ceiling(parts if counts else [])
    on_repeats: dict[str, Any] = {}
    for name in ("cc_norm", "feve", "correlation_to_average", "oracle"):
        values = [getattr(part.repeats, name)[part.repeats.snr > 1] for part in parts]
        on_repeats |= _mean_of_some(name, values)
    published = [part.repeats.feve[part.repeats.fev >= PUBLISHED_FEV] for part in parts]
    repeated = [part.n_repeats for part in parts if part.n_repeats]
    n_included = sum(int(chosen.sum()) for chosen in included)
    return ScoredSection(
        bits_per_spike=BitsPerSpike(
            **scored.get("bits_per_spike", _NOT_DEFINED),
            pooled=_pooled(totals, "nats_over_null") if counts and spikes else None,
            neural_latents=_pooled(totals, "nats_over_own_mean") if counts and spikes else None,
        ),
        correlation=Correlation(
            **scored.get("correlation", _NOT_DEFINED),
            n_constant_predictions=sum(int(total.constant.sum()) for total in totals),
        ),
        ceiling=ceiling,
        fraction_of_ceiling=fraction,
        fraction_of_ceiling_ci95=interval,
        **on_repeats,
        **_mean_of_some("feve_published", published),
        n_repeats=min(repeated, default=0),
        n_units=n_included,
        n_excluded=n_units - n_included,
        n_bins=sum(part.n_bins for part in parts),
    )


def _pooled(totals: Sequence[Sums], gain: str) -> float:
    """Bits/spike of all units together."""
    nats = sum(float(getattr(total, gain).sum()) for total in totals)
    return float(nats / (sum(float(total.spikes.sum()) for total in totals) * np.log(2)))


def _mean_of_some(name: str, values: Sequence[np.ndarray]) -> dict[str, Any]:
    """A score's mean over the units for which it is defined, and their number."""
    n_units = int(sum(np.isfinite(v).sum() for v in values))
    return {name: number(metrics.mean_or_nan(values)), f"{name}_n_units": n_units}


def _distribution(parts: Sequence[Part], totals: Sequence[Sums], score: str) -> dict[str, Any]:
    """The values of a `Summary` of a score."""
    together = np.concatenate([getattr(total, score) for total in totals])
    draws = metrics.population_draws([part.model for part in parts], attrgetter(score))
    return {
        "mean": number(together.mean()),
        "median": number(np.median(together)),
        "ci95": metrics.interval(draws),
    }


def _ceiling(parts: Sequence[Part]) -> tuple[float | None, Interval | None, Ceiling]:
    """The model's share of the true rates' score over the same units, its interval, and the true rates' scores."""
    known = [(part.model, part.ceiling) for part in parts if part.ceiling is not None]
    true = [ceiling for _, ceiling in known]
    if not known or not any(ceiling.bins.size for ceiling in true):
        return None, None, Ceiling(bits_per_spike=None, correlation=None, ci95=None)
    models = [model for model, _ in known]
    best, mine = (
        metrics.mean_or_nan(s.map(lambda a: a.sum(0)).bits_per_spike for s in some) for some in (true, models)
    )
    correlation = metrics.mean_or_nan(s.map(lambda a: a.sum(0)).correlation for s in true)
    score = attrgetter("bits_per_spike")
    best_draws, my_draws = metrics.population_draws(true, score), metrics.population_draws(models, score)
    ceiling = Ceiling(
        bits_per_spike=number(best), correlation=number(correlation), ci95=metrics.interval(best_draws)
    )
    if not best > 0:
        return None, None, ceiling
    share = None
    if best_draws is not None and my_draws is not None:
        share = metrics.interval(my_draws / np.where(best_draws > 0, best_draws, np.nan))
    return number(mine / best), share, ceiling


def exclusion_reasons(model: Sums, counts: bool) -> np.ndarray:
    """Why each unit is excluded; empty where it is not."""
    total = model.map(lambda a: a.sum(0))
    silent = total.spikes == 0 if counts else total.constant_recording
    text = "no spikes in the scored bins" if counts else "the recorded trace never changes"
    return np.select([total.bins == 0, silent], ["no valid bins", text], "")


def number(value: float | np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None
