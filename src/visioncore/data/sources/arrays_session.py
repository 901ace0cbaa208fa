"""A session of the `arrays` format: aligned arrays, streamed from their file, and its trials, units and masks."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from visioncore.data.sources.array_file import ArrayFile, ArrayStream
from visioncore.data.sources.arrays_config import ArraysSessionConfig
from visioncore.data.sources.arrays_tables import read_columns, read_trials, read_unit_ids
from visioncore.data.sources.missing import is_missing, without_codes
from visioncore.errors import DataError
from visioncore.recording import Signal
from visioncore.spec import Geometry, ResponseKind, SessionSpec

_FRAMES_AT_ONCE = 256
_MASK = "expected bool, or 0 and 1: True where the bin counts"

_logger = logging.getLogger(__name__)


class ArraysSession:
    """A `SessionRecording` over one file.

    Raises:
        DataError: an array has another shape than the others ask for, or trials or units make no sense.
    """

    def __init__(
        self, config: ArraysSessionConfig, file: ArrayFile, kind: ResponseKind, geometry: Geometry
    ) -> None:
        self._config, self._file = config, file
        keys: dict[Signal, str | None] = {
            "video": config.video,
            "responses": config.responses,
            "behaviour": config.behaviour,
            "rates": config.rates,
        }
        self._keys = {signal: key for signal, key in keys.items() if key is not None}
        n_bins, *_ = video_shape(file, config.video)
        n_units = self._require_responses(n_bins)
        self.n_bins = n_bins
        self._n_units = n_units
        names = behaviour_names_of(config, file)
        if config.behaviour is not None:
            self._require_shape(config.behaviour, (n_bins, len(names)), "(time, signals)")
        if config.rates is not None:
            self._require_shape(config.rates, (n_bins, n_units), "(time, units)")
        self._require_masks()
        unit_ids = read_unit_ids(file, config.unit_ids, n_units)
        self.spec = SessionSpec(
            id=config.id,
            subject=config.subject,
            unit_ids=unit_ids,
            units=read_columns(file, config.units, n_units, "units"),
            response_kind=kind,
            behaviour_names=names,
            geometry=geometry,
        )
        self.trials = read_trials(file, config, n_bins)
        self.trial_columns = read_columns(file, config.trial_columns, len(self.trials), "trials")
        self.unit_truth: Mapping[str, Sequence[Any]] = {}
        self.missing = config.missing
        self._streams: dict[str, ArrayStream] = {}
        try:
            self._seen = self._with_known_stimulus()
        except DataError:
            self.close()
            raise

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Which signals there are."""
        return ("video", "valid", *(signal for signal in self._keys if signal != "video"))

    @property
    def alignment(self) -> None:
        """Bins are the format's own."""

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal; missing samples of video and behaviour are NaN."""
        if signal == "valid":
            return self._valid(start, stop)
        rows = self._stream(self._keys[signal]).read(start, stop)
        codes = self._config.missing or ()
        if signal == "video":
            frames = rows[:, None] if rows.ndim == 3 else rows
            return frames if frames.dtype == np.uint8 else without_codes(frames, codes)
        return without_codes(rows, codes) if signal == "behaviour" else rows

    def where(self, signal: Signal) -> str:
        """The session, the file, and the array's key in it."""
        keys = self._config.masks if signal == "valid" else (self._keys.get(signal),)
        told = "".join(f", key '{key}'" for key in keys if key is not None)
        return f"{self._file.where}{told}, {signal}"

    def close(self) -> None:
        """Let go of the file; reading opens it again."""
        for stream in self._streams.values():
            stream.close()

    def _stream(self, key: str) -> ArrayStream:
        if key not in self._streams:
            self._streams[key] = self._file.stream(key)
        return self._streams[key]

    def _valid(self, start: int, stop: int) -> Bool[np.ndarray, "time valid_units"]:
        valid = self._seen[start:stop, None]
        for key in self._config.masks:
            mask = self._stream(key).read(start, stop).reshape(stop - start, -1)
            if mask.dtype != np.bool_ and not np.isin(mask, (0, 1)).all():
                raise DataError(f"{self._of_key(key)}, valid: {_mask_of(mask)}")
            valid = valid & mask.astype(bool)
        if self._config.missing and self._config.responses is not None:
            valid = valid & ~is_missing(self.read("responses", start, stop), self._config.missing)
        return valid

    def _with_known_stimulus(self) -> Bool[np.ndarray, " time"]:
        """Bins in which no frame and no behaviour is missing; reads the video only where it may have codes."""
        seen = np.ones(self.n_bins, bool)
        codes, behaviour = self._config.missing, self._config.behaviour
        if codes:
            seen &= ~self._bins_with(self._config.video, lambda rows: is_missing(rows, codes))
        if behaviour is None:
            return seen
        if codes:
            seen &= ~self._bins_with(behaviour, lambda rows: is_missing(rows, codes))
        if codes is None and self._file.header(behaviour).dtype.kind == "f":
            lost = self._bins_with(behaviour, np.isnan)
            if n_lost := int((lost & self._masked()).sum()):
                _logger.warning(
                    "%s: is NaN in %d of %d bins that count (a tracker that was lost?): they are valid for no unit",
                    self.where("behaviour"),
                    n_lost,
                    self.n_bins,
                )
            seen &= ~lost
        return seen

    def _bins_with(
        self, key: str, found: Callable[[Shaped[np.ndarray, "..."]], Bool[np.ndarray, "..."]]
    ) -> Bool[np.ndarray, " time"]:
        """Bins in which something is found in an array that is not of bytes."""
        bins = np.zeros(self.n_bins, bool)
        if self._file.header(key).dtype == np.uint8:
            return bins
        for start in range(0, self.n_bins, _FRAMES_AT_ONCE):
            stop = min(start + _FRAMES_AT_ONCE, self.n_bins)
            rows = self._stream(key).read(start, stop).reshape(stop - start, -1)
            bins[start:stop] = found(rows).any(axis=1)
        return bins

    def _masked(self) -> Bool[np.ndarray, " time"]:
        """Bins in which the masks leave a unit."""
        self._seen = np.ones(self.n_bins, bool)
        pieces = range(0, self.n_bins, _FRAMES_AT_ONCE)
        valid = [
            self._valid(start, min(start + _FRAMES_AT_ONCE, self.n_bins)).any(axis=1) for start in pieces
        ]
        return np.concatenate(valid)

    def _require_responses(self, n_bins: int) -> int:
        """How many units there are."""
        key = self._config.responses
        if key is None:
            for name in ("unit_ids", "rates", "units"):
                if getattr(self._config, name):
                    raise DataError(
                        f"{self._file.where}: has {name} but no responses; name the array that holds them"
                    )
            return 0
        shape, where = self._file.header(key).shape, f"{self._file.where}, key '{key}'"
        if len(shape) != 2 or 0 in shape:
            raise DataError(
                f"{where}: responses have shape {shape}; expected (time, units) with at least one bin and one unit"
            )
        if shape[0] != n_bins:
            raise DataError(
                f"{self._file.where}, key '{self._config.video}': {n_bins} video frames but {shape[0]} bins of "
                f"responses ('{key}'); time is the first axis of both, one frame per bin"
            )
        return shape[1]

    def _require_masks(self) -> None:
        for key in self._config.masks:
            header = self._file.header(key)
            if header.dtype != np.bool_ and header.dtype.kind not in "iuf":
                raise DataError(f"{self._of_key(key)}: valid is {header.dtype}; {_MASK}")
            if header.shape not in ((self.n_bins,), (self.n_bins, 1), (self.n_bins, self._n_units)):
                raise DataError(
                    f"{self._of_key(key)}: valid has shape {header.shape}; expected ({self.n_bins},) or "
                    f"({self.n_bins}, {self._n_units})"
                )

    def _require_shape(self, key: str, shape: tuple[int, ...], axes: str) -> None:
        found = self._file.header(key).shape
        if found != shape:
            raise DataError(
                f"{self._file.where}, key '{key}': has shape {found}; the responses ask for {shape}, {axes}"
            )

    def _of_key(self, key: str) -> str:
        return f"{self._file.where}, key '{key}'"


