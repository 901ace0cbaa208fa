"""Paired comparison: one set of bootstrap draws serves all models, so that what they share cancels in differences.

A draw takes blocks of time within sessions and units over all sessions (blocks alone below
`metrics.MIN_RESAMPLED_UNITS` units). The score of a model with several seeds is the mean over its seeds, in every draw
too; how much seeds differ is reported separately.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from jaxtyping import Float64

from visioncore import metrics
from visioncore.comparison.records import (
    ComparedSection,
    ComparedUnit,
    ComparisonSettings,
    Difference,
    ModelFacts,
    ModelScore,
    ModelScores,
    PairedDifference,
)
from visioncore.comparison.result import Comparison
from visioncore.comparison.scored_run import ScoredRun, aligned, by_model, on_common_units
from visioncore.errors import ConfigError
from visioncore.evaluation import Metric, SessionSums, UnitRow
from visioncore.evaluation.population import exclusion_reasons, number
from visioncore.metrics import Sums

_CONDITIONS = (
    *("split", "bin_ms", "sampling_rate_hz", "burn_in_s", "null", "response_kind"),
    *("selection_metric", "n_sessions", "n_repeats", "data_fingerprint"),
)


def compare(
    runs: Sequence[ScoredRun], reference: str | None = None, *, common_units: bool = False
) -> Comparison:
    """Hold models against each other, and each against `reference` (the first one when left out).

    Args:
        common_units: compare on the units alone that all runs have; else they must have the same ones.

    Raises:
        ConfigError: no run is given, the reference is none of the models, or runs of one name are not its seeds.
        DataError: the runs were not scored on the same units and bins, or under other conditions.
    """
    if not runs:
        raise ConfigError("no run to compare; name at least one run folder")
    models = by_model(on_common_units(runs) if common_units else runs)
    chosen = reference or next(iter(models))
    if chosen not in models:
        raise ConfigError(f"the reference is '{chosen}'; expected one of the models: {', '.join(models)}")
    seeds = [run for of_model in models.values() for run in of_model]
    sums = dict(zip((run.where for run in seeds), aligned(seeds), strict=True))
    paired = _Paired(
        {name: [sums[run.where] for run in own] for name, own in models.items()}, seeds[0], chosen
    )
    return paired.comparison(models)


class _Paired:
    """Aligned sums of all seeds of all models, cut into sections."""

    def __init__(self, sums: dict[str, list[list[SessionSums]]], first: ScoredRun, reference: str) -> None:
        self.sums, self.first, self.reference = sums, first, reference
        self.counts = first.result.settings.counts
        self.scores: tuple[Metric, ...] = (
            ("bits_per_spike", "correlation") if self.counts else ("correlation",)
        )
        class_of = {(row.session, row.unit_id): row.class_name for row in first.result.units}
        self.template = next(iter(sums.values()))[0]
        self.classes = [
            np.array([class_of.get((session.session, unit), "") for unit in session.unit_ids])
            for session in self.template
        ]

    def comparison(self, models: dict[str, list[ScoredRun]]) -> Comparison:
        overall, scored = self._section()
        kinds = sorted({kind for session in self.template for kind in session.kinds})
        classes = sorted({str(name) for names in self.classes for name in names} - {""})
        settings = self.first.result.settings
        return Comparison(
            settings=ComparisonSettings(
                **{name: getattr(settings, name) for name in _CONDITIONS},
                causal=_of_all([run.result.settings.causal for own in models.values() for run in own]),
                reference=self.reference,
                n_units=overall.n_units,
                n_excluded=overall.n_excluded,
                n_bins=self.first.result.overall.n_bins,
                resampled="units and blocks of time"
                if overall.n_units >= metrics.MIN_RESAMPLED_UNITS
                else "blocks of time",
            ),
            models=self._models(models),
            overall=overall,
            sessions={s.session: self._section(session=s.session)[0] for s in self.template},
            by_kind={kind: self._section(kind=kind)[0] for kind in kinds},
            by_class={name: self._section(cell_class=name)[0] for name in classes},
            by_class_and_kind={
                name: {kind: self._section(kind=kind, cell_class=name)[0] for kind in kinds}
                for name in classes
            },
            matrix={
                one: {other: _difference(scored[one], scored[other]) for other in scored} for one in scored
            },
            units=self._units(),
        )

    def _section(
        self, session: str | None = None, kind: str | None = None, cell_class: str | None = None
    ) -> tuple[ComparedSection, dict[str, dict[Metric, "_Scored"]]]:
        """The scores of all models on a cut of the data, and what they were made from."""
        cut = self._cut(session, kind, cell_class)
        scored: dict[str, dict[Metric, _Scored]] = {
            name: {score: _Scored.of([cut.take(own) for own in seeds], score) for score in self.scores}
            for name, seeds in self.sums.items()
        }
        ceiling = self._ceiling(cut)
        section = ComparedSection(
            n_units=cut.n_units,
            n_excluded=cut.n_excluded,
            ceiling=None if ceiling is None else number(ceiling.mean),
            models={name: _summary(scores, ceiling) for name, scores in scored.items()},
            differences={
                name: _difference(scores, scored[self.reference]) for name, scores in scored.items()
            },
        )
        return section, scored

    def _cut(self, session: str | None, kind: str | None, cell_class: str | None) -> "_Cut":
        """Units without a spike in these stretches, or without a valid bin, are left out for all models alike."""
        places, n_units, n_excluded = [], 0, 0
        for i, own in enumerate(self.template):
            rows = np.flatnonzero([kind in (None, found) for found in own.kinds])
            units = np.flatnonzero([cell_class in (None, found) for found in self.classes[i]])
            if session not in (None, own.session) or not rows.size or not units.size:
                continue
            reasons = exclusion_reasons(_taken(own.model, rows, units), self.counts)
            n_units += int((reasons == "").sum())
            n_excluded += int((reasons != "").sum())
            places.append((i, rows, units[reasons == ""]))
        return _Cut(places, n_units, n_excluded)

    def _ceiling(self, cut: "_Cut") -> "_Scored | None":
        """The true rates' bits/spike; None where a session has no truth, or the truth scores nothing."""
        true = [(self.template[i].ceiling, rows, units) for i, rows, units in cut.places]
        known = [_taken(sums, rows, units) for sums, rows, units in true if sums is not None]
        if not self.counts or not cut.n_units or len(known) < len(true):
            return None
        ceiling = _Scored.of([known], "bits_per_spike")
        return ceiling if ceiling.mean > 0 else None

    def _models(self, models: dict[str, list[ScoredRun]]) -> dict[str, ModelFacts]:
        normalised = {
            name: [{(row.session, row.unit_id): row for row in run.result.units} for run in seeds]
            for name, seeds in models.items()
        }
        units = [(own.session, unit) for own in self.template for unit in own.unit_ids]
        family = {
            name: next(n for n in models if models[n][0].config == seeds[0].config)
            for name, seeds in models.items()
        }
        every = [rows for seeds in normalised.values() for rows in seeds]
        reliable = [u for u in units if all(_reliable(rows[u]) for rows in every)]
        return {
            name: ModelFacts(
                runs=tuple(run.where for run in seeds),
                seeds=tuple(run.seed for run in seeds),
                family=family[name],
                train_share=seeds[0].train_share,
                behaviour=seeds[0].result.settings.behaviour or "not said",
                parameters=seeds[0].parameters,
                training_flops=_mean([run.training_flops for run in seeds]),
                wall_s=_mean([run.wall_s for run in seeds]),
                cc_norm=_mean([rows[u].cc_norm for rows in normalised[name] for u in reliable]),
                cc_norm_n_units=len(reliable),
            )
            for name, seeds in models.items()
        }

    def _units(self) -> tuple[ComparedUnit, ...]:
        """Every unit's score by each model, the mean over its seeds."""
        per_unit = {
            score: {
                name: np.mean([_per_unit([own.model for own in run], score) for run in seeds], axis=0)
                for name, seeds in self.sums.items()
            }
            for score in self.scores
        }
        models = [own.model for own in self.template]
        reasons = np.concatenate([exclusion_reasons(sums, self.counts) for sums in models])
        names = [(own.session, unit) for own in self.template for unit in own.unit_ids]
        classes = np.concatenate(self.classes)
        columns = {(row.session, row.unit_id): row.columns for row in self.first.result.units}

        def of_unit(i: int) -> dict[str, Any]:
            told: dict[str, Any] = {
                score: {
                    model: None if reasons[i] else number(values[i]) for model, values in of_models.items()
                }
                for score, of_models in per_unit.items()
            }
            measured = columns.get(names[i])
            return told | {"columns": measured} if measured else told

        return tuple(
            ComparedUnit(
                session=session,
                unit_id=unit,
                cell_class=str(classes[i]) or None,
                excluded_reason=str(reasons[i]) or None,
                **of_unit(i),
            )
            for i, (session, unit) in enumerate(names)
        )


