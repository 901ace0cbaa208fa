"""The facts about data that a model is built from: what all sessions share, and what each session owns."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import (
    Field,
    JsonValue,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from visioncore.config import Config
from visioncore.errors import ConfigError

ResponseKind = Literal["counts", "trace"]
Columns = dict[str, tuple[JsonValue, ...]]
"""A table: the values of each column, one per row, by the column's name."""


def columns(table: Mapping[str, Sequence[Any]]) -> Columns:
    """A table as it is kept."""
    return {name: tuple(values) for name, values in table.items()}


class Sampling(Config):
    """What all sessions of a twin share: one clock and one frame size."""

    channels: PositiveInt
    height: PositiveInt
    width: PositiveInt
    rate_hz: PositiveFloat | None = None
    """Frames per second, which are response bins per second; None for static images, which have no time."""


class Geometry(Config):
    """How the pixels of a session's stimulus lie before the eye, where that is known.

    x grows to the right and y upwards; row 0 of a frame is at the top.
    """

    degrees_per_pixel: PositiveFloat | None = None
    """Of the visual field."""
    um_per_pixel: PositiveFloat | None = None
    """On the retina."""
    centre_deg: tuple[float, float] | None = None
    """Position of the middle of the field."""
    gamma: PositiveFloat | None = None
    """Light grows as the pixel value to this power."""
    luminance: tuple[NonNegativeFloat, ...] | None = None
    """Or a table: light at evenly spaced pixel values from the lowest to the highest, in cd/m²."""

    @model_validator(mode="after")
    def _light_is_told_once(self) -> Self:
        if self.gamma is not None and self.luminance is not None:
            raise ValueError("gives both gamma and luminance; the table says all")
        return self


class Normalisation(Config):
    """Constants fitted on the training split: (x - mean) / std, per video channel and per behavioural signal."""

    video_mean: tuple[float, ...]
    video_std: tuple[PositiveFloat, ...]
    behaviour_mean: tuple[float, ...] = ()
    behaviour_std: tuple[PositiveFloat, ...] = ()
    count_scale: tuple[PositiveFloat, ...] = ()
    """Per unit, the mean count per bin where it is more than one, else 1; empty where all are 1."""


class SessionSpec(Config):
    """What one recording session owns; units in the order of the response columns."""

    id: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    unit_ids: tuple[str, ...]
    """Empty for a recording of the stimulus alone."""
    units: Columns = Field(default_factory=dict)
    """What was measured of each unit (depth, area, cell type, quality …), one value per unit."""
    response_kind: ResponseKind = "counts"
    behaviour_names: tuple[str, ...] = ()
    geometry: Geometry = Geometry()
    constants: Normalisation | None = None
    """None before they are fitted."""

    @field_validator("unit_ids")
    @classmethod
    def _unit_ids_are_unique(cls, unit_ids: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(unit_ids)) != len(unit_ids):
            raise ValueError("a unit id appears twice")
        return unit_ids

    @model_validator(mode="after")
    def _columns_have_a_value_per_unit(self) -> Self:
        for name, column in self.units.items():
            if len(column) != len(self.unit_ids):
                raise ValueError(
                    f"session '{self.id}': {len(column)} values of '{name}' for {len(self.unit_ids)} units"
                )
        return self

    @property
    def normalisation(self) -> Normalisation:
        """The session's constants.

        Raises:
            ConfigError: none have been fitted.
        """
        if self.constants is None:
            raise ConfigError(f"session '{self.id}' has no constants yet: they are fitted by `prepare`")
        return self.constants

    def with_behaviour(self, names: Sequence[str]) -> Self:
        """The session with these of its signals alone, in this order.

        Raises:
            ConfigError: it has no such signal.
        """
        if lacking := [name for name in names if name not in self.behaviour_names]:
            raise ConfigError(
                f"session '{self.id}' has no behaviour {', '.join(lacking)}; it has "
                f"{', '.join(self.behaviour_names) or 'none'}"
            )
        constants, places = self.constants, [self.behaviour_names.index(name) for name in names]
        if constants is not None:
            constants = constants.model_copy(
                update={
                    key: tuple(getattr(constants, key)[place] for place in places)
                    for key in ("behaviour_mean", "behaviour_std")
                }
            )
        return self.model_copy(update={"behaviour_names": tuple(names), "constants": constants})

    def with_units(self, unit_ids: Sequence[str]) -> Self:
        """The session with these of its units alone, in this order.

        Raises:
            ConfigError: it has no such unit.
        """
        place = {unit: i for i, unit in enumerate(self.unit_ids)}
        if lacking := [unit for unit in unit_ids if unit not in place]:
            raise ConfigError(f"session '{self.id}' has no unit {', '.join(lacking[:8])}")
        places, constants = [place[unit] for unit in unit_ids], self.constants
        if constants is not None and constants.count_scale:
            scales = tuple(constants.count_scale[k] for k in places)
            # As it is fitted: nothing where all are 1.
            scales = scales if any(scale != 1 for scale in scales) else ()
            constants = constants.model_copy(update={"count_scale": scales})
        units = {name: tuple(values[k] for k in places) for name, values in self.units.items()}
        return self.model_copy(update={"unit_ids": tuple(unit_ids), "units": units, "constants": constants})


