"""Data specs in one call, for tests that make them up."""

from typing import Any

from visioncore.recording import ArrayRecording, RecordingSource
from visioncore.simulation.base import SimulatedSource
from visioncore.spec import DataSpec, Geometry, Normalisation, ResponseKind, Sampling, SessionSpec


def data_spec(
    *,
    height: int,
    width: int,
    sampling_rate_hz: float | None,
    sessions: tuple[SessionSpec, ...],
    channels: int = 1,
    response_kind: ResponseKind = "counts",
    behaviour_names: tuple[str, ...] = (),
    geometry: Geometry | None = None,
    constants: Normalisation | None = None,
) -> DataSpec:
    """Sessions that have everything but their units in common."""
    shared: dict[str, Any] = {
        "response_kind": response_kind,
        "behaviour_names": behaviour_names,
        "geometry": geometry or Geometry(),
        "constants": constants,
    }
    return DataSpec(
        sampling=Sampling(channels=channels, height=height, width=width, rate_hz=sampling_rate_hz),
        sessions=tuple(session.model_copy(update=shared) for session in sessions),
    )


def sessions_of(source: SimulatedSource) -> list[ArrayRecording]:
    """All sessions of a simulated source."""
    return [source.session(id_) for id_ in source.session_ids()]


def fingerprints_of(source: RecordingSource) -> tuple[str, ...]:
    """Of all its sessions."""
    return tuple(source.fingerprint(id_) for id_ in source.session_ids())
