"""One session to disk: every signal read a piece at a time, checked once, and written."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from visioncore.data.checks import (
    Piece,
    ResponseCheck,
    checked_behaviour,
    checked_frames,
    checked_rates,
    hold_frames,
    require_trials,
)
from visioncore.data.manifest import write_manifest
from visioncore.data.plausibility import FrameExtremes, require_plausible
from visioncore.data.repeats import require_equal_repeats
from visioncore.data.signals import GROUP_NAME, MANIFEST_NAME, SessionManifest
from visioncore.data.stored_array import ArrayManifest, StoredArray, file_sha256, make_group, write_array
from visioncore.errors import DataError
from visioncore.recording import SessionRecording, Signal
from visioncore.remote import AnyPath
from visioncore.spec import Sampling, columns

_PIECE_BYTES = 2**24


def write_session(
    recording: SessionRecording,
    sampling: Sampling,
    fingerprint: str,
    folder: AnyPath,
    advance: Callable[[int], None],
) -> None:
    """Write one session store; `advance` is told of each piece of the video, by its number of bins.

    Raises:
        DataError: a signal does not fit the others or cannot be what it claims, trials overlap, or repeats differ.
    """
    writer = _Writer(recording, sampling, folder, advance)
    writer.write()
    manifest = SessionManifest(
        fingerprint=fingerprint,
        sampling=sampling,
        spec=recording.spec,
        n_bins=recording.n_bins,
        trials=recording.trials,
        trial_columns=recording.trial_columns,
        unit_truth=columns(recording.unit_truth),
        alignment=recording.alignment,
        arrays=writer.manifests,
        group_sha256=file_sha256(folder / GROUP_NAME),
    )
    write_manifest(folder / MANIFEST_NAME, manifest)


class _Writer:
    """The signals of one session on their way to disk."""

    def __init__(
        self, recording: SessionRecording, sampling: Sampling, folder: AnyPath, advance: Callable[[int], None]
    ) -> None:
        self._recording, self._sampling, self._folder, self._advance = recording, sampling, folder, advance
        self._n_bins, self._n_units = recording.n_bins, len(recording.spec.unit_ids)
        self._where = f"session '{recording.spec.id}'"
        self.manifests: dict[str, ArrayManifest] = {}

    def write(self) -> None:
        """All of them."""
        recording = self._recording
        self._require_facts()
        require_trials(recording.trials, self._n_bins, self._where)
        make_group(self._folder)
        seen = self._write_valid()
        if self._n_units:
            self._write_responses()
        video = self._write_video(seen)
        if "behaviour" in recording.signals:
            self._write_behaviour(seen)
        if "rates" in recording.signals:
            self._write_rates()
        require_equal_repeats(recording.trials, video, seen, self._where)

    def _write_valid(self) -> Bool[np.ndarray, " time"]:
        """The mask; returns the bins in which it has a valid unit."""
        seen = np.zeros(self._n_bins, bool)
        columns = self._recording.read("valid", 0, 1).shape[1]
        if columns not in (1, self._n_units):
            raise DataError(
                f"{self._where}: valid has {columns} columns; expected 1 or one for each of {self._n_units} units"
            )

        def rows(start: int, stop: int) -> Bool[np.ndarray, "time some"]:
            valid = self._read("valid", start, stop, (columns,))
            seen[start:stop] = valid.any(axis=1)
            return valid

        self._write_array("valid", (columns,), np.dtype(bool), ("time", "units"), rows)
        self._valid = self._stored("valid")
        if not seen.any():
            raise DataError(
                f"{self._recording.where('valid')}: no bin is valid, the session is empty; leave the session out or "
                "mend the mask"
            )
        return seen

    def _write_responses(self) -> None:
        recording, spec = self._recording, self._recording.spec
        names = tuple(f"unit {unit}" for unit in spec.unit_ids)
        check = ResponseCheck(
            spec.response_kind,
            names,
            self._n_bins,
            recording.where("responses"),
            codes_are_known=recording.missing is not None,
        )
        start = 0
        for responses, valid in self._responses():
            check.add(responses, valid, start)
            start += len(responses)
        check.finish(self._responses)

        def rows(start: int, stop: int) -> Shaped[np.ndarray, "time units"]:
            return check.stored(*self._response_piece(start, stop))

        self._write_array("responses", (self._n_units,), check.dtype, ("time", "units"), rows)

    def _write_video(self, seen: Bool[np.ndarray, " time"]) -> StoredArray:
        sampling = self._sampling
        video = _HeldVideo(self._recording, sampling, seen)
        moments: list[Float64[np.ndarray, "time channels 2"]] = []

        def rows(start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
            self._advance(stop - start)
            frames = video.read(start, stop)
            moments.append(frame_moments(frames))
            return frames

        dtype = np.dtype(np.uint8 if self._recording.read("video", 0, 1).dtype == np.uint8 else np.float32)
        shape = (sampling.channels, sampling.height, sampling.width)
        self._write_array("video", shape, dtype, ("time", "channels", "height", "width"), rows)
        video.finish()
        of_all = np.concatenate(moments)
        self._write_array(
            "video_moments",
            of_all.shape[1:],
            of_all.dtype,
            ("time", "channels", "moment"),
            lambda start, stop: of_all[start:stop],
        )
        return self._stored("video")

    def _write_behaviour(self, seen: Bool[np.ndarray, " time"]) -> None:
        names, where = self._recording.spec.behaviour_names, self._recording.where("behaviour")
        behaviour = checked_behaviour(self._read("behaviour", 0, self._n_bins, (len(names),)), seen, where)
        if self._recording.missing is None:
            # Also where no unit is valid: later bins see these samples as their past.
            require_plausible(behaviour, np.ones((len(behaviour), 1), bool), names, where)
        self._write_array(
            "behaviour",
            (len(names),),
            behaviour.dtype,
            ("time", "behaviours"),
            lambda start, stop: behaviour[start:stop],
        )

    def _write_rates(self) -> None:
        where = self._recording.where("rates")

        def rows(start: int, stop: int) -> Shaped[np.ndarray, "time units"]:
            rates = self._read("rates", start, stop, (self._n_units,))
            return checked_rates(rates, self._valid.read(start, stop), start, where)

        self._write_array("rates", (self._n_units,), np.dtype(np.float32), ("time", "units"), rows)

    def _responses(self) -> Iterator[Piece]:
        rows = max(1, _PIECE_BYTES // (8 * self._n_units))
        for start in range(0, self._n_bins, rows):
            yield self._response_piece(start, min(start + rows, self._n_bins))

    def _response_piece(self, start: int, stop: int) -> Piece:
        responses = self._read("responses", start, stop, (self._n_units,))
        return responses, self._valid.read(start, stop)

    def _read(
        self, signal: Signal, start: int, stop: int, shape: tuple[int, ...]
    ) -> Shaped[np.ndarray, "time ..."]:
        piece = self._recording.read(signal, start, stop)
        if piece.shape != (stop - start, *shape):
            raise DataError(
                f"{self._recording.where(signal)}: has shape {piece.shape}; expected {(stop - start, *shape)}"
            )
        return piece

    def _write_array(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        axes: tuple[str, ...],
        rows: Callable[[int, int], Shaped[np.ndarray, "..."]],
    ) -> None:
        self.manifests[name] = write_array(self._folder / name, (self._n_bins, *shape), dtype, axes, rows)

    def _stored(self, name: str) -> StoredArray:
        return StoredArray(self._folder / name, self.manifests[name], f"{self._where}, {name}")

    def _require_facts(self) -> None:
        recording, where = self._recording, self._where
        if self._n_bins == 0:
            raise DataError(f"{where}: is empty: it has no bin; leave it out")
        if bool(self._n_units) != ("responses" in recording.signals):
            raise DataError(
                f"{where}: has {self._n_units} units, and {', '.join(recording.signals)}; expected both or none"
            )
        if ("behaviour" in recording.signals) != bool(recording.spec.behaviour_names):
            raise DataError(
                f"{where}: names {len(recording.spec.behaviour_names)} behavioural signals, and has "
                f"{', '.join(recording.signals)}; expected both or none"
            )
        for table, n_rows, what in (
            (recording.unit_truth, self._n_units, "units"),
            (recording.trial_columns, len(recording.trials), "trials"),
        ):
            for name, values in table.items():
                if len(values) != n_rows:
                    raise DataError(f"{where}: {len(values)} values of '{name}' for {n_rows} {what}")


class _HeldVideo:
    """A session's video, read in order: checked, and frames that are missing hold the last good one."""

    def __init__(
        self, recording: SessionRecording, sampling: Sampling, seen: Bool[np.ndarray, " time"]
    ) -> None:
        self._recording, self._seen = recording, seen
        self._shape = (sampling.channels, sampling.height, sampling.width)
        self._where = recording.where("video")
        self._last: Shaped[np.ndarray, "channels height width"] | None = None
        self._extremes = FrameExtremes(recording.n_bins)

    def finish(self) -> None:
        """After the last frame: what only the whole video shows."""
        if self._recording.missing is None:
            self._extremes.require_plausible(self._where)

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        piece = self._checked(start, stop)
        self._extremes.add(piece, start)
        held = hold_frames(piece, self._last)
        if held is None:
            held = hold_frames(piece, self._first_good(stop, stop - start))
        if held is None:
            raise DataError(f"{self._where}: no frame is finite; is this the stimulus?")
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
        piece = self._recording.read("video", start, stop)
        if piece.shape != (stop - start, *self._shape):
            raise DataError(
                f"{self._where}: video frames have shape {piece.shape[1:]}; the recording's first session has "
                f"{self._shape}, and all sessions must share one size"
            )
        return checked_frames(piece, self._seen[start:stop], start, self._where)


def frame_moments(
    frames: Shaped[np.ndarray, "time channels height width"],
) -> Float64[np.ndarray, "time channels 2"]:
    """Mean of every frame, and the sum of its squared deviations from it; for bytes exact but for the last digit."""
    pixels = frames.reshape(*frames.shape[:2], -1)
    if frames.dtype == np.uint8:
        n = pixels.shape[-1]
        total = pixels.sum(axis=-1, dtype=np.int64)
        squares = np.square(pixels, dtype=np.uint32).sum(axis=-1, dtype=np.int64)
        return np.stack((total / n, (n * squares - total * total) / n), axis=-1)
    mean = pixels.mean(axis=-1, dtype=np.float64)
    deviations = np.square(pixels - mean[..., None]).sum(axis=-1)
    return np.stack((mean, deviations), axis=-1)
