"""Figures of a battery."""

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visioncore.drawing import PREDICTED, STYLE, TRUE
from visioncore.lab.analysis import Drawn
from visioncore.lab.tuning.result import Tuning
from visioncore.lab.tuning.truth import Truth

EXAMPLES = 6
SMALL = STYLE | {"font.size": 7.5, "axes.titlesize": 8.5}
HISTOGRAMS_PER_ROW = 5


def examples(tuning: Tuning) -> Drawn:
    """Every curve of some units, from the least to the most orientation-selective."""
    units = _spread(tuning.indices["osi_vector"].values, EXAMPLES)
    panels = {title: panel for part in tuning.parts for title, panel in part.panels.items()}
    with rc_context(SMALL):
        figure = Figure(figsize=(1.9 * len(panels) + 0.5, 1.4 * len(units) + 0.5))
        for row, own in enumerate(figure.subplots(len(units), len(panels), squeeze=False)):
            unit = units[row]
            for axes, (title, panel) in zip(own, panels.items(), strict=True):
                panel(axes, unit)
                if row == 0:
                    axes.set_title(title)
                if row < len(units) - 1:
                    axes.set_xlabel("")
            own[0].set_ylabel(tuning.units[unit].unit_id)
    return Drawn(
        "units",
        figure,
        f"Tuning curves of {len(units)} units, from the least to the most orientation-selective. Dots are responses "
        f"({tuning.rest.unit}: F0 above rest, or F1), lines the fits; where dots are joined, no fit describes them.",
    )


def population(tuning: Tuning) -> Drawn:
    """A histogram of every index but the fits' R²."""
    shown = {n: i for n, i in tuning.indices.items() if i.defined.any() and not n.endswith("_r2")}
    n_rows = -(-len(shown) // HISTOGRAMS_PER_ROW)
    with rc_context(SMALL):
        figure = Figure(figsize=(10, 1.5 * n_rows))
        every = figure.subplots(n_rows, HISTOGRAMS_PER_ROW, squeeze=False).ravel()
        for axes, (name, index) in zip(every, shown.items(), strict=False):
            values = index.values[index.defined]
            axes.hist(values, bins=16, color=PREDICTED)
            axes.axvline(float(np.median(values)), color="#333333", linewidth=1)
            axes.set_title(name.replace("_", " "))
            if lacking := len(index.values) - len(values):
                axes.set_xlabel(f"{lacking} undefined", loc="right", fontsize=6.5, color="#777777")
        for axes in every[len(shown) :]:
            axes.set_visible(False)
    return Drawn("population", figure, "Every index over the units that have it; the line is the median.")


def against_truth(tuning: Tuning, truth: Truth) -> Drawn:
    """What was found against what the simulated cells have."""
    unit, found = tuning.display.unit, tuning.indices
    spatial = f"cycles_per_{unit}"
    pairs = [
        ("orientation (deg)", truth.orientation_deg % 180, found["preferred_orientation_deg"].values),
        ("direction (deg)", truth.direction_deg % 360, found["preferred_direction_deg"].values),
        (
            f"spatial frequency (cycles/{unit})",
            1 / (truth.period_px * tuning.display.unit_per_px),
            found[f"preferred_spatial_frequency_{spatial}"].values,
        ),
    ]
    with rc_context(STYLE):
        figure = Figure(figsize=(3 * len(pairs), 3))
        for axes, (name, true, own) in zip(figure.subplots(1, len(pairs)), pairs, strict=True):
            _scatter(axes, true, own)
            axes.set(xlabel="true", ylabel="of the twin", title=name)
    return Drawn("truth", figure, "Preferences of the twin's units against those of the simulated cells.")


def _scatter(axes: Axes, true: np.ndarray, found: np.ndarray) -> None:
    axes.plot(true, found, "o", color=PREDICTED, markersize=3, alpha=0.7)
    both = np.concatenate([true, found])
    if np.isfinite(both).any():
        ends = [np.nanmin(both), np.nanmax(both)]
        axes.plot(ends, ends, color=TRUE, linewidth=0.8)


def _spread(values: np.ndarray, n: int) -> list[int]:
    """So many units, evenly over the order of their values; any where none has one."""
    order = np.argsort(values, kind="stable")
    known = order[: int(np.isfinite(values).sum())]
    order = known if len(known) else order
    return [int(order[k]) for k in np.unique(np.linspace(0, len(order) - 1, n).round().astype(int))]
