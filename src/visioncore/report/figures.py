"""The report's figures. Each takes numbers, and gives a PNG as a data URI; units stand on every axis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.ticker import LogLocator, NullFormatter

from visioncore.audit import ControlLine
from visioncore.drawing import MARKERS, PALETTE, PREDICTED, RECORDED, STYLE, TRUE, as_png, png_uri
from visioncore.provenance import Epoch
from visioncore.spec import Geometry, Sampling

ELLIPSES_SHOWN = 48


CURVES = ("step", "train_loss", "validation_loss", "validation_score", "learning_rate")
"""What `training_curves` draws."""


@dataclass(frozen=True)
class Psth:
    """One unit's mean response to one repeated stimulus, in `bin_s` bins."""

    title: str
    bin_s: float
    start_s: float
    recorded: Float[np.ndarray, "repeats time"]
    """NaN where not valid."""
    predicted: Float[np.ndarray, " time"]
    true: Float[np.ndarray, " time"] | None


@dataclass(frozen=True)
class Fields:
    """Receptive fields of one session over a frame it saw. Centres are (row, column) in pixels."""

    session: str
    geometry: Geometry
    frame: Float[np.ndarray, "height width"] | Float[np.ndarray, "height width 3"]
    centres_px: Float[np.ndarray, "units 2"]
    widths_px: Float[np.ndarray, "units 2"]
    angles: Float[np.ndarray, " units"]
    classes: Sequence[str]
    true_centres_px: Float[np.ndarray, "units 2"] | None
    true_widths_px: Float[np.ndarray, " units"] | None


def training_curves(history: Sequence[Epoch], score_label: str) -> str:
    """Losses, validation score and learning rate over optimiser steps."""
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 2.7))
        losses, score, rate = figure.subplots(1, 3)
        step, train_loss, validation_loss, validation_score, learning_rate = (
            np.array([getattr(epoch, name) for epoch in history], np.float64) for name in CURVES
        )
        losses.plot(step, train_loss, color=PREDICTED, label="training")
        losses.plot(step, validation_loss, color=TRUE, ls="--", label="validation")
        losses.set(ylabel="loss (nats per bin)", title="Loss")
        losses.legend()
        score.plot(step, validation_score, color=PREDICTED, marker="o", ms=3)
        if np.isfinite(validation_score).any():
            best = int(np.nanargmax(validation_score))
            score.axvline(step[best], color="#bbbbbb", lw=1, zorder=0)
            score.annotate(
                "kept",
                (step[best], 0.03),
                xycoords=("data", "axes fraction"),
                ha="right",
                color="#777777",
                xytext=(-3, 0),
                textcoords="offset points",
            )
        score.set(ylabel=score_label, title="Validation score")
        rate.plot(step, learning_rate, color=PREDICTED)
        rate.set(ylabel="learning rate", title="Schedule")
        for axes in (losses, score, rate):
            axes.set_xlabel("optimiser step")
        return _data_uri(figure)


