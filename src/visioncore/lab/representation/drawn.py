"""The figure of representations."""

from collections.abc import Iterator

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from visioncore.drawing import PALETTE, PREDICTED, RECORDED, STYLE
from visioncore.lab.analysis import Drawn
from visioncore.lab.representation.result import TARGETS, Representation

COLOURS = {"recorded": RECORDED, "twin": PREDICTED, "other": PALETTE[1]}


def figures(found: Representation) -> Iterator[Drawn]:
    """One figure."""
    with rc_context(STYLE):
        yield Drawn(
            "populations",
            _figure(found),
            "What can be read linearly from the population: R² of light, and of the logarithms of edges and of change "
            "(a dot is a cell of the frame). Variance along principal components (recorded: without what Poisson "
            "spiking adds). Which units are alike (first session; correlation over time, units in the order of the "
            "twin's first component).",
        )


def _figure(found: Representation) -> Figure:
    names = list(found.sessions[0].populations)
    figure = Figure(figsize=(11, 2.7))
    panels = figure.subplots(1, 4 + len(names), width_ratios=(1, 1, 1, 1.2, *[1] * len(names)))
    for axes, label in zip(panels, TARGETS, strict=False):
        for k, name in enumerate(names):
            values = np.concatenate([view.populations[name].of_target(label) for view in found.sessions])
            spread = np.linspace(-0.15, 0.15, len(values))
            axes.plot(k + spread, values, "o", ms=3, mfc="none", color=COLOURS[name])
            if np.isfinite(values).any():
                axes.plot([k - 0.3, k + 0.3], [np.nanmean(values)] * 2, color=COLOURS[name], lw=2)
        axes.set_xticks(range(len(names)), names)
        axes.set(ylabel="R²" if axes is panels[0] else "", title=label.capitalize())
        axes.axhline(0, color="#dddddd", lw=1, zorder=0)
    for name in names:
        for number, view in enumerate(found.sessions):
            variances = view.populations[name].spectrum.variances
            ranks = np.arange(1, len(variances) + 1)
            positive = variances > 0
            panels[3].loglog(
                ranks[positive], variances[positive] / variances[positive].sum(), color=COLOURS[name], lw=1,
                label=name if number == 0 else None,
            )  # fmt: skip
    panels[3].set(xlabel="component", ylabel="share of variance", title="Spectrum")
    panels[3].legend(fontsize=7)
    first = found.sessions[0]
    order = np.argsort(np.linalg.eigh(first.populations["twin"].similarity)[1][:, -1])
    for axes, name in zip(panels[4:], names, strict=True):
        matrix = first.populations[name].similarity[np.ix_(order, order)].copy()
        np.fill_diagonal(matrix, 0)
        top = max(float(np.abs(matrix).max()), 1e-6)
        axes.imshow(matrix, cmap="RdBu_r", vmin=-top, vmax=top)
        axes.set(xticks=[], yticks=[], title=f"{name} (±{top:.2f})")
    return figure
