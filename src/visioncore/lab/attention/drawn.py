"""Figures of attention maps."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visioncore.drawing import PREDICTED, RECORDED, STYLE, TRUE, as_image
from visioncore.lab.analysis import Drawn

if TYPE_CHECKING:
    from visioncore.lab.attention.result import AttentionMaps, Example

MAPS_SHOWN = 8


def figures(found: "AttentionMaps") -> Iterator[Drawn]:
    """Examples over the video, then the mean of every unit, then the check by masking."""
    with rc_context(STYLE):
        if found.examples:
            yield Drawn(
                "examples",
                _examples(found),
                "Units at one moment: that of their highest rate in the validation split, unless another was asked "
                "for. Rollout: how much of each place reaches the unit through all blocks, over the newest frame. Then "
                "single heads, as seen from where the unit reads. Last, gradient attribution, summed over the last "
                "frames (red: raises the rate).",
            )
        yield Drawn(
            "units",
            _units(found),
            "Maps over places, the mean over moments; brightest: most attended. Rollout passes on half of each block's "
            "input, so that it is bright where the readout is; attention alone shows what heads add. Right: the same "
            "over time, and by how much the rate falls where attended places are covered with grey (a point per unit).",
        )


def _examples(found: "AttentionMaps") -> Figure:
    first = found.examples[0]
    columns = ["newest frame", "rollout", *first.heads, *first.attributions]
    across = min(len(columns), 5)
    down = -(-len(columns) // across)
    height = 11 / across * found.display.height / found.display.width + 0.35
    figure = Figure(figsize=(11, height * down * len(found.examples) + 0.2))
    grid = figure.subplots(down * len(found.examples), across, squeeze=False)
    for number, example in enumerate(found.examples):
        panels = grid[number * down : (number + 1) * down].ravel()
        for axes in panels[len(columns) :]:
            axes.set_axis_off()
        _example(panels, found, example)
    return figure


def _example(panels: np.ndarray, found: "AttentionMaps", example: "Example") -> None:
    frame = as_image(example.frames[-1])
    display = found.display
    panels[0].imshow(frame, cmap="gray", vmin=0, vmax=1, extent=(0, display.width, display.height, 0))
    panels[0].set_title(f"{example.unit}, bin {example.bin}", fontsize=8)
    _over(panels[1], found, frame, example.rollout.sum(0), "rollout over places")
    axes = iter(panels[2:])
    for name, values in example.heads.items():
        if name.startswith("space"):
            _over(next(axes), found, frame, values, name)
        else:
            panel = next(axes)
            ages = 1e3 * found.token_s * np.arange(len(values))[::-1]
            panel.bar(-ages, values, width=0.8e3 * found.token_s, color=PREDICTED)
            panel.set(yticks=[], xlabel="ms")
            panel.tick_params(labelsize=6)
            panel.set_title(name, fontsize=8)
    for name, values in example.attributions.items():
        panel = next(axes)
        total = values.sum((0, 1))
        top = max(float(np.abs(total).max()), 1e-12)
        panel.imshow(total, cmap="RdBu_r", vmin=-top, vmax=top, extent=(0, display.width, display.height, 0))
        panel.set_title(name, fontsize=8)
    for panel in panels[: 2 + len(example.heads) + len(example.attributions)]:
        if panel.images:
            panel.set(xticks=[], yticks=[], xlim=(0, display.width), ylim=(display.height, 0))


def _over(axes: Axes, found: "AttentionMaps", frame: np.ndarray, places: np.ndarray, title: str) -> None:
    """A map of places over a frame."""
    display, grid = found.display, found.grid
    axes.imshow(frame, cmap="gray", vmin=0, vmax=1, extent=(0, display.width, display.height, 0), alpha=0.6)
    values = places.reshape(grid.rows, grid.columns)
    (top, bottom), (left, right) = grid.row_edges_px, grid.column_edges_px
    axes.imshow(values, cmap="magma", extent=(left, right, bottom, top), alpha=0.65, interpolation="nearest")
    axes.set_title(title, fontsize=8)


def _units(found: "AttentionMaps") -> Figure:
    rollout = found.maps["rollout"]
    shown = np.unique(np.linspace(0, len(rollout) - 1, min(MAPS_SHOWN, len(rollout))).round().astype(int))
    figure = Figure(figsize=(11, 4.6))
    maps, checks = figure.subfigures(1, 2, squeeze=False, width_ratios=(2, 1))[0]
    panels = maps.subplots(-(-len(shown) // 2), 4, squeeze=False).ravel()
    grid = found.grid
    pairs = [(kind, k) for k in shown for kind in found.maps]
    for panel in panels[len(pairs) :]:
        panel.set_axis_off()
    for panel, (kind, k) in zip(panels, pairs, strict=False):
        panel.imshow(found.maps[kind][k].sum(0).reshape(grid.rows, grid.columns), cmap="magma")
        panel.set(xticks=[], yticks=[])
        panel.set_title(f"{found.rig_units[k]}: {kind}", fontsize=7)
    time, drops = checks.subplots(2, 1)
    ages = 1e3 * found.token_s * np.arange(rollout.shape[1])[::-1]
    for (kind, each), colour in zip(found.maps.items(), (PREDICTED, TRUE), strict=True):
        over_time = each.sum(2)
        lines = time.plot(
            -ages, (over_time / over_time.sum(1, keepdims=True)).T, color=colour, lw=0.6, alpha=0.5
        )
        lines[0].set_label(kind)
    time.set(xlabel="ms before the newest token", ylabel="share of the map", title="Over time")
    time.legend(fontsize=7)
    for (kind, each), colour in zip(found.drops.items(), (PREDICTED, TRUE), strict=True):
        share = 100 * each[:, 1:] / np.maximum(each[:, :1], 1e-9)
        drops.plot(share[:, 1], share[:, 0], "o", ms=4, mfc="none", color=colour, label=kind)
    low, high = drops.get_xlim()[0], max(drops.get_xlim()[1], drops.get_ylim()[1])
    drops.plot([low, high], [low, high], color=RECORDED, lw=0.8, label="no more than elsewhere")
    drops.set(xlabel="fall, covered elsewhere (%)", ylabel="fall, covered\nwhere attended (%)")
    drops.legend(fontsize=7)
    return figure
