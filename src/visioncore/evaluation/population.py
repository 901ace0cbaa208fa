"""From the statistics of units to the scores of a population."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visioncore import metrics
from visioncore.evaluation.result import Json
from visioncore.metrics import Sums


@dataclass(frozen=True)
class Part:
    """What one session contributes to a section: a choice of its blocks and units."""

    model: Sums
    """(blocks, units)"""
    ceiling: Sums | None
    repeats: dict[str, np.ndarray]
    """Scores on repeats, one per unit."""
    n_repeats: int
    n_bins: int

    def take(self, units: np.ndarray) -> "Part":
        ceiling = self.ceiling.map(lambda a: a[:, units]) if self.ceiling else None
        repeats = {name: values[units] for name, values in self.repeats.items()}
        return Part(self.model.map(lambda a: a[:, units]), ceiling, repeats, self.n_repeats, self.n_bins)


def section_of(parts: list[Part], counts: bool) -> Json:
    """The scores of a population."""
    included = [exclusion_reasons(part.model, counts) == "" for part in parts]
    n_units = sum(len(chosen) for chosen in included)
    parts = [part.take(np.flatnonzero(chosen)) for part, chosen in zip(parts, included, strict=True)]
    totals = [part.model.map(lambda a: a.sum(0)) for part in parts]
    scores = {
        "bits_per_spike": [total.bits_per_spike for total in totals],
        "correlation": [total.correlation for total in totals],
    }
    chosen_units = sum(int(chosen.sum()) for chosen in included)
    section: Json = {}
    for name, per_unit in scores.items():
        section[name] = {"mean": None, "median": None, "ci95": None}
        if chosen_units and (counts or name == "correlation"):
            together = np.concatenate(per_unit)
            draws = metrics.population_draws([part.model for part in parts], _by_name(name))
            section[name] = {
                "mean": number(together.mean()),
                "median": number(np.median(together)),
                "ci95": metrics.interval(draws),
            }
    spikes = sum(float(total.spikes.sum()) for total in totals)
    gain = sum(float(total.gain.sum()) for total in totals)
    section["bits_per_spike"]["pooled"] = float(gain / (spikes * np.log(2))) if counts and spikes else None
    constant = sum(int(total.constant.sum()) for total in totals)
    section["correlation"]["n_constant_predictions"] = constant
    section["ceiling"], section["fraction_of_ceiling"], section["fraction_of_ceiling_ci95"] = _ceiling(
        parts if counts else []
    )
    reliable = [part.repeats["snr"] > 1 for part in parts]
    for name in ("cc_norm", "feve", "correlation_to_average", "oracle"):
        values = [p.repeats[name][some] for p, some in zip(parts, reliable, strict=True)]
        section[name] = number(metrics.mean_or_nan(values))
        section[f"{name}_n_units"] = int(sum(np.isfinite(v).sum() for v in values))
    repeated = [part.n_repeats for part in parts if part.n_repeats]
    section |= {
        "n_repeats": min(repeated, default=0),
        "n_units": chosen_units,
        "n_excluded": n_units - chosen_units,
        "n_bins": sum(part.n_bins for part in parts),
    }
    return section


def _ceiling(parts: Sequence[Part]) -> tuple[Json, float | None, tuple[float, float] | None]:
    """The true rates' score, and the model's share of it over the same units, with intervals."""
    known = [(part.model, part.ceiling) for part in parts if part.ceiling is not None]
    true = [ceiling for _, ceiling in known]
    if not known or not any(ceiling.bins.size for ceiling in true):
        return {"bits_per_spike": None, "correlation": None, "ci95": None}, None, None
    models = [model for model, _ in known]
    best, mine = (
        metrics.mean_or_nan(s.map(lambda a: a.sum(0)).bits_per_spike for s in some) for some in (true, models)
    )
    correlation = metrics.mean_or_nan(s.map(lambda a: a.sum(0)).correlation for s in true)
    score = _by_name("bits_per_spike")
    best_draws, my_draws = metrics.population_draws(true, score), metrics.population_draws(models, score)
    ceiling = {
        "bits_per_spike": number(best),
        "correlation": number(correlation),
        "ci95": metrics.interval(best_draws),
    }
    if not best > 0:
        return ceiling, None, None
    share = None
    if best_draws is not None and my_draws is not None:
        share = metrics.interval(my_draws / np.where(best_draws > 0, best_draws, np.nan))
    return ceiling, number(mine / best), share


def _by_name(name: str) -> Any:
    return lambda sums: getattr(sums, name)


def exclusion_reasons(model: Sums, counts: bool) -> np.ndarray:
    """Why each unit is excluded; empty where it is not."""
    total = model.map(lambda a: a.sum(0))
    silent = total.spikes == 0 if counts else total.constant_recording
    text = "no spikes in the scored bins" if counts else "the recorded trace never changes"
    return np.select([total.bins == 0, silent], ["no valid bins", text], "")


def number(value: float | np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None
