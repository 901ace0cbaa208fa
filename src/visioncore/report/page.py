"""The report: what to say and show about one twin, put into the page's template."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from visioncore.audit import load_audit
from visioncore.config import dump_config
from visioncore.data.recording import Split
from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.errors import DataError
from visioncore.evaluation import (
    BlockPredictor,
    EvaluationResult,
    Repeats,
    check_fit,
    read_test_evaluations,
)
from visioncore.files import write_text
from visioncore.model import Twin
from visioncore.predictor import Predictor
from visioncore.report import figures
from visioncore.report.clip import REPEATS_SHOWN, Clip, make_clip
from visioncore.report.fields import field_figure, median_distance
from visioncore.report.figures import Psth
from visioncore.run_folder import RunFolder

PSTH_BIN_S = 0.02
PSTH_S = 4.0
STIMULI_SHOWN = 2
CLIP_UNITS = 8
TABLE_UNITS = 400
EXAMPLES = {"good": 0.9, "median": 0.5, "bad": 0.1}
"""Units shown, by their quantile in the score."""
SCORE_LABELS = {"bits_per_spike": "bits/spike", "correlation": "correlation"}

Json = dict[str, Any]


def write_report(
    twin: Predictor,
    store: RecordingStore,
    result: EvaluationResult,
    run_dir: Path,
    *,
    path: Path | None = None,
) -> Path:
    """Write the page about `result` to `path`, or to RUN/report.html: complete or not at all.

    The page needs no network and no other file. The run folder gives training curves, the experiment, an audit of
    this very twin and the record of test evaluations, where it has them. Shown are the sessions
    that twin and store share.
    """
    store = check_fit(twin, store)
    target = path or RunFolder(run_dir).report
    page = page_environment().get_template("report.html.j2").render(**_content(twin, store, result, run_dir))
    write_text(target, page)
    return target


def page_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("visioncore.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "interval": _interval, "percent": _percent}
    return environment


def _content(twin: Predictor, store: RecordingStore, result: EvaluationResult, run_dir: Path) -> Json:
    metric = result.settings["selection_metric"]
    scored = sorted(
        (row for row in result.units if row["excluded_reason"] is None),
        key=lambda row: row[metric],
        reverse=True,
    )
    folder = RunFolder(run_dir)
    experiment = folder.experiment
    history = _curves(folder)
    split = result.settings["split"]
    audited = load_audit(folder.audit, twin, store)
    evaluations = read_test_evaluations(run_dir)
    return {
        "title": run_dir.resolve().name,
        "result": result,
        "metric": metric,
        "score_label": SCORE_LABELS[metric],
        "spec": store.spec,
        "subjects": sorted({session.subject for session in store.sessions.values()}),
        "n_parameters": sum(p.numel() for p in twin.parameters()) if isinstance(twin, Twin) else None,
        "clip": _clip(twin, store, scored, split),
        "psths": _psth_figure(twin, store, scored, split, metric),
        "scores": _score_figure(scored, metric),
        "fields": field_figure(twin, store, split),
        "distance": median_distance(twin, store),
        "curves": figures.training_curves(history, SCORE_LABELS[metric]) if history else None,
        "audit": audited,
        "controls": figures.control_scores(audited.controls) if audited else None,
        "evaluations": str(evaluations) if evaluations.n_times else None,
        "tables": {
            "Session": result.sessions,
            "Stimulus kind": result.by_kind,
            "Cell class": result.by_class,
            "Phase": result.by_phase if len(result.by_phase) > 1 else {},
        },
        "units": result.units[:TABLE_UNITS],
        "model_yaml": json.dumps(dump_config(twin.config), indent=2) if isinstance(twin, Twin) else None,
        "experiment_yaml": experiment.read_text(encoding="utf-8") if experiment.exists() else None,
        "provenance": json.dumps(
            {key: value for key, value in twin.provenance.items() if key != "experiment"}, indent=2
        ),
        "settings_json": json.dumps(result.settings, indent=2),
    }


def _curves(folder: RunFolder) -> dict[str, np.ndarray] | None:
    rows = folder.history()
    if missing := [key for key in figures.CURVES if rows and key not in rows[0]]:
        raise DataError(
            f"{folder.metrics}: is no history of a training (it has no {missing[0]}); expected numbers under "
            f"{', '.join(figures.CURVES)}. Delete it, or train again"
        )
    return {key: np.array([row[key] for row in rows]) for key in figures.CURVES} if rows else None


def _score_figure(scored: Sequence[Json], metric: str) -> str | None:
    if not scored:
        return None
    ceilings = [row["ceiling"] for row in scored]
    known = metric == "bits_per_spike" and all(value is not None for value in ceilings)
    counts = "recorded_rate_hz" in scored[0]
    recorded = "recorded_rate_hz" if counts else "recorded_mean"
    return figures.unit_scores(
        score=_column(scored, metric),
        ceiling=np.array(ceilings, np.float64) if known else None,
        rate=_column(scored, recorded),
        classes=[row["cell_class"] or "" for row in scored],
        labels=(
            SCORE_LABELS[metric],
            "recorded mean rate (spikes/s)" if counts else "recorded mean response",
        ),
    )


def _column(rows: Sequence[Json], name: str) -> np.ndarray:
    return np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64)


def _repeats(session: SessionStore, split: Split) -> list[tuple[Block, ...]]:
    """The blocks of each repeated stimulus: one of every kind first, common kinds before rare ones."""
    groups: dict[str, list[Block]] = {}
    for block in session.blocks_in(split):
        if block.stimulus_id is not None:
            groups.setdefault(block.stimulus_id, []).append(block)
    repeated = [tuple(group) for group in groups.values() if len(group) > 1]
    bins = Counter[str]()
    for block in session.blocks_in(split):
        bins[block.kind] += block.n_bins
    repeated.sort(key=lambda group: -bins[group[0].kind])
    kinds = [group[0].kind for group in repeated]
    first = [i for i, kind in enumerate(kinds) if kind not in kinds[:i]]
    rest = [i for i in range(len(repeated)) if i not in first]
    return [repeated[i] for i in first + rest]


def _psth_figure(
    twin: Predictor, store: RecordingStore, scored: Sequence[Json], split: Split, metric: str
) -> str | None:
    """Units at fixed quantiles of the score, on their first repeated stimuli: nothing is picked by eye."""
    eligible = [row for row in scored if row["n_repeats"] > 1]
    if not eligible:
        return None
    rows = []
    predicted: dict[str, list[Repeats]] = {}
    for name, quantile in EXAMPLES.items():
        row = eligible[round((1 - quantile) * (len(eligible) - 1))]
        session = store.sessions[row["session"]]
        if session.id not in predicted:
            predicted[session.id] = _predicted_repeats(twin, store, session, split)
        title = f"{name}: unit {row['unit_id']} ({row[metric]:.2f} {SCORE_LABELS[metric]})"
        unit = session.unit_ids.index(row["unit_id"])
        rows.append(_psths_of(predicted[session.id], store, unit, title))
    return figures.psths(rows, "spikes/s" if store.spec.response_kind == "counts" else "response")


def _bins_summed(store: RecordingStore) -> int:
    return max(round(PSTH_BIN_S * store.spec.rate_hz), 1)


def _predicted_repeats(
    twin: Predictor, store: RecordingStore, session: SessionStore, split: Split
) -> list[Repeats]:
    predict = BlockPredictor(twin, session, burn_in_bins=store.burn_in_bins, bins_summed=_bins_summed(store))
    groups = _repeats(session, split)[:STIMULI_SHOWN]
    return [Repeats.of([predict(block) for block in blocks]) for blocks in groups]


def _psths_of(stimuli: Sequence[Repeats], store: RecordingStore, unit: int, title: str) -> list[Psth]:
    bin_s = _bins_summed(store) / store.spec.rate_hz
    scale = 1 / bin_s if store.spec.response_kind == "counts" else 1.0
    shown = slice(0, round(PSTH_S / bin_s))
    return [
        Psth(
            title=f"{title}; {repeats.kind}" if number == 0 else repeats.kind,
            bin_s=bin_s,
            start_s=store.burn_in_bins / store.spec.rate_hz,
            recorded=repeats.responses[:, shown, unit] * scale,
            predicted=repeats.predictions[:, shown, unit].mean(0) * scale,
            true=None if repeats.rates is None else repeats.rates[:, shown, unit].mean(0) * scale,
        )
        for number, repeats in enumerate(stimuli)
    ]


def _clip(twin: Predictor, store: RecordingStore, scored: Sequence[Json], split: Split) -> Clip | None:
    if not scored:
        return None
    session = store.sessions[scored[len(scored) // 2]["session"]]
    repeats = _repeats(session, split)
    alone = max(session.blocks_in(split), key=lambda block: block.n_bins)
    mine = [row for row in scored if row["session"] == session.id]
    offered = [mine[i] for i in np.unique(np.linspace(0, len(mine) - 1, CLIP_UNITS).round().astype(int))]
    labels = {}
    for row in offered:
        scores = [f"{row[m]:.2f} {label}" for m, label in SCORE_LABELS.items() if row[m] is not None]
        name = f"{row['unit_id']} ({row['cell_class']})" if row["cell_class"] else str(row["unit_id"])
        labels[session.unit_ids.index(row["unit_id"])] = f"{name}: {', '.join(scores)}"
    return make_clip(twin, store, session, repeats[0][:REPEATS_SHOWN] if repeats else (alone,), labels)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _interval(value: Sequence[float] | None, digits: int = 2) -> str:
    return "" if value is None else f"{_number(value[0], digits)} to {_number(value[1], digits)}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %".replace("-", "−")
