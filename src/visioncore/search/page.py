"""The page of a search: pictures first, then what the best is, what each departure is worth, and who looked at what."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from visioncore.drawing import PALETTE, STYLE, as_png, png_uri
from visioncore.files import write_text
from visioncore.report.environment import page_environment
from visioncore.search.findings import Found, short, write_found
from visioncore.search.space import Choice, SearchConfig, as_flow
from visioncore.search.study import Study, Trial
from visioncore.search.worker import Search


def write_page(study: Study, search: Search) -> Path:
    """Write `search.html` and the files beside it; the page needs no other."""
    told = write_found(study, search)
    trials = study.trials()
    labels = short(search)
    page = (
        page_environment()
        .get_template("search.html.j2")
        .render(
            title=search.out.resolve().name,
            told=told,
            config=search.config,
            labels=labels,
            history=history(trials),
            importances=importances(told, labels) if told.importances else None,
            coordinates=coordinates(trials, search.config, labels),
            failed=[trial for trial in (*trials, *study.confirmations()) if trial.state == "failed"],
            best_yaml=_best_yaml(told),
            shown=_shown,
        )
    )
    path = search.out / "search.html"
    write_text(path, page)
    return path


def history(trials: Sequence[Trial]) -> str | None:
    """The objective of each trial in its turn, the best so far, and those that came to nothing."""
    finished = [trial for trial in trials if trial.value is not None]
    if not finished:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 3.0))
        axes = figure.subplots()
        numbers, values = (
            np.array(own) for own in zip(*((t.number, t.value) for t in finished), strict=True)
        )
        axes.plot(numbers, values, "o", color=PALETTE[0], markersize=4, label="finished")
        axes.step(numbers, np.maximum.accumulate(values), where="post", color=PALETTE[1], label="best so far")
        floor = values.min() - 0.06 * (np.ptp(values) or 1.0)
        for state, marker, colour in (("stopped", "v", PALETTE[4]), ("failed", "x", PALETTE[5])):
            own = [trial.number for trial in trials if trial.state == state]
            if own:
                axes.plot(
                    own, [floor] * len(own), marker, color=colour, markersize=4, label=f"{state} (no value)"
                )
        axes.set(xlabel="trial", ylabel="objective")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4)
        return png_uri(as_png(figure))


def importances(told: Found, labels: Mapping[str, str]) -> str:
    """Each dimension's share of what the objective varies by."""
    ordered = sorted(told.importances.items(), key=lambda pair: pair[1])
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 0.32 * len(ordered) + 0.8))
        axes = figure.subplots()
        axes.barh([labels[key] for key, _ in ordered], [value for _, value in ordered], color=PALETTE[0])
        axes.set(xlabel="importance (share)")
        return png_uri(as_png(figure))


def coordinates(trials: Sequence[Trial], config: SearchConfig, labels: Mapping[str, str]) -> str | None:
    """A line per finished trial through its values, coloured by the objective, the best ones on top."""
    finished = sorted(
        (trial for trial in trials if trial.value is not None), key=lambda trial: trial.value or 0.0
    )
    if len(finished) < 2:
        return None
    keys = list(config.space)
    values = np.array([trial.value for trial in finished])
    rank = np.argsort(np.argsort(values)) / max(len(values) - 1, 1)
    with rc_context(STYLE):
        figure = Figure(figsize=(max(1.3 * len(keys), 9), 4.0))
        axes = figure.subplots()
        for trial, own in zip(finished, rank, strict=True):
            heights = [_height(config, key, trial.chosen) for key in keys]
            colour = (0.0, 0.447, 0.698, 0.15 + 0.75 * float(own) ** 2)
            axes.plot(range(len(keys)), heights, color=colour, linewidth=1.2, marker="o", markersize=2.5)
        axes.plot(
            range(len(keys)),
            [_height(config, key, finished[-1].chosen) for key in keys],
            color=PALETTE[1],
            linewidth=2.2,
            label=f"best (trial {finished[-1].number})",
        )
        axes.set_xticks(range(len(keys)), [labels[key] for key in keys], rotation=20, ha="right")
        axes.set(yticks=[], xlim=(-0.3, len(keys) - 0.7), ylim=(-0.12, 1.12))
        for place, key in enumerate(keys):
            axes.axvline(place, color="#cccccc", linewidth=0.8, zorder=0)
            for height, text in _ends(config, key):
                axes.text(place, height, text, fontsize=7, ha="center", va="bottom" if height > 1 else "top")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0))
        return png_uri(as_png(figure))


def _height(config: SearchConfig, key: str, chosen: Mapping[str, Any]) -> float:
    """From 0 to 1; NaN where the trial has no such dimension."""
    if key not in chosen:
        return float("nan")
    dimension = config.space[key]
    if isinstance(dimension, Choice):
        place = [*map(as_flow, dimension.values)].index(as_flow(chosen[key]))
        return place / (len(dimension.values) - 1)
    low, high, value = float(dimension.low), float(dimension.high), float(chosen[key])
    if dimension.log:
        low, high, value = (float(np.log(number)) for number in (low, high, value))
    return (value - low) / (high - low)


def _ends(config: SearchConfig, key: str) -> list[tuple[float, str]]:
    dimension = config.space[key]
    low, high = (
        (dimension.values[0], dimension.values[-1])
        if isinstance(dimension, Choice)
        else (dimension.low, dimension.high)
    )
    return [(-0.03, _shown(low)), (1.03, _shown(high))]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _best_yaml(told: Found) -> str:
    return "\n".join(f"{key}: {_shown(value)}" for key, value in told.best.items())