@dataclass(frozen=True)
class _Cut:
    """Some stretches of time and some units: (session's number, rows, units) of each session that has any."""

    places: list[tuple[int, np.ndarray, np.ndarray]]
    n_units: int
    n_excluded: int

    def take(self, sessions: Sequence[SessionSums]) -> list[Sums]:
        return [_taken(sessions[i].model, rows, units) for i, rows, units in self.places]


@dataclass(frozen=True)
class _Scored:
    """One score of one model on one cut."""

    per_unit: Float64[np.ndarray, "seeds units"]
    draws: Float64[np.ndarray, " draws"] | None
    """Of the mean over units and seeds; None where nothing can be resampled."""

    @classmethod
    def of(cls, seeds: Sequence[list[Sums]], score: str) -> "_Scored":
        per_unit = np.stack([_per_unit(own, score) for own in seeds])
        if not per_unit.size:
            return cls(per_unit, None)
        draws = [metrics.population_draws(own, attrgetter(score)) for own in seeds]
        known = [of_seed for of_seed in draws if of_seed is not None]
        return cls(per_unit, np.mean(known, axis=0) if known else None)

    @property
    def mean(self) -> float:
        return float(self.per_unit.mean()) if self.per_unit.size else float("nan")


def _taken(sums: Sums, rows: np.ndarray, units: np.ndarray) -> Sums:
    return sums.map(lambda a: a[np.ix_(rows, units)])


