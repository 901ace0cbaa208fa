"""Figures of receptive fields."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from visioncore.drawing import PALETTE, PREDICTED, RECORDED, STYLE, TRUE
from visioncore.lab.analysis import Drawn
from visioncore.lab.receptive_fields.kernels import Kernels

if TYPE_CHECKING:
    from visioncore.lab.receptive_fields.result import ReceptiveFields

EXAMPLES = 6
TITLES = {
    "recorded_sta": "recorded STA",
    "recorded": "recorded, decorrelated",
    "twin": "twin, same frames",
    "gradient": "twin's mean gradient",
    "power": "gradient, r.m.s.",
    "white_noise": "twin, white noise",
}


def figures(found: "ReceptiveFields") -> Iterator[Drawn]:
    """Examples, the population, and covariance where there is any."""
    shown = examples(found)
    with rc_context(STYLE):
        yield Drawn(
            "examples",
            _examples(found, shown),
            "Receptive fields of units at even ranks of their signal-to-noise ratio. Each map is the kernel at its "
            "strongest lag (red: more light, higher rate); the circle is two standard deviations of the twin's field, "
            "the cross is the readout's place. Right: time courses there, by the time since a frame.",
        )
        yield Drawn(
            "population",
            _population(found),
            "Where units look, and size, latency and separability of their fields, by kind of kernel.",
        )
        some = [k for k in shown if any(axes[k] is not None for axes in found.axes.values())]
        if some:
            yield Drawn(
                "covariance",
                _covariance(found, some),
                "Triggered covariance of the same units: eigenvalues (grey band: range of shuffles), and the two axes "
                "with the most variance at their strongest lag.",
            )


def examples(found: "ReceptiveFields") -> list[int]:
    """Units at even ranks of signal-to-noise, best first: nothing is picked by eye."""
    snr = np.nan_to_num(found.fields.snr, nan=-1)
    order = np.argsort(-snr)
    return order[
        np.unique(np.linspace(0, len(order) - 1, min(EXAMPLES, len(order))).round().astype(int))
    ].tolist()


def _examples(found: "ReceptiveFields", shown: list[int]) -> Figure:
    kinds = [name for name in TITLES if name in found.kinds or (name == "power" and _has_power(found))]
    display = found.display
    height = 10 / (len(kinds) + 1) * display.height / display.width + 0.42
    figure = Figure(figsize=(11, height * len(shown) + 0.3))
    grid = figure.subplots(len(shown), len(kinds) + 1, squeeze=False)
    for i, (row, unit) in enumerate(zip(grid, shown, strict=True)):
        for axes, name in zip(row, kinds, strict=False):
            if name == "power":
                power = found.kinds["gradient"].kernels.power
                assert power is not None
                _map(axes, np.sqrt(power[unit].sum(0)), 1, found, unit, cmap="magma")
            else:
                kernels = found.kinds[name].kernels
                _map(axes, _strongest(kernels, unit), kernels.px, found, unit)
            if i == 0:
                axes.set_title(TITLES[name], fontsize=8)
        label = str(found.rig_units[unit])
        if found.truth.classes[unit]:
            label += f"\n{found.truth.classes[unit]}"
        row[0].set_ylabel(label, fontsize=7)
        _courses(row[-1], found, unit)
    grid[0, -1].set_title("time courses (ms)", fontsize=8)
    handles, names = grid[0, -1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(names), fontsize=7)
    return figure


def _has_power(found: "ReceptiveFields") -> bool:
    return "gradient" in found.kinds and found.kinds["gradient"].kernels.power is not None


def _strongest(kernels: Kernels, unit: int) -> np.ndarray:
    """The map at the lag with the most energy."""
    kernel = kernels.values[unit]
    return np.asarray(kernel[int(np.square(kernel).sum((1, 2)).argmax())])


def _map(
    axes: Axes, values: np.ndarray, px: int, found: "ReceptiveFields", unit: int, cmap: str = "RdBu_r"
) -> None:
    display = found.display
    rows, columns = values.shape
    top = max(float(np.abs(values).max()), 1e-12)
    bottom = 0.0 if cmap == "magma" else -top
    axes.imshow(
        values,
        cmap=cmap,
        vmin=bottom,
        vmax=top,
        extent=(0, columns * px, rows * px, 0),
        interpolation="nearest",
    )
    axes.set(xticks=[], yticks=[], xlim=(0, display.width), ylim=(display.height, 0))
    row, column = found.fields.centre_px[unit]
    if np.isfinite(row):
        size = 4 * found.fields.sigma_px[unit]
        axes.add_patch(Ellipse((column, row), size, size, fill=False, ec=TRUE, lw=0.9))
    row, column = found.readout_px[unit]
    if np.isfinite(row):
        axes.plot(column, row, "+", color="#00a000", ms=5, mew=1)


def _courses(axes: Axes, found: "ReceptiveFields", unit: int) -> None:
    colours = {"recorded": RECORDED, "twin": PREDICTED, "gradient": PALETTE[2], "white_noise": PALETTE[1]}
    for name, colour in colours.items():
        if name not in found.kinds:
            continue
        kernels = found.kinds[name].kernels
        kernel = kernels.values[unit]
        best = np.unravel_index(int(np.abs(kernel).argmax()), kernel.shape)
        course = kernel[:, best[1], best[2]]
        size = float(np.abs(course).max())
        if size > 0:
            times = 1e3 * kernels.lag_s * np.arange(len(course))
            axes.plot(times, course / size * np.sign(course[best[0]]), color=colour, lw=1, label=TITLES[name])
    axes.axhline(0, color="#dddddd", lw=0.8, zorder=0)
    axes.set(yticks=[])
    axes.tick_params(labelsize=6)


def _population(found: "ReceptiveFields") -> Figure:
    display = found.display
    figure = Figure(figsize=(11, 2.9))
    place, size, latency, separability = figure.subplots(1, 4, width_ratios=(1.7, 1, 1, 1))
    corners = display.position(np.array([[display.height, 0.0], [0.0, display.width]]))
    if np.isfinite(found.truth.centre_px).any():
        _lines(place, display.position(found.truth.centre_px), display.position(found.fields.centre_px))
    for name, points, colour, marker in (
        (
            "recorded",
            found.kinds["recorded"].fields.centre_px if "recorded" in found.kinds else None,
            RECORDED,
            "o",
        ),
        ("twin's field", found.fields.centre_px, PREDICTED, "o"),
        ("readout", found.readout_px, "#00a000", "+"),
        ("true place", found.truth.centre_px, TRUE, "x"),
    ):
        if points is not None and np.isfinite(points).any():
            place.plot(*display.position(points).T, marker, color=colour, ms=4, mfc="none", label=name)
    place.set(
        xlim=corners[:, 0], ylim=corners[:, 1], aspect="equal", title="Centres",
        xlabel=f"x ({display.unit})", ylabel=f"y ({display.unit})",
    )  # fmt: skip
    place.legend(fontsize=6, loc="upper right")
    colours = {"recorded": RECORDED, "twin": PREDICTED, "gradient": PALETTE[2], "white_noise": PALETTE[1]}
    for axes, values, label in (
        (size, "sigma_px", f"size, s.d. ({display.unit})"),
        (latency, "latency_ms", "latency (ms)"),
        (separability, "separability", "separability"),
    ):
        scale = display.unit_per_px if values == "sigma_px" else 1.0
        drawn = {
            name: known * scale
            for name in colours
            if name in found.kinds
            and len(known := getattr(found.kinds[name].fields, values)[found.kinds[name].fields.found])
        }
        if drawn:
            edges = np.histogram_bin_edges(np.concatenate(list(drawn.values())), 16)
            for name, known in drawn.items():
                axes.hist(known, edges, histtype="step", color=colours[name], lw=1.3, label=TITLES[name])
        axes.set(xlabel=label, ylabel="units")
    handles, names = size.get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside upper right", ncols=len(names), fontsize=7)
    return figure


def _lines(axes: Axes, one: np.ndarray, other: np.ndarray) -> None:
    for a, b in zip(one, other, strict=True):
        axes.plot([a[0], b[0]], [a[1], b[1]], color="#bbbbbb", lw=0.8, zorder=0)


def _covariance(found: "ReceptiveFields", shown: list[int]) -> Figure:
    names = list(found.axes)
    figure = Figure(figsize=(11, 1.5 * len(shown) + 0.4))
    grid = figure.subplots(len(shown), 3 * len(names), squeeze=False)
    for number, (row, unit) in enumerate(zip(grid, shown, strict=True)):
        for i, name in enumerate(names):
            spectrum, *maps = row[3 * i : 3 * i + 3]
            axes = found.axes[name][unit]
            if axes is None:
                for empty in (spectrum, *maps):
                    empty.set_axis_off()
                continue
            colour = RECORDED if name == "recorded" else PREDICTED
            spectrum.axhspan(*axes.null, color="#dddddd", lw=0)
            spectrum.plot(axes.eigenvalues, ".", ms=2.5, color=colour)
            spectrum.tick_params(labelsize=6)
            spectrum.set_ylabel(str(found.rig_units[unit]) if i == 0 else "", fontsize=7)
            for k, panel in enumerate(maps):
                kernel = axes.kernels[k]
                lag = int(np.square(kernel).sum((1, 2)).argmax())
                top = float(np.abs(kernel[lag]).max())
                panel.imshow(kernel[lag], cmap="RdBu_r", vmin=-top, vmax=top)
                panel.set(xticks=[], yticks=[])
                certain = axes.eigenvalues[k] > axes.null[1]
                panel.set_title(
                    f"axis {k + 1}" if certain else "within shuffles", fontsize=6, color="#777777"
                )
            if number == 0:
                spectrum.set_title(f"{name}: eigenvalues", fontsize=8)
    return figure
