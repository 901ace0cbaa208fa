"""The figures of a comparison, best model first. Units stand on every axis; intervals are 95 %."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from visioncore.comparison import ComparedSection, Comparison
from visioncore.comparison.records import ModelScore, PairedDifference
from visioncore.drawing import MARKERS, PALETTE, PREDICTED, STYLE, TRUE
from visioncore.evaluation import Metric

SCORE_LABELS = {"bits_per_spike": "bits/spike", "correlation": "correlation"}
PAIRS_SHOWN = 6
"""Scatter plots at most, of the best models."""
STRONGEST = 0.75
"""The share of a map's differences that its colours tell apart."""
_GREY, _LINE = "#6b6b6b", "#bbbbbb"
_PANELS_IN_A_ROW = 3


def all_figures(comparison: Comparison) -> dict[str, Figure]:
    """Every figure that the comparison has numbers for, by the name of its file."""
    drawn: dict[str, Callable[[Comparison], Figure | None]] = {
        "scores": scores,
        "efficiency": efficiency,
        "units": units,
        "gains": gains,
        "cost": cost,
    }
    with rc_context(STYLE):
        found = {name: draw(comparison) for name, draw in drawn.items()}
    return {name: figure for name, figure in found.items() if figure is not None}


def scores(comparison: Comparison) -> Figure:
    """Each model's score, and beside it its paired difference to the reference."""
    metric, reference = comparison.settings.selection_metric, comparison.settings.reference
    names = comparison.ranked()
    several = len(names) > 1
    figure = Figure(figsize=(10, 0.42 * len(names) + 1.25))
    panels = figure.subplots(1, 1 + several, sharey=True, squeeze=False)[0]
    label = SCORE_LABELS[metric]
    places = np.arange(len(names))[::-1]
    for name, place in zip(names, places, strict=True):
        own = comparison.overall.models[name].score(metric)
        colour = _GREY if name == reference and several else PREDICTED
        _with_interval(panels[0], own, place, colour)
        if len(own.of_seeds) > 1:
            above = np.full(len(own.of_seeds), place + 0.26)
            panels[0].plot(own.of_seeds, above, ls="", marker="o", ms=3.5, mfc="none", mec=colour)
        if several and name != reference:
            _with_interval(panels[1], comparison.overall.differences[name].score(metric), place, colour)
    panels[0].set(xlabel=f"{label}, mean over units", title="Score")
    panels[0].set_yticks(
        places, [f"{name} (reference)" if name == reference and several else name for name in names]
    )
    panels[0].set_ylim(-0.6, len(names) - 0.4)
    ceiling = comparison.overall.ceiling
    if ceiling is not None and metric == "bits_per_spike":
        panels[0].axvline(ceiling, color=TRUE, ls="--", lw=1.2)
        panels[0].annotate(
            "ceiling", (ceiling, 1.0), xycoords=("data", "axes fraction"), xytext=(-4, -2),
            textcoords="offset points", ha="right", va="top", color=TRUE,
        )  # fmt: skip
    _show_zero(panels[0])
    if several:
        panels[1].axvline(0, color=_GREY, lw=1)
        panels[1].set(xlabel=f"{label} more than {reference}, same units and bins", title="Paired difference")
        panels[1].tick_params(axis="y", length=0)
    for axes in panels:
        axes.grid(axis="y", color="#eeeeee", lw=0.8)
        axes.set_axisbelow(True)
    return figure


def _with_interval(axes: Axes, score: ModelScore | PairedDifference, place: float, colour: str) -> None:
    if score.mean is None:
        return
    if score.ci95 is not None:
        axes.plot(score.ci95, [place, place], color=colour, lw=2.2, solid_capstyle="butt")
    axes.plot(score.mean, place, marker="o", ms=7, color=colour)


def _show_zero(axes: Axes) -> None:
    """Zero is the mean rate: scores are read from there, also when all are far above it."""
    left, right = axes.get_xlim()
    axes.set_xlim(min(left, 0.0), right)
    axes.axvline(0, color=_LINE, lw=1, zorder=0)