def _mask_of(mask: Shaped[np.ndarray, "..."]) -> str:
    odd = mask[~np.isin(mask, (0, 1))]
    return f"valid is {mask.dtype} and holds {odd[0]}; {_MASK}"


def video_shape(file: ArrayFile, key: str) -> tuple[int, int, int, int]:
    header = file.header(key)
    where = f"{file.where}, key '{key}'"
    if header.dtype != np.uint8 and header.dtype.kind != "f":
        raise DataError(f"{where}: video is {header.dtype}; expected uint8 (0 to 255) or float")
    shape = header.shape
    if len(shape) == 4 and shape[-1] in (1, 3, 4) and shape[1] > 4:
        raise DataError(
            f"{where}: video has shape {shape}, channels last; expected (time, channels, height, width)"
        )
    if len(shape) not in (3, 4) or 0 in shape:
        raise DataError(
            f"{where}: video has shape {shape}; expected (time, height, width) or "
            "(time, channels, height, width), none of them empty"
        )
    return (shape[0], 1, shape[1], shape[2]) if len(shape) == 3 else (shape[0], shape[1], shape[2], shape[3])


def behaviour_names_of(session: ArraysSessionConfig, file: ArrayFile) -> tuple[str, ...]:
    if session.behaviour is None:
        if session.behaviour_names:
            raise DataError(
                f"{file.where}: has behaviour_names but no behaviour; name the array that holds it"
            )
        return ()
    shape = file.header(session.behaviour).shape
    where = f"{file.where}, key '{session.behaviour}'"
    if len(shape) != 2 or shape[1] == 0:
        raise DataError(
            f"{where}: behaviour has shape {shape}; expected (time, signals), also for a single signal"
        )
    names = session.behaviour_names or tuple(f"behaviour_{k}" for k in range(shape[1]))
    if len(names) != shape[1]:
        raise DataError(
            f"{where}: has {shape[1]} signals but behaviour_names lists {len(names)}: {', '.join(names)}"
        )
    if len(set(names)) != len(names):
        raise DataError(f"{where}: behaviour_names names a signal twice: {', '.join(names)}")
    return names
