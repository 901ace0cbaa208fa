"""Figures about a prepared recording, and about files before they are one."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from matplotlib import rc_context
from matplotlib.figure import Figure

from visioncore.data.inspection.inspection import Picture
from visioncore.data.splits import SPLITS
from visioncore.drawing import PALETTE, STYLE, as_image, as_png, png_uri
from visioncore.recording import ClockResiduals
from visioncore.report.quality import Gaze, RatesOverTime, Reliability, TriggeredAverages

MOST_UNITS_DRAWN = 2000
_COLUMNS = 6


def rates(found: RatesOverTime, label: str) -> str:
    """Every unit over the session (a row each, its own mean as 1), the mean of all, and what the bins are used for."""
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2))
        image, mean = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        order = np.argsort(-np.nan_to_num(np.nanmean(np.nan_to_num(found.mean), axis=1)), kind="stable")
        drawn = found.mean[order[:MOST_UNITS_DRAWN]]
        own = np.nan_to_num(drawn).mean(axis=1, keepdims=True)
        relative = np.divide(drawn, own, out=np.full_like(drawn, np.nan), where=own > 0)
        last = 2 * found.time_s[-1] - found.time_s[-2] if len(found.time_s) > 1 else found.time_s[-1] + 1
        extent = (found.time_s[0], last, len(drawn), 0)
        shown = image.imshow(
            relative, aspect="auto", extent=extent, cmap="viridis", vmin=0, vmax=2, interpolation="none"
        )
        image.set(
            ylabel="unit, most active first", title="Responses over the session, each unit's own mean as 1"
        )
        figure.colorbar(shown, ax=image, label="of its mean", pad=0.01)
        everyone = np.array(
            [np.nanmean(column) if np.isfinite(column).any() else np.nan for column in found.mean.T]
        )
        mean.plot(found.time_s, everyone, color="#333333", lw=1)
        low, high = mean.get_ylim()
        for k, split in enumerate(SPLITS):
            mean.fill_between(
                found.time_s,
                low,
                high,
                where=found.split == k,
                step="post",
                color=PALETTE[k],
                alpha=0.18,
                lw=0,
                label=split,
            )
        mean.set(
            xlabel="s", ylabel=label, ylim=(low, high), title="Mean of all units, and what the bins are for"
        )
        mean.legend(ncols=3, loc="upper right", fontsize=8)
        return png_uri(as_png(figure))


def frame_and_gaze(frame: Shaped[np.ndarray, "channels height width"], gaze: Gaze | None) -> str:
    """The mean frame, and where the eye was."""
    with rc_context(STYLE):
        figure = Figure(figsize=(10 if gaze else 5, 3))
        axes = figure.subplots(1, 2 if gaze else 1, squeeze=False).ravel()
        picture = frame - frame.min()
        axes[0].imshow(as_image((picture / max(picture.max(), 1e-9)).astype(np.float32)), cmap="gray")
        axes[0].set(
            title=f"Mean frame ({frame.min():.3g} black, {frame.max():.3g} white)",
            xlabel="pixel",
            ylabel="pixel",
        )
        if gaze is not None:
            low, high = ([np.percentile(v, q) for v in (gaze.x, gaze.y)] for q in (0.5, 99.5))
            ranges = [(a, b if b > a else a + 1) for a, b in zip(low, high, strict=True)]
            axes[1].hist2d(gaze.x, gaze.y, bins=60, range=ranges, cmap="magma")
            axes[1].set(title="Where the eye was", xlabel=gaze.names[0], ylabel=gaze.names[1])
        return png_uri(as_png(figure))


def triggered_averages(found: TriggeredAverages, unit_ids: Sequence[str]) -> str:
    """One frame per unit, at the lag where it stands out most."""
    with rc_context(STYLE):
        rows = -(-len(found.unit) // _COLUMNS)
        figure = Figure(figsize=(10, 1.7 * rows))
        grid = np.atleast_2d(figure.subplots(rows, _COLUMNS, squeeze=False)).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, unit, lag_s, frame in zip(grid, found.unit, found.lag_s, found.frame, strict=False):
            limit = max(float(np.abs(frame).max()), 5.0)
            axes.imshow(frame, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="none")
            peak = np.abs(frame).max()
            axes.set_title(f"{unit_ids[unit]}: {1e3 * lag_s:.0f} ms, {peak:.0f} σ", fontsize=8)
        return png_uri(as_png(figure))


def reliability(found: Reliability) -> str:
    """How units are spread over the oracle."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 2.4))
        axes = figure.subplots()
        axes.hist(found.oracle[np.isfinite(found.oracle)], bins=30, color=PALETTE[0])
        axes.axvline(0, color="#999999", lw=1)
        axes.set(xlabel="correlation of a repeat with the mean of the others", ylabel="units")
        return png_uri(as_png(figure))


def residuals(clocks: dict[str, ClockResiduals]) -> str:
    """Each clock's pulses, less the one straight line that fits them best."""
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 2.2 * len(clocks)))
        for axes, (name, found) in zip(
            figure.subplots(len(clocks), 1, squeeze=False).ravel(), clocks.items(), strict=True
        ):
            axes.plot(found.times_s, found.residuals_ms, ".", ms=3, color=PALETTE[0])
            axes.axhline(0, color="#999999", lw=1)
            axes.set(title=name, xlabel="s", ylabel="off a straight line (ms)")
        return png_uri(as_png(figure))


def pictures(found: Sequence[Picture]) -> str:
    """Frames of foreign files, as they would be shown."""
    with rc_context(STYLE):
        columns = min(len(found), 4)
        rows = -(-len(found) // columns)
        figure = Figure(figsize=(2.8 * columns, 2.6 * rows))
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, picture in zip(grid, found, strict=False):
            axes.imshow(picture.pixels, cmap="gray")
            axes.set_title(picture.title, fontsize=8.5)
        return png_uri(as_png(figure))