def efficiency(comparison: Comparison) -> Figure | None:
    """Score against the share of the training data; None where no model was trained on several."""
    metric = comparison.settings.selection_metric
    families: dict[str, list[str]] = {}
    for name in comparison.ranked():
        families.setdefault(comparison.models[name].family, []).append(name)
    if all(len(members) < 2 for members in families.values()):
        return None
    figure = Figure(figsize=(6.5, 3.4))
    axes = figure.subplots()
    for i, (family, members) in enumerate(families.items()):
        members.sort(key=lambda name: comparison.models[name].train_share)
        shares = [100 * comparison.models[name].train_share for name in members]
        own = [comparison.overall.models[name].score(metric) for name in members]
        colour, means = PALETTE[i % len(PALETTE)], [np.nan if s.mean is None else s.mean for s in own]
        axes.plot(shares, means, label=family, color=colour, marker=MARKERS[i % len(MARKERS)])
        for share, score in zip(shares, own, strict=True):
            if score.ci95 is not None:
                axes.plot([share, share], score.ci95, color=colour, lw=1.4, alpha=0.5)
    every = sorted({100 * own.train_share for own in comparison.models.values()})
    axes.set_xscale("log")
    axes.set_xticks(every, [f"{share:g}" for share in every])
    axes.minorticks_off()
    axes.set(xlabel="share of the training data (%)", ylabel=f"{SCORE_LABELS[metric]}, mean over units")
    figure.legend(loc="outside right upper")
    return figure


def units(comparison: Comparison) -> Figure | None:
    """Every unit's score by a model against its score by the reference, coloured by cell class."""
    metric, reference = comparison.settings.selection_metric, comparison.settings.reference
    others = [name for name in comparison.ranked() if name != reference][:PAIRS_SHOWN]
    scored = [unit for unit in comparison.units if unit.excluded_reason is None]
    if not others or not scored:
        return None
    figure, panels = _panels(len(others), height=3.1)
    label = SCORE_LABELS[metric]
    values = {
        name: np.array([unit.score(metric, name) for unit in scored], np.float64)
        for name in (reference, *others)
    }
    low, high = (f([f(v) for v in values.values()]) for f in (np.nanmin, np.nanmax))
    edge = 0.05 * (high - low or 1.0)
    limits = (min(low, 0.0) - edge, high + edge)
    classes = sorted({unit.cell_class or "" for unit in scored})
    for axes, name in zip(panels, others, strict=True):
        axes.plot(limits, limits, color=_GREY, lw=1, zorder=0)
        axes.axhline(0, color="#dddddd", lw=0.8, zorder=0)
        axes.axvline(0, color="#dddddd", lw=0.8, zorder=0)
        for i, cell_class in enumerate(classes):
            mine = np.array([(unit.cell_class or "") == cell_class for unit in scored])
            axes.scatter(
                values[reference][mine], values[name][mine], s=16, alpha=0.8, lw=0, label=cell_class,
                color=PALETTE[i % len(PALETTE)], marker=MARKERS[i % len(MARKERS)],
            )  # fmt: skip
        better = comparison.overall.differences[name].score(metric).better_units
        axes.set_title(name if better is None else f"{name}: better for {100 * better:.0f} % of units")
        axes.set(
            xlim=limits,
            ylim=limits,
            aspect="equal",
            xlabel=f"{reference} ({label})",
            ylabel=f"{name} ({label})",
        )
    if classes != [""]:
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper center", ncols=1 if len(others) == 1 else len(texts))
    return figure


