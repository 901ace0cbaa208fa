"""How far a learned view moves with the eyes, in what laboratories count it: minutes of arc."""

import numpy as np
import torch

from visioncore.config import Record
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.model import Twin
from visioncore.model.adapters import ShiftAdapter
from visioncore.predictor import Predictor
from visioncore.recording import Split

MOST_BINS = 200_000
"""Of a session's split that are looked at."""


class SignalShift(Record):
    """By how much one standard deviation of a signal moves the view, down and right."""

    signal: str
    down_px: float
    right_px: float
    down_arcmin: float | None
    """None where the session's geometry does not give degrees per pixel; `right_arcmin` likewise."""
    right_arcmin: float | None


class LearnedView(Record):
    """One session's; the size is that of the shift in both directions together."""

    session: str
    rms_px: float
    largest_px: float
    rms_arcmin: float | None
    """None where the session's geometry does not give degrees per pixel; `largest_arcmin` likewise."""
    largest_arcmin: float | None
    signals: tuple[SignalShift, ...]

    def __str__(self) -> str:
        arcmin = "" if self.rms_arcmin is None else f" ({self.rms_arcmin:.1f} arcmin)"
        names = ", ".join(signal.signal for signal in self.signals)
        return f"session {self.session}: the view moves by {self.rms_px:.2f} px{arcmin} rms with {names}"


def learned_views(twin: Predictor, store: RecordingStore, split: Split) -> tuple[LearnedView, ...]:
    """Of every session that both have, over the behaviour of a split; none where the twin learned no view."""
    if not isinstance(twin, Twin) or not isinstance(twin.trunk.adapter, ShiftAdapter):
        return ()
    adapter = twin.trunk.adapter
    found = (
        _view(twin, adapter, session, split)
        for name, session in store.sessions.items()
        if name in twin.sessions
    )
    return tuple(view for view in found if view is not None)


def _view(twin: Twin, adapter: ShiftAdapter, session: SessionStore, split: Split) -> LearnedView | None:
    samples, left = [], MOST_BINS
    for block in session.blocks_in(split):
        behaviour = session.behaviour(block.start, min(block.stop, block.start + left))
        if behaviour is not None and left > 0:
            samples.append(behaviour)
            left -= len(behaviour)
    if not samples:
        return None
    own, height = twin.spec.session(session.id), twin.spec.sampling.height
    constants = own.normalisation
    recorded = np.concatenate(samples)
    normalised = (recorded - np.array(constants.behaviour_mean)) / np.array(constants.behaviour_std)
    every = np.zeros((len(recorded), len(adapter.behaviour_names)))
    every[:, [adapter.behaviour_names.index(name) for name in own.behaviour_names]] = normalised
    weights = adapter.of_session(session.id).per_signal
    with torch.no_grad():
        shift = adapter.shift(torch.from_numpy(every[None]).to(weights), session.id)[0]
        size = height * shift.double().norm(dim=-1).cpu().numpy()
        per_signal = height * weights.double().cpu().numpy()
    degrees = own.geometry.degrees_per_pixel

    def arcmin(pixels: float) -> float | None:
        return None if degrees is None else float(pixels * degrees * 60)

    rms, largest = float(np.sqrt(np.mean(size**2))), float(size.max())
    return LearnedView(
        session=session.id,
        rms_px=rms,
        largest_px=largest,
        rms_arcmin=arcmin(rms),
        largest_arcmin=arcmin(largest),
        signals=tuple(
            SignalShift(
                signal=name,
                down_px=down,
                right_px=right,
                down_arcmin=arcmin(down),
                right_arcmin=arcmin(right),
            )
            for name, (down, right) in zip(adapter.signals, per_signal.T.tolist(), strict=True)
            if name in own.behaviour_names
        ),
    )
