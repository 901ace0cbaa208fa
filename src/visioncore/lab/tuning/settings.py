"""What the battery shows, and for how long."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from visioncore.config import Config


class Battery(Config):
    """Settings of `tune`. Sizes and frequencies follow from the display: whatever its frames and its rate can show."""

    contrast: PositiveFloat = Field(default=0.5, le=1)
    """Of gratings, plaids and Gabors; less where the display has less between grey and white."""
    directions: PositiveInt = Field(default=16, multiple_of=4)
    """Of gratings and bars, evenly around the circle: so that each has its opposite and its orthogonals."""
    onset_s: NonNegativeFloat = 0.25
    """Before a grating is measured."""
    seconds: PositiveFloat = 0.5
    """A grating is measured over whole cycles that last so long at least."""
    seconds_for_one: PositiveFloat = 0.25
    """The same for gratings that are shown for some units alone: in discs and rings, of other contrasts, and plaids."""
    diameters: PositiveInt = Field(default=8, ge=6)
    """Of discs, in equal ratios up to the whole field."""
    holes: PositiveInt = 4
    """Diameters of rings' holes, in equal ratios."""
    contrasts: PositiveInt = Field(default=7, ge=6)
    """From the largest down, in octaves and half octaves."""
    gabor_flashes: PositiveInt = 1000
    seed: NonNegativeInt = 0
    """Of the Gabor noise."""
