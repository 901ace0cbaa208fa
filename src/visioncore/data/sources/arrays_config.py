"""What the YAML says of one session of the `arrays` format."""

from typing import Any, Literal

from pydantic import Field, TypeAdapter, field_validator

from visioncore.config import Config
from visioncore.spec import Geometry

AXES = {
    "video": ("tyx", "tcyx"),
    "responses": ("tn",),
    "behaviour": ("tk",),
    "valid": ("tn",),
    "rates": ("tn",),
}
"""Axes of each signal in the order in which they are used."""
_ONE = TypeAdapter[str | None](str | None)
_SEVERAL = TypeAdapter[tuple[str, ...]](tuple[str, ...])


class ArraysSessionConfig(Config):
    """One session: its file, and the names of its arrays inside the file."""

    id: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    path: str = Field(min_length=1)
    video: str
    responses: str | None = None
    """None for a recording of the stimulus alone."""
    unit_ids: str | None = None
    behaviour: str | None = None
    behaviour_names: tuple[str, ...] | None = None
    valid: str | tuple[str, ...] | None = None
    """Of several masks, a bin counts where all of them are true."""
    trial_start: str | None = None
    trial: str | None = None
    split: str | None = None
    stimulus_id: str | None = None
    group: str | None = None
    """A label per trial: trials that share it, as those of one photograph, never straddle two splits."""
    rates: str | None = None
    units: dict[str, str] = Field(default_factory=dict)
    """What was measured of each unit: a column's name, and the array that holds it."""
    trial_columns: dict[str, str] = Field(default_factory=dict)
    """What is known of each trial (orientation, contrast, size …), likewise."""
    geometry: Geometry = Geometry()
    axes: dict[Literal["video", "responses", "behaviour", "valid", "rates"], str] = Field(
        default_factory=dict
    )
    """Order of an array's axes where it is another than time first, as letters: t time, c channels, y rows, x columns,
    n units, k signals (`video: yxt`, `responses: nt`)."""
    missing: tuple[float, ...] | None = None
    """Values that stand for missing samples, in every array of numbers but a uint8 video. Bins with a missing frame or
    behaviour are valid for no unit, those with a missing response not for that unit. `[]`: there are none, and NaN in
    the behaviour of a bin that counts is refused; else it is taken for a tracker that was lost."""

    @property
    def masks(self) -> tuple[str, ...]:
        """The arrays that say where responses count."""
        valid = self.valid
        return () if valid is None else (valid,) if isinstance(valid, str) else valid

    @field_validator("valid", mode="wrap")
    @classmethod
    def _one_mask_or_several(cls, valid: Any, _: Any) -> str | tuple[str, ...] | None:
        # By hand, so that an error is of the kind that was meant and not of both.
        if not isinstance(valid, tuple):
            return _ONE.validate_python(valid, strict=True)
        if not valid:
            raise ValueError("lists no mask; leave it out where every bin counts")
        return _SEVERAL.validate_python(valid, strict=True)

    @field_validator("axes")
    @classmethod
    def _known_axes(cls, axes: dict[str, str]) -> dict[str, str]:
        for signal, letters in axes.items():
            known = AXES[signal]
            if sorted(letters) not in [sorted(order) for order in known]:
                raise ValueError(
                    f"{signal} has axes '{letters}'; expected the letters of {' or '.join(known)}"
                )
        return axes
