"""The scores of units and populations."""

from collections.abc import Iterable

import numpy as np

from visioncore.evaluation.records import unit_table
from visioncore.report import figures
from visioncore.report.sections.base import Section, Shown, rendered

TABLE_UNITS = 400


def every_unit(shown: Shown) -> Section | None:
    """Each unit's score against its ceiling and its mean response, where any unit can be scored."""
    scored = shown.scored
    if not scored:
        return None
    ceilings = [row.ceiling for row in scored]
    known = shown.metric == "bits_per_spike" and all(value is not None for value in ceilings)
    scores = figures.unit_scores(
        score=_column(row.score(shown.metric) for row in scored),
        ceiling=_column(ceilings) if known else None,
        rate=_column(row.recorded for row in scored),
        classes=[row.class_name for row in scored],
        labels=(
            shown.score_label,
            "recorded mean rate (spikes/s)" if shown.result.settings.counts else "recorded mean response",
        ),
    )
    return Section("Every unit", rendered("every_unit", shown, scores=scores))


def tables(shown: Shown) -> Section:
    """Every score of every population, and of the first units."""
    result = shown.result
    sections = {
        "Subject": result.by_subject if 1 < len(result.by_subject) < len(result.sessions) else {},
        "Session": result.sessions,
        "Stimulus kind": result.by_kind,
        "Cell class": result.by_class,
        "Phase": result.by_phase if len(result.by_phase) > 1 else {},
    }
    units = unit_table(result.units[:TABLE_UNITS])
    return Section("Tables", rendered("tables", shown, tables=sections, units=units))


def _column(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float64)