def gains(comparison: Comparison) -> Figure | None:
    """For which cells and stimuli each model is better than the reference: a map per model."""
    metric, reference = comparison.settings.selection_metric, comparison.settings.reference
    others = [name for name in comparison.ranked() if name != reference][:PAIRS_SHOWN]
    kinds, classes = list(comparison.by_kind), list(comparison.by_class)
    if not others or len(kinds) + len(classes) < 2:
        return None
    rows = [*classes, "all cells"]
    columns = ["all stimuli", *kinds]
    table = [
        [
            _cell(
                comparison, None if row == "all cells" else row, None if column == "all stimuli" else column
            )
            for column in columns
        ]
        for row in rows
    ]
    maps = {name: _map(table, name, metric) for name in others}
    sizes = np.concatenate([np.abs(mean).ravel() for mean, _ in maps.values()])
    # A cell with few spikes can differ by whole bits: it must not bleach the others.
    largest = float(np.nanquantile(sizes, STRONGEST)) if np.isfinite(sizes).any() else 0.0
    figure, panels = _panels(
        len(others), height=0.42 * len(rows) + 1.5, width=0.62 * len(columns) + 0.6, sharey=True
    )
    norm = TwoSlopeNorm(0.0, -(largest or 1.0), largest or 1.0)
    for axes, name in zip(panels, others, strict=True):
        mean, certain = maps[name]
        image = axes.imshow(mean, cmap="RdBu", norm=norm, aspect="auto")
        for (row, column), value in np.ndenumerate(mean):
            if np.isfinite(value):
                sure = bool(certain[row, column])
                axes.text(
                    column, row, f"{value:+.2f}".replace("-", "−"), ha="center", va="center", fontsize=8,
                    fontweight="bold" if sure else "normal", alpha=1.0 if sure else 0.8,
                    color="white" if abs(value) > 0.65 * largest else "#222222",
                )  # fmt: skip
        axes.set_title(f"{name} − {reference}")
        axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=list(panels), label=f"difference ({SCORE_LABELS[metric]})", extend="both")
    return figure


def _cell(comparison: Comparison, cell_class: str | None, kind: str | None) -> ComparedSection:
    if cell_class is None:
        return comparison.overall if kind is None else comparison.by_kind[kind]
    return comparison.by_class[cell_class] if kind is None else comparison.by_class_and_kind[cell_class][kind]


def _map(
    table: Sequence[Sequence[ComparedSection]], name: str, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """The differences, and where their interval leaves out zero."""
    found = [[section.differences[name].score(metric) for section in row] for row in table]
    mean = np.array([[np.nan if d.mean is None else d.mean for d in row] for row in found])
    certain = np.array([[d.ci95 is not None and d.ci95[0] * d.ci95[1] > 0 for d in row] for row in found])
    return mean, certain


def cost(comparison: Comparison) -> Figure | None:
    """Score against what a model took: time and arithmetic of training, and parameters."""
    metric = comparison.settings.selection_metric
    axes_of = {
        "wall_s": ("training time (minutes)", 1 / 60),
        "training_flops": ("training cost (TFLOP, counted)", 1e-12),
        "parameters": ("parameters (millions)", 1e-6),
    }
    names = comparison.ranked()
    known = [
        key for key in axes_of if all(getattr(comparison.models[name], key) is not None for name in names)
    ]
    if len(names) < 2 or not known:
        return None
    figure, panels = _panels(len(known), height=2.9, sharey=True)
    for axes, key in zip(panels, known, strict=True):
        label, unit = axes_of[key]
        for i, name in enumerate(names):
            own, x = (
                comparison.overall.models[name].score(metric),
                getattr(comparison.models[name], key) * unit,
            )
            if own.mean is None:
                continue
            colour, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
            if own.ci95 is not None:
                axes.plot([x, x], own.ci95, color=colour, lw=1.6, alpha=0.6)
            axes.plot(x, own.mean, color=colour, marker=marker, ms=7, ls="", label=name)
        axes.set_xlabel(label)
        _wide_enough(axes, [getattr(comparison.models[name], key) * unit for name in names])
    panels[0].set_ylabel(f"{SCORE_LABELS[metric]}, mean over units")
    handles, texts = panels[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper center", ncols=min(len(texts), 6))
    return figure


def _wide_enough(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where values differ much; never one so narrow that equal budgets look different."""
    low, high = min(values), max(values)
    if low > 0 and high > 4 * low:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if high < 100 * low else (1,), numticks=5))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(low / 1.6, high * 1.6)
    else:
        axes.set_xlim(0, 1.25 * high or 1.0)


def _panels(n: int, height: float, width: float = 3.35, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """`n` panels, three in a row at most; axes left over are hidden."""
    columns = min(n, _PANELS_IN_A_ROW)
    rows = -(-n // columns)
    figure = Figure(figsize=(width * columns + 0.3, height * rows + 0.35))
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel()
    for unused in axes[n:]:
        unused.set_axis_off()
    return figure, list(axes[:n])
