"""Figures of a battery."""

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from visioncore.drawing import PREDICTED, STYLE, TRUE
from visioncore.lab.analysis import Drawn
from visioncore.lab.tuning.measured import Measured
from visioncore.lab.tuning.recorded import RecordedTuning
from visioncore.lab.tuning.result import Tuning
from visioncore.lab.tuning.truth import Truth

EXAMPLES = 6
# Laid out by hand: to find out what fits takes seconds for so many axes.
SMALL = STYLE | {"font.size": 7.5, "axes.titlesize": 8.5, "figure.constrained_layout.use": False}
HISTOGRAMS_PER_ROW = 6


def examples(tuning: Tuning, name: str, parts: Sequence[Measured], what: str) -> Drawn:
    """Every curve that some parts have of some units, from the least to the most orientation-selective."""
    units = _spread(tuning.indices["osi_vector"].values, EXAMPLES)
    panels = {title: panel for part in parts for title, panel in part.panels.items()}
    with rc_context(SMALL):
        figure, grid = _grid(len(units), len(panels), 1.95, 1.4)
        for row, own in enumerate(grid):
            unit = units[row]
            for axes, (title, panel) in zip(own, panels.items(), strict=True):
                panel(axes, unit)
                axes.margins(x=0.06)
                if row == 0:
                    axes.set_title(title)
                elif axes.get_legend() is not None:
                    axes.get_legend().remove()
                if row < len(units) - 1:
                    axes.set_xlabel("")
            own[0].set_ylabel(tuning.units[unit].unit_id)
    return Drawn(
        name, figure, f"{len(units)} units, from the least to the most orientation-selective: {what}."
    )


def population(tuning: Tuning) -> Drawn:
    """A histogram of every index but the fits' R², and but what was recorded."""
    beside = () if tuning.recorded is None else tuning.recorded.indices
    shown = {
        name: index
        for name, index in tuning.indices.items()
        if index.defined.any() and name not in beside and not name.endswith("_r2")
    }
    n_rows = -(-len(shown) // HISTOGRAMS_PER_ROW)
    with rc_context(SMALL):
        figure, grid = _grid(n_rows, HISTOGRAMS_PER_ROW, 1.85, 1.45, between=0.62)
        every = grid.ravel()
        for axes, (name, index) in zip(every, shown.items(), strict=False):
            values = index.values[index.defined]
            axes.hist(values, bins=16, color=PREDICTED)
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.xaxis.set_major_locator(MaxNLocator(4))
            if index.median is not None:
                axes.axvline(index.median, color="#333333", linewidth=1)
            lacking = len(index.values) - len(values)
            told = name.replace("_", " ") + (f" ({lacking} undefined)" if lacking else "")
            axes.set_title("\n".join(wrap(told, 28)), fontsize=7)
        for axes in every[len(shown) :]:
            axes.set_visible(False)
    return Drawn("population", figure, "Every index over the units that have it; lines are medians.")


def beside_recorded(tuning: Tuning, recorded: RecordedTuning) -> Drawn:
    """Some units' trials, and both preferences and selectivities against each other."""
    found = recorded.indices
    units = _spread(found["recorded_correlation"].values, 4)
    with rc_context(STYLE | {"font.size": 8}):
        figure = Figure(figsize=(11, 5.2))
        top, bottom = figure.subplots(2, 4)
        for axes, unit in zip(top, units, strict=False):
            recorded.plot(axes, unit)
            axes.set_title(
                f"{tuning.units[unit].unit_id}, r = {found['recorded_correlation'].values[unit]:.2f}"
            )
        for axes in top[len(units) :]:
            axes.set_visible(False)
        top[0].set_ylabel(tuning.rest.unit)
        top[0].legend(fontsize=7, handlelength=1)
        for axes, name in zip(bottom, ("orientation_deg", "direction_deg", "osi_vector"), strict=False):
            index = found[f"recorded_{name}"]
            scatter(axes, index.values, found[f"predicted_{name}"].values, index.circle)
            axes.set(xlabel="recorded", ylabel="predicted", title=name.replace("_", " "))
        correlations = found["recorded_correlation"]
        bottom[3].hist(correlations.values[correlations.defined], bins=16, color=PREDICTED)
        bottom[3].set(xlabel="correlation", title="over conditions")
    return Drawn(
        "recorded",
        figure,
        "Gratings that the recording showed: mean responses to each condition and what is predicted of these trials, "
        "with the same curve fitted to both. Preferences are drawn for units whose recorded responses depend on them.",
    )


def against_truth(tuning: Tuning, truth: Truth) -> Drawn:
    """What was found against what the simulated cells have."""
    unit, found = tuning.display.unit, tuning.indices
    spatial = f"cycles_per_{unit}"
    pairs = [
        ("orientation (deg)", truth.orientation_deg, found["preferred_orientation_deg"]),
        ("direction (deg)", truth.direction_deg, found["preferred_direction_deg"]),
        (
            f"spatial frequency (cycles/{unit})",
            1 / (truth.period_px * tuning.display.unit_per_px),
            found[f"preferred_spatial_frequency_{spatial}"],
        ),
    ]
    with rc_context(STYLE):
        figure = Figure(figsize=(3 * len(pairs), 3))
        for axes, (name, true, index) in zip(figure.subplots(1, len(pairs)), pairs, strict=True):
            scatter(axes, true, index.values, index.circle)
            axes.set(xlabel="true", ylabel="of the twin", title=name)
    return Drawn("truth", figure, "Preferences of the twin's units against those of the simulated cells.")


def scatter(axes: Axes, x: np.ndarray, y: np.ndarray, circle: float | None = None) -> None:
    """One against the other, with the line on which both agree; angles are drawn where they are nearest to it."""
    if circle is not None:
        x = x % circle
        y = x + (y - x + circle / 2) % circle - circle / 2
    known = np.isfinite(x + y)
    axes.plot(x[known], y[known], "o", color=PREDICTED, markersize=3, alpha=0.7)
    if known.any():
        ends = [min(x[known].min(), y[known].min()), max(x[known].max(), y[known].max())]
        axes.plot(ends, ends, color=TRUE, linewidth=0.8)
    axes.set_aspect("equal", adjustable="datalim")


def _grid(
    n_rows: int, n_columns: int, width: float, height: float, between: float = 0.4
) -> tuple[Figure, np.ndarray]:
    """Axes with room for their ticks, and for what is written at the figure's edges; lengths in inches."""
    left, bottom, top = 0.55, 0.4, 0.35
    size = left + n_columns * width, bottom + top + n_rows * height
    figure = Figure(figsize=size)
    figure.subplots_adjust(
        left=left / size[0], right=1 - 0.1 / size[0], bottom=bottom / size[1], top=1 - top / size[1]
    )
    figure.subplots_adjust(wspace=0.32, hspace=between)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def _spread(values: np.ndarray, n: int) -> list[int]:
    """So many units, evenly over the order of their values; any where none has one."""
    order = np.argsort(values, kind="stable")
    known = order[: int(np.isfinite(values).sum())]
    order = known if len(known) else order
    return [int(order[k]) for k in np.unique(np.linspace(0, len(order) - 1, n).round().astype(int))]
