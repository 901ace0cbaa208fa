"""Fewer, larger pixels: each is the mean of the area that it covers."""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float32, Shaped
from pydantic import Field

from visioncore.data.preparation.base import (
    BaseStepConfig,
    ChangedRecording,
    frame_bytes,
    in_pieces,
    like,
    moved_geometry,
    moved_truth,
    with_spec,
)
from visioncore.errors import DataError
from visioncore.recording import SessionRecording, Signal
from visioncore.spec import Sampling

_ROUNDING = 1e-9


class ResizeConfig(BaseStepConfig):
    """`type: resize`: pixels `factor` times as large, each the mean of the area it covers.

    What is left over at the edges, less than a new pixel, is cut off on both sides alike. One factor for rows and
    columns: a degree stays as many pixels in both.
    """

    type: Literal["resize"] = "resize"
    factor: float = Field(gt=1)
    """May be fractional: then pixels at the border of two new ones count for both, by their share."""

    @classmethod
    def tiny(cls) -> "ResizeConfig":
        return cls(factor=1.5)

    def sampling(self, before: Sampling) -> Sampling:
        height, width = (math.floor(n / self.factor + _ROUNDING) for n in (before.height, before.width))
        if not height or not width:
            raise DataError(
                f"step resize: a factor of {self.factor:g} leaves no pixel of frames with {before.height} x "
                f"{before.width} pixels; give a smaller one"
            )
        return before.model_copy(update={"height": height, "width": width})

    def apply(self, recording: SessionRecording, sampling: Sampling) -> "Resized":
        return Resized(recording, sampling, self.sampling(sampling), self.factor)


class Resized(ChangedRecording):
    """Every frame with larger pixels."""

    def __init__(self, before: SessionRecording, sampling: Sampling, after: Sampling, factor: float) -> None:
        super().__init__(before)
        self._row_bytes = frame_bytes(sampling)
        top, left = (
            _first(n, m, factor) for n, m in ((sampling.height, after.height), (sampling.width, after.width))
        )
        self._down = area_weights(sampling.height, after.height, top, factor)
        self._right = area_weights(sampling.width, after.width, left, factor)
        middle = top + after.height * factor / 2, left + after.width * factor / 2
        self.spec = with_spec(
            before.spec, geometry=moved_geometry(before.spec.geometry, sampling, *middle, scale=factor)
        )
        self.unit_truth = moved_truth(before.unit_truth, top, left, factor)

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal."""
        if signal != "video":
            return self.before.read(signal, start, stop)
        return in_pieces(start, stop, self._row_bytes, self._part)

    def _part(self, start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        frames = self.before.read("video", start, stop)
        means = self._down @ frames.astype(np.float32) @ self._right.T
        return like(means, frames.dtype)


def _first(n: int, n_after: int, factor: float) -> float:
    """Where the first new pixel starts; a whole factor moves by whole pixels, so that none is blurred."""
    left = max(n - n_after * factor, 0.0)
    return float(left // 2) if factor.is_integer() else left / 2


def area_weights(n: int, n_after: int, first: float, factor: float) -> Float32[np.ndarray, "after before"]:
    """Each new pixel's share of each old one; rows sum to 1."""
    begin = first + np.arange(n_after)[:, None] * factor
    pixel = np.arange(n)[None, :]
    overlap = np.minimum(begin + factor, pixel + 1) - np.maximum(begin, pixel)
    weights = np.clip(overlap, 0, None)
    # The last pixel may end beyond the frame, by rounding.
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
