"""The part of the screen around the gaze, bin by bin: what falls on the retina's middle, or beside it."""

from collections import defaultdict
from dataclasses import replace
from typing import Literal, Self

import numpy as np
from jaxtyping import Shaped
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from visioncore.data.preparation.base import (
    ChangedRecording,
    frame_bytes,
    in_pieces,
    like,
    moved_truth,
    with_spec,
)
from visioncore.data.preparation.causal import held
from visioncore.data.preparation.gaze import (
    GazeStepConfig,
    Places,
    degrees_per_pixel,
    gaze_on_screen,
    on_screen,
)
from visioncore.data.preparation.masked import Masked
from visioncore.errors import DataError
from visioncore.recording import SessionRecording, Signal, Trial
from visioncore.spec import Geometry, Sampling
from visioncore.stimuli import GREY

_STEP = "gaze_crop"
_SAME = 1e-3
"""Relative: pixels that differ by less have one size."""


class GazeCropConfig(GazeStepConfig):
    """`type: gaze_crop`: the frame of bin t is cut around the gaze of bin t.

    Where the middle of the crop is off the screen, or the gaze is not known, no response counts; the last known gaze is
    taken then.
    """

    type: Literal["gaze_crop"] = "gaze_crop"
    needs_screen = True
    leaves_screen = False
    size_deg: tuple[PositiveFloat, PositiveFloat] | None = None
    """Height and width in degrees, with `degrees_per_pixel`; or `size_px`."""
    degrees_per_pixel: PositiveFloat | None = None
    """Of the crop, the same in all sessions. Not coarser than the screen's: crop finely, then `resize`."""
    size_px: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width in pixels of the screen."""
    centre_deg: tuple[float, float] = (0.0, 0.0)
    """Middle of the crop, from the gaze: to the right, upwards. For fields that are not at the fovea."""
    interpolation: Literal["nearest", "linear"]
    """`nearest` moves by whole pixels and keeps them sharp; `linear` follows smaller movements and blurs."""
    grey: NonNegativeFloat | None = None
    """What is seen beside the screen. When left out: 127 for bytes; videos of floats must say."""
    repeats: Literal["group", "same"] = "group"
    """Repeats of one stimulus are other videos once they follow the gaze. `group`: they are no repeats any more, and
    stay in one split. `same`: the eye was held so still that they are."""

    @model_validator(mode="after")
    def _has_one_size(self) -> Self:
        if (self.size_deg is None) == (self.size_px is None):
            raise ValueError("give size_deg (with degrees_per_pixel), or size_px; one of them")
        if (self.size_deg is None) != (self.degrees_per_pixel is None):
            raise ValueError("size_deg and degrees_per_pixel (of the crop) go together, and without size_px")
        if self.size_deg is not None and min(self._size()) < 1:
            raise ValueError("size_deg is less than a pixel of degrees_per_pixel")
        return self

    @classmethod
    def tiny(cls) -> "GazeCropConfig":
        return cls(gaze=("x", "y"), gaze_unit="degrees", size_px=(3, 4), interpolation="linear", grey=127.0)

    def sampling(self, before: Sampling) -> Sampling:
        height, width = self._size()
        return before.model_copy(update={"height": height, "width": width})

    def apply(self, recording: SessionRecording, sampling: Sampling) -> SessionRecording:
        places = gaze_on_screen(recording, sampling, self, _STEP)
        geometry, scale = recording.spec.geometry, 1.0
        if self.degrees_per_pixel is not None:
            scale = self.degrees_per_pixel / degrees_per_pixel(recording, _STEP)
            if scale > 1 + _SAME:
                raise DataError(
                    f"session '{recording.spec.id}', step {_STEP}: degrees_per_pixel {self.degrees_per_pixel:g} is "
                    f"coarser than the screen's {geometry.degrees_per_pixel:g}, and would skip pixels; crop at the "
                    "screen's, and put a step resize after it"
                )
            scale = 1.0 if abs(scale - 1) < _SAME else scale
        if self.centre_deg != (0.0, 0.0):
            right, up = np.array(self.centre_deg) / degrees_per_pixel(recording, _STEP)
            places = places + np.array([-up, right])
        masked = ~on_screen(places, sampling)
        cropped = GazeCropped(recording, sampling, _followed(places, sampling), self, scale)
        return Masked(cropped, masked, _STEP)

    def _size(self) -> tuple[int, int]:
        if self.size_px is not None:
            return self.size_px
        assert self.size_deg is not None
        assert self.degrees_per_pixel is not None
        height, width = (round(size / self.degrees_per_pixel) for size in self.size_deg)
        return height, width


def _followed(places: Places, sampling: Sampling) -> Places:
    """The last known place where none is known; the middle of the screen before there is any."""
    middle = np.array([sampling.height / 2, sampling.width / 2])
    known = np.stack([held(column) for column in places.T], axis=1)
    return np.where(np.isnan(known), middle, known)


class GazeCropped(ChangedRecording):
    """Frames around a place of each bin."""

    def __init__(
        self,
        before: SessionRecording,
        sampling: Sampling,
        places: Places,
        config: GazeCropConfig,
        scale: float,
    ) -> None:
        super().__init__(before)
        self._sampling, self._after, self._scale = sampling, config.sampling(sampling), scale
        self._places, self._config = places, config
        self.spec = with_spec(before.spec, geometry=self._geometry(before.spec.geometry))
        truth = moved_truth(before.unit_truth, 0.0, 0.0, scale)
        # Places on the screen mean nothing on the retina.
        self.unit_truth = {k: v for k, v in truth.items() if k not in ("rf_row_px", "rf_column_px")}
        if config.repeats == "group":
            self.trials = _without_repeats(before.trials, before.spec.id)

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal."""
        if signal != "video":
            return self.before.read(signal, start, stop)
        row_bytes = frame_bytes(self._sampling) + 4 * frame_bytes(self._after)
        return in_pieces(start, stop, row_bytes, self._part)

    def _part(self, start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        frames = self.before.read("video", start, stop)
        if self._config.grey is None and frames.dtype != np.uint8:
            raise DataError(
                f"{self.where('video')}, step {_STEP}: the video is {frames.dtype}, so what is seen beside the screen "
                "is not known; give grey, the value of a grey screen"
            )
        grey = GREY if self._config.grey is None else self._config.grey
        rows, columns = (
            self._places[start:stop, axis, None] + (np.arange(n) + 0.5 - n / 2) * self._scale
            for axis, n in enumerate((self._after.height, self._after.width))
        )
        if self._config.interpolation == "nearest":
            # What lies on the border of two pixels goes to one of them for all of a frame.
            return _taken(frames, _whole(rows + 1e-6), _whole(columns + 1e-6), grey)
        top, left = _whole(rows - 0.5), _whole(columns - 0.5)
        down, right = (rows - 0.5 - top)[:, None, :, None], (columns - 0.5 - left)[:, None, None, :]
        upper, lower = (
            (1 - right) * _taken(frames, row, left, grey) + right * _taken(frames, row, left + 1, grey)
            for row in (top, top + 1)
        )
        return like((1 - down) * upper + down * lower, frames.dtype)

    def _geometry(self, before: Geometry) -> Geometry:
        scaled = {
            name: size * self._scale
            for name in ("degrees_per_pixel", "um_per_pixel")
            if (size := getattr(before, name)) is not None
        }
        centre = self._config.centre_deg if before.degrees_per_pixel is not None else None
        return before.model_copy(update={**scaled, "centre_deg": centre})


def _whole(places: Shaped[np.ndarray, "time pixels"]) -> Shaped[np.ndarray, "time pixels"]:
    return np.floor(places).astype(np.int64)


def _taken(
    frames: Shaped[np.ndarray, "time channels height width"],
    rows: Shaped[np.ndarray, "time rows"],
    columns: Shaped[np.ndarray, "time columns"],
    grey: float,
) -> Shaped[np.ndarray, "time channels rows columns"]:
    """Pixels of each frame by row and column; grey beside the frame."""
    n, _, height, width = frames.shape
    bins = np.arange(n)[:, None, None]
    inside_rows, inside_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    taken = frames[
        bins, :, rows.clip(0, height - 1)[:, :, None], columns.clip(0, width - 1)[:, None, :]
    ].transpose(0, 3, 1, 2)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return np.where(inside, taken, like(np.array(grey), frames.dtype))


def _without_repeats(trials: tuple[Trial, ...], session: str) -> tuple[Trial, ...]:
    """Trials whose stimulus is their group, where they have none that holds them together already."""
    groups: dict[str, set[str | None]] = defaultdict(set)
    for trial in trials:
        if trial.stimulus_id is not None:
            groups[trial.stimulus_id].add(trial.group)
    for stimulus, found in groups.items():
        if len(found) > 1:
            raise DataError(
                f"session '{session}', step {_STEP}: trials of stimulus_id '{stimulus}' are of several groups; give "
                "all of them one, so that they stay in one split"
            )
    return tuple(
        trial
        if trial.stimulus_id is None
        else replace(trial, stimulus_id=None, group=trial.group or f"stimulus_id {trial.stimulus_id}")
        for trial in trials
    )
