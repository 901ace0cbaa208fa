"""What the page about a prepared recording shows, measured from its session stores before any training."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from visioncore.data.splits import SPLITS
from visioncore.data.store import SessionStore
from visioncore.metrics import jackknife_oracle

STEPS_OF_TIME = 300
"""Columns of the picture of rates."""
UNITS_SHOWN = 12
LONGEST_LAG_S = 0.4
LAGS = 13
STA_MINUTES = 5.0
STA_PIXELS = 64
"""Frames with longer sides are averaged down before their averages are taken."""
PIECE = 4096


@dataclass(frozen=True)
class RatesOverTime:
    """Mean responses in equal steps of the session, so that drift and loss of units show."""

    time_s: Float64[np.ndarray, " steps"]
    mean: Float64[np.ndarray, "units steps"]
    """NaN where no bin of a step is valid."""
    split: Int64[np.ndarray, " steps"]
    """Most common split: its place in `SPLITS`; −1 between blocks."""

    @classmethod
    def of(cls, session: SessionStore, rate_hz: float | None) -> Self:
        n_steps = min(STEPS_OF_TIME, session.n_bins)
        edges = np.linspace(0, session.n_bins, n_steps + 1).astype(int)
        total, n = np.zeros((2, len(session.unit_ids), n_steps))
        for start in range(0, session.n_bins, PIECE):
            stop = min(start + PIECE, session.n_bins)
            valid = session.valid(start, stop)
            values = np.where(valid, session.responses(start, stop), 0.0)
            step = np.searchsorted(edges, np.arange(start, stop), side="right") - 1
            for k in np.unique(step):
                total[:, k] += values[step == k].sum(axis=0)
                n[:, k] += valid[step == k].sum(axis=0)
        mean = np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)
        split_of_bin = np.full(session.n_bins, -1)
        for block in session.blocks:
            split_of_bin[block.start : block.stop] = SPLITS.index(block.split)
        split = split_of_bin[np.minimum((edges[:-1] + edges[1:]) // 2, session.n_bins - 1)]
        per_second = rate_hz if rate_hz is not None and session.spec.response_kind == "counts" else 1.0
        return cls(edges[:-1] / (rate_hz or 1.0), mean * per_second, split)


@dataclass(frozen=True)
class TriggeredAverages:
    """Spike-triggered averages of the most active units: the frame at the lag where each stands out most."""

    unit: tuple[int, ...]
    lag_s: tuple[float, ...]
    frame: Float[np.ndarray, "shown rows columns"]
    """In widths of what chance gives."""
    at_all_lags: Float[np.ndarray, "shown lags rows columns"]

    @classmethod
    def of(cls, session: SessionStore, rate_hz: float) -> Self | None:
        """From the training blocks; None where there is no unit."""
        if not session.unit_ids:
            return None
        active = np.argsort(-session.train_mean, kind="stable")[:UNITS_SHOWN]
        lags = np.unique(np.round(np.linspace(0, LONGEST_LAG_S * rate_hz, LAGS)).astype(int))
        total, square, weight_square, n = np.zeros(()), np.zeros(()), np.zeros(()), 0
        left = round(STA_MINUTES * 60 * rate_hz)
        for block in session.blocks_in("train"):
            stop = min(block.stop, block.start + left)
            start = block.start
            while stop - start > lags[-1]:
                end = min(start + PIECE, stop)
                frames = _shrunk(session.video(start, end).mean(axis=1, dtype=np.float32))
                valid = session.valid(start, end)[:, active]
                values = np.where(
                    valid, session.responses(start, end)[:, active] - session.train_mean[active], 0.0
                )
                flat = np.nan_to_num(frames.reshape(len(frames), -1)).astype(np.float64)
                flat -= flat.mean(axis=0)
                kept = slice(lags[-1], None)
                total = total + np.stack(
                    [values[kept].T @ flat[lags[-1] - lag : len(flat) - lag] for lag in lags], axis=1
                )
                square, n = square + (flat**2).sum(axis=0), n + len(flat)
                weight_square = weight_square + (values[kept] ** 2).sum(axis=0)
                start = end
            left -= stop - block.start
            if left <= 0:
                break
        if not n:
            return None
        chance = np.sqrt(np.maximum(np.outer(weight_square, square / n), 1e-12))
        score = total / chance[:, None, :]
        best = np.abs(score).max(axis=2).argmax(axis=1)
        shape = frames.shape[1:]
        return cls(
            tuple(active.tolist()),
            tuple((lags[best] / rate_hz).tolist()),
            np.stack([score[i, k].reshape(shape) for i, k in enumerate(best)]),
            score.reshape(*score.shape[:2], *shape),
        )


@dataclass(frozen=True)
class Gaze:
    """Where the eye was: a pair of behaviours, x and y."""

    names: tuple[str, str]
    x: Float[np.ndarray, " samples"]
    y: Float[np.ndarray, " samples"]

    @classmethod
    def of(cls, session: SessionStore) -> Self | None:
        """None where no two behaviours are called as the two coordinates of one thing."""
        names = session.spec.behaviour_names
        for one in names:
            for x, y in (("x", "y"), ("azimuth", "elevation")):
                other = one[: -len(x)] + y if one.lower().endswith(x) else ""
                if other in names:
                    column = [names.index(one), names.index(other)]
                    step = max(session.n_bins // 100_000, 1)
                    samples = np.concatenate(
                        [
                            rows[::step][:, column]
                            for start in range(0, session.n_bins, PIECE)
                            if (rows := session.behaviour(start, min(start + PIECE, session.n_bins)))
                            is not None
                        ]
                    )
                    samples = samples[np.isfinite(samples).all(axis=1)]
                    return cls((one, other), samples[:, 0], samples[:, 1])
        return None


def mean_frame(session: SessionStore) -> Float[np.ndarray, "channels height width"]:
    """Of some hundred frames spread over the blocks."""
    bins = np.concatenate([np.arange(block.start, block.stop) for block in session.blocks])
    chosen = bins[np.unique(np.linspace(0, len(bins) - 1, 200).astype(int))]
    frames = np.stack([session.video(int(k), int(k) + 1)[0] for k in chosen]).astype(np.float64)
    return np.nanmean(frames, axis=0)


@dataclass(frozen=True)
class Reliability:
    """How well one showing of a stimulus predicts another: correlation of each repeat with the mean of the others."""

    oracle: Float64[np.ndarray, " units"]
    n_stimuli: int
    n_repeats: tuple[int, int]
    """Fewest and most."""

    @classmethod
    def of(cls, session: SessionStore) -> Self | None:
        """None where nothing was shown twice."""
        repeats: dict[str, list[tuple[int, int]]] = {}
        for block in session.blocks:
            if block.stimulus_id is not None:
                repeats.setdefault(f"{block.stimulus_id}", []).append((block.start, block.stop))
        shown = {name: spans for name, spans in repeats.items() if len(spans) > 1}
        if not shown or not session.unit_ids:
            return None
        fewest = min(len(spans) for spans in shown.values())
        parts = []
        for spans in shown.values():
            length = min(stop - start for start, stop in spans)
            stack = [
                np.where(valid, session.responses(start, start + length), np.nan)
                for start, _ in spans[:fewest]
                for valid in [session.valid(start, start + length)]
            ]
            parts.append(np.stack(stack))
        together = np.concatenate(parts, axis=1)
        known: Bool[np.ndarray, " time"] = np.isfinite(together).all(axis=(0, 2))
        if known.sum() < 2:
            return None
        numbers = [len(spans) for spans in shown.values()]
        return cls(
            jackknife_oracle(together[:, known].astype(np.float64)), len(shown), (min(numbers), max(numbers))
        )


def _shrunk(frames: Float[np.ndarray, "time height width"]) -> Float[np.ndarray, "time rows columns"]:
    """Means of square blocks, so many that no side is longer than `STA_PIXELS`; a rest at the edge is left out."""
    time, height, width = frames.shape
    factor = -(-max(height, width) // STA_PIXELS)
    rows, columns = max(height // factor, 1), max(width // factor, 1)
    high, wide = height // rows, width // columns
    cut = frames[:, : rows * high, : columns * wide]
    return cut.reshape(time, rows, high, columns, wide).mean(axis=(2, 4))