def unit_scores(
    score: Float64[np.ndarray, " units"],
    ceiling: Float64[np.ndarray, " units"] | None,
    rate: Float64[np.ndarray, " units"],
    classes: Sequence[str],
    labels: tuple[str, str],
) -> str:
    """Every unit's score against its ceiling where that is known, and against its recorded mean.

    `labels` are the axis labels of the score and of the recorded mean.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(10 if ceiling is not None else 6, 4))
        panels = figure.subplots(1, 2 if ceiling is not None else 1, squeeze=False)[0]
        names = sorted(set(classes))
        for name, colour, marker in zip(names, _cycle(PALETTE), _cycle(MARKERS), strict=False):
            mine = np.array([c == name for c in classes])
            style = {"color": colour, "marker": marker, "s": 22, "alpha": 0.85, "lw": 0, "label": name}
            if ceiling is not None:
                panels[0].scatter(ceiling[mine], score[mine], **style)
            panels[-1].scatter(rate[mine], score[mine], **style)
        if ceiling is not None:
            top = float(np.nanmax(np.concatenate([ceiling, score])))
            panels[0].plot([0, top], [0, top], color="#999999", lw=1, zorder=0)
            panels[0].annotate(
                "ceiling", (top, top), ha="right", va="bottom", color="#777777", xytext=(-8, 0),
                textcoords="offset points",
            )  # fmt: skip
            panels[0].set(xlabel=f"ceiling: the true rate's {labels[0]}", ylabel=f"twin's {labels[0]}")
        positive = rate[np.isfinite(rate)]
        if positive.size and positive.min() > 0:
            panels[-1].set_xscale("log")
            panels[-1].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panels[-1].xaxis.set_major_formatter("{x:g}")
            panels[-1].xaxis.set_minor_formatter(NullFormatter())
        panels[-1].set(xlabel=labels[1], ylabel=f"twin's {labels[0]}")
        for axes in panels:
            axes.axhline(0, color="#dddddd", lw=1, zorder=0)
        if names != [""]:
            panels[0].legend(loc="upper left")
        return _data_uri(figure)


CONTROL_SCORES = {
    "correlation": "correlation",
    "recalibrated_bits_per_spike": "bits/spike, recalibrated",
}
"""What `control_scores` draws, where it is defined."""


def control_scores(controls: Sequence[ControlLine]) -> str:
    """The intact score, the levels that survive, and the negative controls, each with its interval."""
    with rc_context(STYLE):
        drawn = {
            name: label for name, label in CONTROL_SCORES.items() if getattr(controls[0], name) is not None
        }
        figure = Figure(figsize=(10 if len(drawn) > 1 else 6, 0.27 * len(controls) + 0.8))
        panels = figure.subplots(1, len(drawn), squeeze=False, sharey=True)[0]
        place = np.arange(len(controls))
        for axes, (name, label) in zip(panels, drawn.items(), strict=True):
            for role, colour, marker in (
                ("intact", PREDICTED, "o"),
                ("reference", RECORDED, "|"),
                ("control", TRUE, "s"),
            ):
                for y, line in zip(place, controls, strict=True):
                    score = getattr(line, name)
                    if line.role != role or score.mean is None:
                        continue
                    if score.ci95 is not None:
                        axes.plot(score.ci95, [y, y], color=colour, lw=1.4, alpha=0.6)
                    axes.plot(score.mean, y, color=colour, marker=marker, ms=6, mew=1.5)
            axes.axvline(0, color="#dddddd", lw=1, zorder=0)
            axes.set(xlabel=label)
        panels[0].set_yticks(place, [line.name for line in controls])
        panels[0].invert_yaxis()
        return _data_uri(figure)


def psths(rows: Sequence[Sequence[Psth]], response_label: str) -> str:
    """Recorded and predicted mean responses to repeated stimuli: a row per unit, a column per stimulus."""
    with rc_context(STYLE):
        n_columns = max(len(row) for row in rows)
        figure = Figure(figsize=(10, 2.1 * len(rows) + 0.4))
        grid = figure.subplots(len(rows), n_columns, squeeze=False, sharey="row")
        for axes_row, row in zip(grid, rows, strict=True):
            for axes in axes_row[len(row) :]:
                axes.set_axis_off()
            for axes, psth in zip(axes_row, row, strict=False):
                _draw_psth(axes, psth)
            axes_row[0].set_ylabel(response_label)
        for axes in grid[-1]:
            axes.set_xlabel("time in the stimulus (s)")
        handles, names = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper right", ncols=len(names))
        return _data_uri(figure)


def _draw_psth(axes: Axes, psth: Psth) -> None:
    recorded = ~np.isnan(psth.recorded)
    n = recorded.sum(0)
    safe = np.maximum(n, 1)
    mean = np.where(n > 0, np.nan_to_num(psth.recorded).sum(0) / safe, np.nan)
    deviations = np.where(recorded, psth.recorded - mean, 0.0) ** 2
    error = np.sqrt(deviations.sum(0) / np.maximum(n - 1, 1) / safe)
    time = psth.start_s + (np.arange(len(mean)) + 0.5) * psth.bin_s
    axes.fill_between(time, mean - error, mean + error, color=RECORDED, alpha=0.28, lw=0)
    axes.plot(time, mean, color=RECORDED, lw=1.1, label="recorded, mean ± s.e.m. over repeats")
    if psth.true is not None:
        axes.plot(time, psth.true, color=TRUE, lw=1, ls=(0, (2, 1.5)), label="true rate")
    axes.plot(time, psth.predicted, color=PREDICTED, lw=1.4, label="twin")
    axes.set_title(psth.title)
    axes.margins(x=0)


def receptive_fields(sessions: Sequence[Fields], sampling: Sampling) -> str:
    """The readout's Gaussians at one standard deviation over a stimulus frame, beside the true fields."""
    with rc_context(STYLE):
        with_truth = any(fields.true_centres_px is not None for fields in sessions)
        n_columns = 2 if with_truth else min(len(sessions), 2)
        n_rows = len(sessions) if with_truth else -(-len(sessions) // n_columns)
        height = 10 / n_columns * sampling.height / sampling.width + 0.75
        figure = Figure(figsize=(10, height * n_rows + 0.35))
        grid = figure.subplots(n_rows, n_columns, squeeze=False)
        names = sorted({name for fields in sessions for name in fields.classes})
        colours = dict(zip(names, _cycle(PALETTE), strict=False))
        panels = iter(grid.ravel())
        for fields in sessions:
            field = _Field(sampling, fields.geometry)
            shown = _spread(len(fields.centres_px))
            axes = _frame_axes(next(panels), fields, field, f"Session {fields.session}: the twin's readout")
            for i in shown:
                outline = _ellipse(fields.centres_px[i], fields.widths_px[i], float(fields.angles[i]))
                _outline(axes, outline, colours[fields.classes[i]], field)
            if not with_truth:
                continue
            axes = next(panels)
            if fields.true_centres_px is None:
                axes.set_axis_off()
                continue
            _frame_axes(axes, fields, field, "the true fields; lines lead to the twin's centres")
            for i in shown:
                colour = colours[fields.classes[i]]
                if fields.true_widths_px is not None:
                    width = np.full(2, fields.true_widths_px[i])
                    _outline(axes, _ellipse(fields.true_centres_px[i], width, 0.0), colour, field)
                ends = field.points(np.stack([fields.true_centres_px[i], fields.centres_px[i]]))
                axes.plot(*ends.T, color=colour, lw=1.2)
        for axes in panels:
            axes.set_axis_off()
        handles = [
            Polygon(np.zeros((3, 2)), fill=False, ec=colours[name], lw=1.6, label=name) for name in names
        ]
        if names != [""]:
            figure.legend(handles=handles, loc="outside upper right", ncols=len(names))
        return _data_uri(figure)


def _spread(n: int) -> list[int]:
    """At most `ELLIPSES_SHOWN` of n units, evenly."""
    return np.unique(np.linspace(0, n - 1, min(n, ELLIPSES_SHOWN)).round().astype(int)).tolist()


@dataclass(frozen=True)
class _Field:
    """Where a session's pixels lie on a figure: in degrees with y upwards where that is known, else in pixels."""

    sampling: Sampling
    geometry: Geometry

    @property
    def in_degrees(self) -> bool:
        return self.geometry.degrees_per_pixel is not None

    def points(self, points_px: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
        """(row, column) in pixels to (x, y)."""
        row, column = points_px.T
        per_pixel = self.geometry.degrees_per_pixel
        if per_pixel is None:
            return np.stack([column, row], axis=1)
        x_deg, y_deg = self.geometry.centre_deg or (0.0, 0.0)
        x = (column - self.sampling.width / 2) * per_pixel + x_deg
        y = (self.sampling.height / 2 - row) * per_pixel + y_deg
        return np.stack([x, y], axis=1)


def _frame_axes(axes: Axes, fields: Fields, field: _Field, title: str) -> Axes:
    corners = field.points(np.array([[field.sampling.height, 0.0], [0.0, field.sampling.width]]))
    (left, bottom), (right, top) = corners
    axes.imshow(
        fields.frame, cmap="gray", extent=(left, right, bottom, top), aspect="equal", alpha=0.75, zorder=0
    )
    axes.set(
        xlabel="horizontal position (deg)" if field.in_degrees else "column (px)",
        ylabel="vertical position (deg)" if field.in_degrees else "row (px)",
        xlim=(left, right),
        ylim=(bottom, top),
        title=title,
    )
    return axes


def _ellipse(
    centre_px: Float[np.ndarray, " 2"], width_px: Float[np.ndarray, " 2"], angle: float
) -> Float[np.ndarray, "points 2"]:
    turn = np.linspace(0, 2 * np.pi, 60)
    own = np.stack([width_px[0] * np.cos(turn), width_px[1] * np.sin(turn)], axis=1)
    # The readout's first axis points along (cos, sin) in (row, column).
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return centre_px + own @ axes


def _outline(axes: Axes, points_px: Float[np.ndarray, "points 2"], colour: str, field: _Field) -> None:
    points = field.points(points_px)
    axes.add_patch(Polygon(points, fill=False, ec="white", lw=2.6, alpha=0.55))
    axes.add_patch(Polygon(points, fill=False, ec=colour, lw=1.4))


def _cycle(values: tuple[str, ...]) -> list[str]:
    return list(values) * 50


def _data_uri(figure: Figure) -> str:
    return png_uri(as_png(figure))
