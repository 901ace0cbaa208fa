"""One session to disk: checked against what the recording says of itself, then written signal by signal."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Shaped

from visioncore.data.plausibility import FrameExtremes, require_counts, require_plausible
from visioncore.data.recording import RecordingInfo, SessionRecording, Trial
from visioncore.data.repeats import require_equal_repeats
from visioncore.data.sources.checks import (
    checked_behaviour,
    checked_frames,
    checked_rates,
    checked_responses,
    hold_frames,
)
from visioncore.data.stored_array import ArrayManifest, StoredArray, write_array
from visioncore.errors import DataError


@dataclass(frozen=True)
class WrittenSession:
    """A session whose signals are on disk, and what the manifest needs to know of it."""

    id: str
    subject: str
    unit_ids: tuple[str, ...]
    trials: tuple[Trial, ...]
    n_bins: int
    unit_truth: dict[str, list[Any]]
    folder: Path
    manifests: dict[str, ArrayManifest]
    arrays: dict[str, StoredArray]


def write_session(
    recording: SessionRecording, info: RecordingInfo, folder: Path, advance: Callable[[int], None]
) -> WrittenSession:
    """Write one session, the video a megabyte at a time; `advance` is told of each piece's number of bins.

    Raises:
        DataError: the session does not fit the recording's info, its trials overlap, or repeats differ.
    """
    where = f"session '{recording.id}'"
    _require_shapes(recording, info, where)
    _require_trials(recording.trials, recording.n_bins, where)
    valid = recording.valid
    manifests: dict[str, ArrayManifest] = {}

    def write(name: str, values: Shaped[np.ndarray, "time signals"], signals: str) -> None:
        manifests[name] = write_array(
            folder / name,
            values.shape,
            values.dtype,
            ("time", signals),
            lambda start, stop: values[start:stop],
        )

    video = _HeldVideo(recording, info, where)

    def frames(start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        advance(stop - start)
        return video.read(start, stop)

    zarr.create_group(str(folder))
    video_dtype = np.dtype(np.uint8 if recording.video(0, 1).dtype == np.uint8 else np.float32)
    shape = (recording.n_bins, info.channels, info.height, info.width)
    axes = ("time", "channels", "height", "width")
    manifests["video"] = write_array(folder / "video", shape, video_dtype, axes, frames)
    video.finish()
    write("valid", valid, "units")
    write("responses", _responses(recording, info, f"{where}, responses"), "units")
    if recording.behaviour is not None:
        behaviour = checked_behaviour(recording.behaviour, valid, f"{where}, behaviour")
        if recording.missing is None:
            # Also where no unit is valid: later bins see these samples as their past.
            everywhere = np.ones((len(behaviour), 1), bool)
            require_plausible(behaviour, everywhere, info.behaviour_names, f"{where}, behaviour")
        write("behaviour", behaviour, "behaviours")
    if recording.rates is not None:
        write("rates", checked_rates(recording.rates, valid, f"{where}, rates"), "units")
    arrays = {
        name: StoredArray(folder / name, manifest, f"{where}, {name}") for name, manifest in manifests.items()
    }
    require_equal_repeats(recording.trials, arrays["video"], valid, where)
    return WrittenSession(
        id=recording.id,
        subject=recording.subject,
        unit_ids=recording.unit_ids,
        trials=recording.trials,
        n_bins=recording.n_bins,
        unit_truth=recording.unit_truth,
        folder=folder,
        manifests=manifests,
        arrays=arrays,
    )


def _responses(
    recording: SessionRecording, info: RecordingInfo, where: str
) -> Shaped[np.ndarray, "time units"]:
    counts = info.response_kind == "counts"
    responses = checked_responses(recording.responses, recording.valid, info.response_kind, where)
    names = tuple(f"unit {unit}" for unit in recording.unit_ids)
    if counts:
        require_counts(responses, names, where)
    if recording.missing is None:
        require_plausible(responses, recording.valid, names, where, counts=counts)
    return responses


class _HeldVideo:
    """A session's video, read in order: checked, and frames that are missing hold the last good one."""

    def __init__(self, recording: SessionRecording, info: RecordingInfo, where: str) -> None:
        self._recording, self._info, self._where = recording, info, where
        self._last: Shaped[np.ndarray, "channels height width"] | None = None
        self._extremes = FrameExtremes(recording.n_bins)

    def finish(self) -> None:
        """After the last frame: what only the whole video shows."""
        if self._recording.missing is None:
            self._extremes.require_plausible(f"{self._where}, video")

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        piece = self._checked(start, stop)
        self._extremes.add(piece, start)
        held = hold_frames(piece, self._last)
        if held is None:
            held = hold_frames(piece, self._first_good(stop, stop - start))
        if held is None:
            raise DataError(f"{self._where}, video: no frame is finite; is this the stimulus?")
        self._last = held[-1].copy()
        return held

    def _first_good(self, start: int, n_bins: int) -> Shaped[np.ndarray, "channels height width"] | None:
        """The first good frame from bin `start` on, looked for `n_bins` at a time."""
        for begin in range(start, self._recording.n_bins, n_bins):
            held = hold_frames(self._checked(begin, min(begin + n_bins, self._recording.n_bins)), None)
            if held is not None:
                return np.asarray(held[0])
        return None

    def _checked(self, start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        piece = self._recording.video(start, stop)
        info = self._info
        if piece.shape != (stop - start, info.channels, info.height, info.width):
            raise DataError(
                f"{self._where}: video frames have shape {piece.shape[1:]}; the recording's first session has "
                f"{(info.channels, info.height, info.width)}, and all sessions must share one size"
            )
        seen = np.asarray(self._recording.valid[start:stop].any(axis=1))
        return checked_frames(piece, seen, start, f"{self._where}, video")


def _require_shapes(recording: SessionRecording, info: RecordingInfo, where: str) -> None:
    n_bins, n_units = recording.n_bins, len(recording.unit_ids)
    if n_bins == 0 or n_units == 0:
        raise DataError(f"{where}: is empty: {n_bins} bins, {n_units} units; leave it out")
    if len(set(recording.unit_ids)) != n_units:
        raise DataError(f"{where}: a unit id appears twice; give every unit its own")
    if (recording.behaviour is not None) != bool(info.behaviour_names):
        found = "has" if recording.behaviour is not None else "has no"
        raise DataError(
            f"{where}: {found} behaviour, unlike the recording's first session; give it to all or to none"
        )
    expected: dict[str, tuple[Shaped[np.ndarray, "..."] | None, tuple[tuple[int, ...], ...]]] = {
        "responses": (recording.responses, ((n_bins, n_units),)),
        "rates": (recording.rates, ((n_bins, n_units),)),
        "behaviour": (recording.behaviour, ((n_bins, len(info.behaviour_names)),)),
        "valid": (recording.valid, ((n_bins, n_units), (n_bins, 1))),
    }
    for name, (array, shapes) in expected.items():
        if array is not None and array.shape not in shapes:
            options = " or ".join(str(shape) for shape in shapes)
            raise DataError(f"{where}: {name} has shape {array.shape}; expected {options}")
    for name, truth in recording.unit_truth.items():
        if len(truth) != n_units:
            raise DataError(f"{where}: {len(truth)} values of '{name}' for {n_units} units")


def _require_trials(trials: tuple[Trial, ...], n_bins: int, where: str) -> None:
    if not trials:
        raise DataError(f"{where}: has no trials; one that covers the session will do")
    end = 0
    for trial in sorted(trials, key=lambda t: t.start):
        if not end <= trial.start < trial.stop <= n_bins:
            raise DataError(
                f"{where}: trial of bins {trial.start} to {trial.stop} is empty, overlaps the one before it, "
                f"or leaves the session's {n_bins} bins"
            )
        end = trial.stop
