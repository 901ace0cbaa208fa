"""The vocabulary of shapes, and the facts about the data that a model is built from.

Axis names used in jaxtyping signatures throughout the package:

    batch      clips that are processed together
    channels   channels of the video or of a feature map
    time       video frames = response bins = behaviour samples, oldest first
    height, width      pixels of the stimulus, row 0 at the top
    tokens     time tokens, one per tubelet
    rows, columns      the spatial grid of tokens or features
    places     rows * columns (plus register tokens inside the spatial stage)
    dim        width of a token
    heads, head_dim    attention heads and their width
    units      neurons of one session
    behaviours behavioural signals
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from visioncore.config import Config


class SessionSpec(Config):
    """One recording session: who was recorded, and which units, in the order of the response columns."""

    id: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    unit_ids: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unit_ids_are_unique(self) -> Self:
        if len(set(self.unit_ids)) != len(self.unit_ids):
            raise ValueError(f"session '{self.id}' names a unit id twice")
        return self


class DataSpec(Config):
    """Everything about the data that a model's shape depends on; frozen, and kept in every checkpoint.

    The stimulus field is described in pixels, and in degrees where `degrees_per_pixel` is known: x grows to the
    right, y grows upwards, and `centre_deg` is the position of the middle of the field.
    """

    channels: PositiveInt
    height: PositiveInt
    width: PositiveInt
    sampling_rate_hz: PositiveFloat
    response_kind: Literal["counts", "trace"]
    behaviour_names: tuple[str, ...] = ()
    degrees_per_pixel: PositiveFloat | None = None
    centre_deg: tuple[float, float] | None = None
    sessions: tuple[SessionSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _session_ids_are_unique(self) -> Self:
        ids = [session.id for session in self.sessions]
        if len(set(ids)) != len(ids):
            raise ValueError("a session id appears twice")
        return self

    def session(self, session_id: str) -> SessionSpec:
        """The spec of one session.

        Raises:
            KeyError: no such session.
        """
        for session in self.sessions:
            if session.id == session_id:
                return session
        raise KeyError(session_id)


class Normalisation(Config):
    """Constants fitted on the training split: (x - mean) / std, per video channel and per behavioural signal."""

    video_mean: tuple[float, ...]
    video_std: tuple[PositiveFloat, ...]
    behaviour_mean: tuple[float, ...] = ()
    behaviour_std: tuple[PositiveFloat, ...] = ()
    count_scale: tuple[tuple[PositiveFloat, ...], ...] = ()
    """Per session and unit, the mean count per bin where it is more than one, else 1; empty where all are 1."""

    @model_serializer(mode="wrap")
    def _without_scales_of_one(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Files and digests of recordings with small counts are what they were before there were scales."""
        dumped: dict[str, Any] = dump(self)
        if not self.count_scale:
            del dumped["count_scale"]
        return dumped

    def count_scale_of(self, session: int) -> tuple[float, ...]:
        """The count scales of the units of the session with this place in the spec; empty where all are 1."""
        return self.count_scale[session] if self.count_scale else ()


def same_rate(one_hz: float, other_hz: float) -> bool:
    """Whether two sampling rates are one: measured rates, such as 60000/1001, are written with few digits."""
    return abs(one_hz - other_hz) <= 1e-4 * max(one_hz, other_hz)


@dataclass(frozen=True)
class VideoShape:
    """One frame of the video."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class FeatureShape:
    """What a core returns: (batch, channels, tokens, rows, columns), one token per `stride` frames.

    `row_edges_px` and `column_edges_px` are the stimulus coordinates, in pixels of the unpadded stimulus, of the
    outer edges of the feature grid (start, stop): a readout uses them to keep its positions in stimulus coordinates.
    """

    channels: int
    rows: int
    columns: int
    stride: int
    row_edges_px: tuple[float, float]
    column_edges_px: tuple[float, float]
