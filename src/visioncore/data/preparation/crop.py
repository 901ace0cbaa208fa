"""A part of the frame, in whole pixels."""

from typing import Annotated, Literal, Self

import numpy as np
from jaxtyping import Shaped
from pydantic import Field, NonNegativeInt, model_validator

from visioncore.data.preparation.base import (
    BaseStepConfig,
    ChangedRecording,
    frame_bytes,
    in_pieces,
    moved_geometry,
    moved_truth,
    with_spec,
)
from visioncore.errors import DataError
from visioncore.recording import SessionRecording, Signal
from visioncore.spec import Sampling

Span = Annotated[tuple[NonNegativeInt, NonNegativeInt], Field()]
"""First, and the first that is left out."""


class CropConfig(BaseStepConfig):
    """`type: crop`: rows and columns [first, stop) of every frame, counted from the upper left corner."""

    type: Literal["crop"] = "crop"
    rows: Span | None = None
    """None: all."""
    columns: Span | None = None

    @model_validator(mode="after")
    def _cuts_something(self) -> Self:
        if self.rows is None and self.columns is None:
            raise ValueError("crops neither rows nor columns; give one of them, as [first, stop]")
        for name, span in (("rows", self.rows), ("columns", self.columns)):
            if span is not None and span[0] >= span[1]:
                raise ValueError(
                    f"{name} run from {span[0]} to {span[1]}; expected [first, stop], first < stop"
                )
        return self

    @classmethod
    def tiny(cls) -> "CropConfig":
        return cls(rows=(1, 4), columns=(2, 7))

    def sampling(self, before: Sampling) -> Sampling:
        rows, columns = self._spans(before)
        return before.model_copy(update={"height": rows[1] - rows[0], "width": columns[1] - columns[0]})

    def apply(self, recording: SessionRecording, sampling: Sampling) -> "Cropped":
        return Cropped(recording, sampling, *self._spans(sampling))

    def _spans(self, sampling: Sampling) -> tuple[tuple[int, int], tuple[int, int]]:
        spans = self.rows or (0, sampling.height), self.columns or (0, sampling.width)
        for what, (first, stop), size in zip(
            ("rows", "columns"), spans, (sampling.height, sampling.width), strict=True
        ):
            if stop > size:
                raise DataError(
                    f"step crop: {what} {first} to {stop} of frames with {size} {what}; stop at {size}"
                )
        return spans


class Cropped(ChangedRecording):
    """A part of every frame."""

    def __init__(
        self, before: SessionRecording, sampling: Sampling, rows: tuple[int, int], columns: tuple[int, int]
    ) -> None:
        super().__init__(before)
        self._row_bytes = frame_bytes(sampling)
        self._rows, self._columns = slice(*rows), slice(*columns)
        middle = sum(rows) / 2, sum(columns) / 2
        self.spec = with_spec(before.spec, geometry=moved_geometry(before.spec.geometry, sampling, *middle))
        self.unit_truth = moved_truth(before.unit_truth, rows[0], columns[0])

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal."""
        if signal != "video":
            return self.before.read(signal, start, stop)
        return in_pieces(start, stop, self._row_bytes, self._part)

    def _part(self, start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        frames = self.before.read("video", start, stop)
        return frames[:, :, self._rows, self._columns].copy()
