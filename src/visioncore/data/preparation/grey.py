"""One channel instead of several."""

from typing import Literal

import numpy as np
from jaxtyping import Shaped

from visioncore.data.preparation.base import (
    BaseStepConfig,
    ChangedRecording,
    frame_bytes,
    in_pieces,
    like,
)
from visioncore.errors import DataError
from visioncore.recording import SessionRecording, Signal
from visioncore.spec import Sampling

LUMA = {"rec601": (0.299, 0.587, 0.114), "rec709": (0.2126, 0.7152, 0.0722)}
"""Shares of red, green and blue. Source: ITU-R BT.601-7 and BT.709-6, the coefficients of Y."""


class GreyConfig(BaseStepConfig):
    """`type: grey`: the weighted mean of the channels, taken on pixel values as they are stored.

    What these weights were made for is a human eye. An animal's may be another: `mean` favours no channel.
    """

    type: Literal["grey"] = "grey"
    weights: Literal["rec601", "rec709", "mean"]

    @classmethod
    def tiny(cls) -> "GreyConfig":
        return cls(weights="mean")

    def sampling(self, before: Sampling) -> Sampling:
        needed = "three channels (red, green, blue)" if self.weights in LUMA else "several channels"
        if before.channels == 1 or (self.weights in LUMA and before.channels != 3):
            raise DataError(
                f"step grey: frames have {before.channels} channel{'s' if before.channels > 1 else ''}, and weights "
                f"'{self.weights}' are for {needed}; leave the step out, or give other weights"
            )
        return before.model_copy(update={"channels": 1})

    def apply(self, recording: SessionRecording, sampling: Sampling) -> "Grey":
        n = sampling.channels
        return Grey(recording, frame_bytes(sampling), LUMA.get(self.weights, (1 / n,) * n))


class Grey(ChangedRecording):
    """Every frame in one channel."""

    def __init__(self, before: SessionRecording, row_bytes: int, weights: tuple[float, ...]) -> None:
        super().__init__(before)
        self._row_bytes, self._weights = row_bytes, np.array(weights)

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal."""
        if signal != "video":
            return self.before.read(signal, start, stop)
        return in_pieces(start, stop, self._row_bytes, self._part)

    def _part(self, start: int, stop: int) -> Shaped[np.ndarray, "time one height width"]:
        frames = self.before.read("video", start, stop)
        return like(np.tensordot(frames, self._weights, axes=(1, 0))[:, None], frames.dtype)
