"""A few seconds of video with responses running under it, as data that the page's script plays."""

import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image

from visioncore.config import Config
from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.drawing import as_image, png_uri
from visioncore.evaluation import BlockPrediction, BlockPredictor
from visioncore.evaluation.prediction import scale_was_said
from visioncore.model import Ensemble
from visioncore.predictor import Predictor
from visioncore.report.fields import Gaussians, gaussians_of

CLIP_S = 6.0
FRAMES_PER_S = 30.0
SHEET_COLUMNS = 16
REPEATS_SHOWN = 12
HISTOGRAM_S = 0.025
"""Bins in which recorded responses are drawn: single spikes at the base bin make no curve."""


class Outline(Config):
    """A unit's Gaussian in pixels."""

    row: float
    column: float
    along: float
    across: float
    angle: float


class ClipUnit(Config):
    """One unit on offer; a value per bin, None where a bin is not predicted or not valid."""

    label: str
    predicted: tuple[float | None, ...]
    spread: tuple[float | None, ...]
    """Of an ensemble's members, as a standard deviation; empty for what is none."""
    recorded: tuple[float | None, ...]
    spikes: tuple[tuple[int, ...], ...]
    """The bins with a spike, of each repeat; empty for traces."""
    field: Outline | None
    """None for a twin whose units have no position."""


class ClipData(Config):
    """What the page's script plays."""

    height: int
    width: int
    columns: int
    """Of the sheet, in frames."""
    frames: int
    frames_per_s: float
    rate_hz: float
    bins: int
    histogram_bins: int
    """Bins that make one in which recorded responses are drawn."""
    label: str
    counts: bool
    session: str
    kind: str
    repeats: int
    units: tuple[ClipUnit, ...]


@dataclass(frozen=True)
class ShownClip:
    """What is shown: the sheet of frames as a data URI, and everything else."""

    sheet: str
    data: ClipData


def make_clip(
    twin: Predictor,
    store: RecordingStore,
    session: SessionStore,
    repeats: tuple[Block, ...],
    unit_labels: dict[int, str],
) -> ShownClip:
    """The first seconds of a block; where it has repeats, the responses to all of them.

    `unit_labels` are the units on offer, by their position in the store.
    """
    rate_hz = store.spec.bins_per_s
    first = repeats[0]
    n_bins = min(round(CLIP_S * rate_hz), *(block.n_bins for block in repeats))
    # Bins only depend on the past, so predicting the beginning of a block alone changes nothing.
    predict = BlockPredictor(twin, session)
    shown = [predict(_beginning(block, n_bins)) for block in repeats[:REPEATS_SHOWN]]
    spread = _spread(twin, session, _beginning(first, n_bins)) if isinstance(twin, Ensemble) else None
    step = max(round(rate_hz / FRAMES_PER_S), 1)
    frames = session.video(first.start, first.start + n_bins)[::step]
    found = gaussians_of(twin, session)
    counts = store.spec.response_kind == "counts"
    per_s = rate_hz if counts else 1.0
    return ShownClip(
        sheet=png_uri(_sheet(frames)),
        data=ClipData(
            height=store.spec.sampling.height,
            width=store.spec.sampling.width,
            columns=SHEET_COLUMNS,
            frames=len(frames),
            frames_per_s=rate_hz / step,
            rate_hz=rate_hz,
            bins=n_bins,
            histogram_bins=max(round(HISTOGRAM_S * rate_hz), 1) if counts else 1,
            label="spikes/s" if counts else "response",
            counts=counts,
            session=session.id,
            kind=first.kind,
            repeats=len(shown),
            units=tuple(
                _unit(shown, spread, found, i, label, per_s, counts) for i, label in unit_labels.items()
            ),
        ),
    )


def _beginning(block: Block, n_bins: int) -> Block:
    return Block(block.start, block.start + n_bins, block.split, block.stimulus_id, block.kind, block.group)


def _spread(ensemble: Ensemble, session: SessionStore, block: Block) -> Float[np.ndarray, "time units"]:
    """How far the members are apart on one block, units in the store's order."""
    video, behaviour = session.video(block.start, block.stop), session.behaviour(block.start, block.stop)
    with scale_was_said():
        samples = behaviour if ensemble.uses_behaviour else None
        _, spread = ensemble.predict_with_spread(video, samples, session=session.id)
    return spread[:, ensemble.columns(session.id, session.unit_ids)]


def _unit(
    shown: list[BlockPrediction],
    spread: Float[np.ndarray, "time units"] | None,
    found: Gaussians | None,
    unit: int,
    label: str,
    per_s: float,
    counts: bool,
) -> ClipUnit:
    recorded = np.stack([np.where(b.valid[:, unit], b.recorded[:, unit], np.nan) for b in shown])
    known = ~np.isnan(recorded)
    n = known.sum(0)
    mean = np.where(n > 0, np.nan_to_num(recorded).sum(0) / np.maximum(n, 1), np.nan)
    predicted = np.stack([b.prediction[:, unit] for b in shown]).mean(0)
    spikes = (tuple(np.flatnonzero(np.nan_to_num(row) > 0).tolist()) for row in recorded)
    return ClipUnit(
        label=label,
        predicted=_rounded(predicted * per_s),
        spread=() if spread is None else _rounded(spread[:, unit] * per_s),
        recorded=_rounded(mean * per_s),
        spikes=tuple(spikes) if counts else (),
        field=_field(found, unit),
    )


def _field(found: Gaussians | None, unit: int) -> Outline | None:
    if found is None:
        return None
    row, column = found.centres_px[unit].tolist()
    along, across = found.widths_px[unit].tolist()
    angle = float(found.angles[unit])
    return Outline(row=row, column=column, along=along, across=across, angle=angle)


def _rounded(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(round(float(v), 3) if np.isfinite(v) else None for v in values)


def _sheet(frames: Shaped[np.ndarray, "time channels height width"]) -> bytes:
    """All frames on one PNG, row by row; on one scale."""
    pictures = (
        np.stack([as_image(frame) for frame in frames]) if frames.dtype == np.uint8 else _on_one_scale(frames)
    )
    n, height, width = pictures.shape[:3]
    n_rows = -(-n // SHEET_COLUMNS)
    sheet = np.zeros((n_rows * height, SHEET_COLUMNS * width, *pictures.shape[3:]), np.uint8)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, SHEET_COLUMNS)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = np.round(
            picture * 255
        )
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _on_one_scale(frames: np.ndarray) -> np.ndarray:
    low, high = np.percentile(frames, [0.5, 99.5])
    scaled = np.clip((frames - low) / max(high - low, 1e-6), 0, 1)
    return np.moveaxis(scaled, 1, -1) if frames.shape[1] == 3 else scaled.mean(1)
