"""Receptive fields for the report: where units read, and where they truly look if that is known."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from visioncore.data.store import RecordingStore, SessionStore
from visioncore.drawing import as_image
from visioncore.model import Twin
from visioncore.predictor import Predictor
from visioncore.recording import Split
from visioncore.report import figures
from visioncore.report.figures import Fields

SESSIONS_DRAWN = 4


@dataclass(frozen=True)
class Gaussians:
    """The readout's Gaussians of one session, units in the store's order; (row, column) in pixels."""

    centres_px: Float[np.ndarray, "units 2"]
    widths_px: Float[np.ndarray, "units 2"]
    angles: Float[np.ndarray, " units"]


def gaussians_of(twin: Predictor, session: SessionStore) -> Gaussians | None:
    """None for a twin without a core, or with a blind one, and for what is no twin: its units have no position."""
    readout = twin.placed_readout(session.id) if isinstance(twin, Twin) else None
    if readout is None:
        return None
    order = twin.columns(session.id, session.unit_ids)
    centres, widths, angles = (
        tensor.detach().float().cpu().numpy()[order]
        for tensor in (readout.centres_px(), readout.widths_px(), readout.angles())
    )
    return Gaussians(centres, widths, angles)


def field_figure(twin: Predictor, store: RecordingStore, split: Split) -> str | None:
    """The fields of the first sessions, each over a frame of the split; None where units have no position."""
    drawn = []
    for session in list(store.sessions.values())[:SESSIONS_DRAWN]:
        found = gaussians_of(twin, session)
        if found is None:
            return None
        block = next(iter(session.blocks_in(split)), session.blocks[0])
        middle = (block.start + block.stop) // 2
        sigma = session.unit_truth.get("rf_sigma_px")
        drawn.append(
            Fields(
                session=session.id,
                geometry=session.spec.geometry,
                frame=as_image(session.video(middle, middle + 1)[0]),
                centres_px=found.centres_px,
                widths_px=found.widths_px,
                angles=found.angles,
                classes=[name or "" for name in session.cell_classes],
                true_centres_px=_true_centres(session),
                true_widths_px=None if sigma is None else np.array(sigma, np.float64),
            )
        )
    return figures.receptive_fields(drawn, store.spec.sampling)


def median_distance(twin: Predictor, store: RecordingStore) -> str | None:
    """How far the readout's centres are from the true ones, where those are known."""
    distances, degrees = [], []
    for session in store.sessions.values():
        true, found = _true_centres(session), gaussians_of(twin, session)
        if true is not None and found is not None:
            distances.append(np.linalg.norm(found.centres_px - true, axis=1))
            degrees.append(distances[-1] * (session.spec.geometry.degrees_per_pixel or np.nan))
    if not distances:
        return None
    median, median_deg = (float(np.median(np.concatenate(each))) for each in (distances, degrees))
    return f"{median:.1f} px" + ("" if np.isnan(median_deg) else f" ({median_deg:.2f}°)")


def _true_centres(session: SessionStore) -> Float[np.ndarray, "units 2"] | None:
    truth = session.unit_truth
    if "rf_row_px" not in truth or "rf_column_px" not in truth:
        return None
    return np.array([truth["rf_row_px"], truth["rf_column_px"]], np.float64).T
