"""Pages for `visioncore inspect`: what files hold before they are read, and what a prepared recording is like."""

from dataclasses import dataclass
from pathlib import Path

from visioncore.data.inspection.inspection import Inspection
from visioncore.data.inspection.wrong_order import wrong_order_note
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.data.usability import usable_minutes
from visioncore.files import write_text
from visioncore.recording import Split
from visioncore.report import quality_figures as figures
from visioncore.report.environment import page_environment
from visioncore.report.quality import Gaze, RatesOverTime, Reliability, TriggeredAverages, mean_frame

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def write_inspection(inspection: Inspection, yaml: str, path: Path) -> Path:
    """The page about foreign files: frames to look at, what is there, and the proposed YAML."""
    page = (
        page_environment()
        .get_template("inspection.html.j2")
        .render(
            inspection=inspection,
            yaml=yaml,
            pictures=figures.pictures(inspection.pictures) if inspection.pictures else None,
        )
    )
    write_text(path, page)
    return path


@dataclass(frozen=True)
class _SessionPart:
    """One session on the page."""

    session: SessionStore
    minutes: dict[Split, tuple[float, float]]
    valid_share: float
    rates: str | None
    frame: str
    averages: str | None
    reliability: Reliability | None
    reliability_figure: str | None
    residuals: str | None
    notes: tuple[str, ...]


def write_quality(store: RecordingStore, path: Path) -> tuple[str, ...]:
    """The page about a prepared recording: rates, mean frame, gaze, averages, repeats, clocks, what is invalid.

    Complete or not at all; needs no network and no other file. Returns what the user should know, as it stands there.
    """
    rate_hz = store.spec.sampling.rate_hz
    parts = [_part(store, session, rate_hz) for session in store.sessions.values()]
    page = (
        page_environment()
        .get_template("quality.html.j2")
        .render(title=store.path.stem, store=store, sampling=store.spec.sampling, parts=parts)
    )
    write_text(path, page)
    return tuple(f"session {part.session.id}: {note}" for part in parts for note in part.notes)


def _part(store: RecordingStore, session: SessionStore, rate_hz: float | None) -> _SessionPart:
    minutes = {} if rate_hz is None else {split: usable_minutes(store, session, split) for split in _SPLITS}
    label = "spikes/s" if session.spec.response_kind == "counts" and rate_hz else "response"
    averages = None if rate_hz is None else TriggeredAverages.of(session, rate_hz)
    reliability = Reliability.of(session)
    clocks = session.alignment.clocks if session.alignment else {}
    return _SessionPart(
        session=session,
        minutes=minutes,
        valid_share=_valid_share(session),
        rates=figures.rates(RatesOverTime.of(session, rate_hz), label) if session.unit_ids else None,
        frame=figures.frame_and_gaze(mean_frame(session), Gaze.of(session)),
        averages=None if averages is None else figures.triggered_averages(averages, session.unit_ids),
        reliability=reliability,
        reliability_figure=None if reliability is None else figures.reliability(reliability),
        residuals=figures.residuals(clocks) if clocks else None,
        notes=() if averages is None else _order_of_stixels(session, averages),
    )


def _order_of_stixels(session: SessionStore, averages: TriggeredAverages) -> tuple[str, ...]:
    """What fields say about the order in which pixels were read, where no pixel was averaged away."""
    if averages.frame.shape[1:] != (session.sampling.height, session.sampling.width):
        return ()
    note = wrong_order_note(averages.at_all_lags, "unknown")
    return () if note is None else (note,)


def _valid_share(session: SessionStore) -> float:
    """Of all responses in blocks, how many count."""
    n, counted = 0, 0
    for block in session.blocks:
        valid = session.valid(block.start, block.stop)
        n, counted = n + valid.size, counted + int(valid.sum())
    return counted / max(n, 1)