def _per_unit(sessions: Sequence[Sums], score: str) -> Float64[np.ndarray, " units"]:
    scores = [getattr(sums.map(lambda a: a.sum(0)), score) for sums in sessions]
    return np.concatenate([np.empty(0), *scores])


def _summary(scores: dict[Metric, _Scored], ceiling: _Scored | None) -> ModelScores:
    summary: dict[str, ModelScore] = {}
    for name, scored in scores.items():
        of_seeds = scored.per_unit.mean(1) if scored.per_unit.size else np.empty(0)
        summary[name] = ModelScore(
            mean=number(scored.mean),
            median=number(np.median(scored.per_unit.mean(0))) if scored.per_unit.size else None,
            ci95=metrics.interval(scored.draws),
            of_seeds=tuple(of_seeds.tolist()),
            seed_sd=float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else None,
        )
    if ceiling is None:
        return ModelScores(**summary, fraction_of_ceiling=None, fraction_of_ceiling_ci95=None)
    mine, share = scores["bits_per_spike"], None
    if mine.draws is not None and ceiling.draws is not None:
        share = metrics.interval(mine.draws / np.where(ceiling.draws > 0, ceiling.draws, np.nan))
    return ModelScores(
        **summary, fraction_of_ceiling=number(mine.mean / ceiling.mean), fraction_of_ceiling_ci95=share
    )


def _difference(one: dict[Metric, _Scored], other: dict[Metric, _Scored]) -> Difference:
    """`one` less `other`, and the share of units that `one` predicts better."""
    difference: dict[str, PairedDifference] = {}
    for name in one:
        a, b = one[name], other[name]
        per_unit = a.per_unit.mean(0) - b.per_unit.mean(0) if a.per_unit.size else np.empty(0)
        paired = None if a.draws is None or b.draws is None else a.draws - b.draws
        difference[name] = PairedDifference(
            mean=number(per_unit.mean()) if per_unit.size else None,
            ci95=metrics.interval(paired),
            better_units=float((per_unit > 0).mean()) if per_unit.size else None,
        )
    return Difference(**difference)


def _of_all(values: Sequence[bool | None]) -> bool | None:
    """Whether it is true of all; None where one does not say."""
    return None if None in values else all(values)


def _reliable(row: UnitRow) -> bool:
    """Whether CC_norm may be averaged: as in an evaluation, the signal power exceeds its error."""
    return row.snr is not None and row.snr > 1 and row.cc_norm is not None


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one is not known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