class DataSpec(Config):
    """Everything about the data that a model's shape depends on; frozen, and kept in every twin's file."""

    sampling: Sampling
    sessions: tuple[SessionSpec, ...]
    """None in a twin that is a trunk alone."""
    trunk_behaviour_names: tuple[str, ...] = ()
    """Signals that a trunk was built for, where its sessions have changed since."""

    @model_validator(mode="after")
    def _sessions_fit_together(self) -> Self:
        ids = [session.id for session in self.sessions]
        if len(set(ids)) != len(ids):
            raise ValueError("a session id appears twice")
        kinds = {session.response_kind: session.id for session in self.sessions}
        if len(kinds) > 1:
            found = " and ".join(f"'{id_}' has {kind}" for kind, id_ in sorted(kinds.items()))
            raise ValueError(f"session {found}: scores of the two do not add up; make a recording of each")
        return self

    @property
    def rate_hz(self) -> float:
        """Bins per second.

        Raises:
            ConfigError: these are static images.
        """
        if self.sampling.rate_hz is None:
            raise ConfigError("these are static images, which have no rate, where a video is needed")
        return self.sampling.rate_hz

    @property
    def bins_per_s(self) -> float:
        """What a length in seconds is multiplied by to be one in bins. Static images have no time: 1, so that what
        settings give in seconds is a number of images.
        """
        return self.sampling.rate_hz or 1.0

    @property
    def response_kind(self) -> ResponseKind:
        """Of all sessions.

        Raises:
            ConfigError: there are none.
        """
        if not self.sessions:
            raise ConfigError("this twin is a trunk alone, without sessions, so it predicts no responses")
        return self.sessions[0].response_kind

    @property
    def behaviour_names(self) -> tuple[str, ...]:
        """Every signal that some session has, in the order of their first appearance; what a session lacks stands at
        its mean.
        """
        names = (name for session in self.sessions for name in session.behaviour_names)
        return tuple(dict.fromkeys((*self.trunk_behaviour_names, *names)))

    def with_constants(self, constants: Normalisation) -> "DataSpec":
        """These data with the same constants for every session."""
        sessions = tuple(own.model_copy(update={"constants": constants}) for own in self.sessions)
        return self.model_copy(update={"sessions": sessions})

    def session(self, session_id: str) -> SessionSpec:
        """The spec of one session.

        Raises:
            KeyError: no such session.
        """
        for session in self.sessions:
            if session.id == session_id:
                return session
        raise KeyError(session_id)


def same_rate(one_hz: float, other_hz: float) -> bool:
    """Whether two sampling rates are one: measured rates, such as 60000/1001, are written with few digits."""
    return abs(one_hz - other_hz) <= 1e-4 * max(one_hz, other_hz)
