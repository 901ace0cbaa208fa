"""What the battery shows, as small descriptions that draw themselves: equal ones are shown once.

Directions are in degrees, counter-clockwise from rightwards as seen on the screen: a grating of direction 0 has
vertical bars and drifts to the right. Places and lengths are in pixels here; results tell them in the display's unit.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32, Float64

from visioncore.lab.display import Display
from visioncore.stimuli import drifting_grating

PLAID_HALF_ANGLE_DEG = 60.0
"""Between a plaid's direction and that of either of its gratings, which are 120 degrees apart."""


class Stimulus(Protocol):
    """Draws itself for a display."""

    def frames(self, display: Display, n_frames: int) -> Float32[np.ndarray, "time height width"]:
        """Its first frames, in contrast."""


@dataclass(frozen=True)
class Aperture:
    """A disc through which a stimulus is seen, or a ring: what is outside is grey."""

    row_px: float
    column_px: float
    outer_px: float = float("inf")
    """Diameter."""
    inner_px: float = 0.0
    """Diameter of the hole."""
    edge_px: float = 1.5
    """How wide the edges are, over which contrast falls along half a cosine."""

    def mask(self, display: Display) -> Float64[np.ndarray, "height width"]:
        """1 inside, 0 outside."""
        down, right = _offsets(display, self.row_px, self.column_px)
        distance = np.hypot(down, right)
        inside = _edge((self.outer_px / 2 - distance) / self.edge_px)
        if not self.inner_px:
            return inside
        return inside * _edge((distance - self.inner_px / 2) / self.edge_px)


@dataclass(frozen=True)
class Grating:
    """A drifting sinusoidal grating; full field without an aperture."""

    direction_deg: float
    period_px: float
    temporal_frequency_hz: float
    contrast: float
    aperture: Aperture | None = None

    def frames(self, display: Display, n_frames: int) -> Float32[np.ndarray, "time height width"]:
        """Its first frames, in contrast."""
        # A quarter of a cycle apart; what drifts is their sum, in turn.
        pair = drifting_grating(
            np.zeros(2),
            np.zeros(2),
            display.height,
            display.width,
            orientation_deg=self.direction_deg,
            period_px=self.period_px,
            phase=np.array([0, np.pi / 2]),
            contrast=self.contrast,
        )
        if self.aperture is not None:
            pair = pair * self.aperture.mask(display).astype(np.float32)
        phase = 2 * np.pi * self.temporal_frequency_hz * np.arange(n_frames) / display.rate_hz
        turns = np.stack([np.cos(phase), np.sin(phase)], axis=1).astype(np.float32)
        return np.tensordot(turns, pair, 1)

    def within(self, aperture: Aperture) -> "Grating":
        """The same, through an aperture."""
        return replace(self, aperture=aperture)

    def at_contrast(self, contrast: float) -> "Grating":
        """The same, of another contrast."""
        return replace(self, contrast=contrast)


@dataclass(frozen=True)
class Plaid:
    """Two gratings, 60 degrees to either side of its direction, each with half its contrast."""

    direction_deg: float
    period_px: float
    """Of the gratings."""
    temporal_frequency_hz: float
    """Of the gratings."""
    contrast: float

    def frames(self, display: Display, n_frames: int) -> Float32[np.ndarray, "time height width"]:
        """Its first frames, in contrast."""
        one, other = (
            Grating(
                self.direction_deg + turn, self.period_px, self.temporal_frequency_hz, self.contrast / 2
            ).frames(display, n_frames)
            for turn in (-PLAID_HALF_ANGLE_DEG, PLAID_HALF_ANGLE_DEG)
        )
        return one + other


@dataclass(frozen=True)
class Bar:
    """A bar across the whole field that moves over it once, along its own short side."""

    direction_deg: float
    width_px: float
    speed_px_s: float
    contrast: float
    """Negative for a dark one."""

    def frames(self, display: Display, n_frames: int) -> Float32[np.ndarray, "time height width"]:
        """Its first frames, in contrast; in the first one the bar is about to enter."""
        angle = np.deg2rad(self.direction_deg)
        down, right = _offsets(display, display.height / 2, display.width / 2)
        along = right * np.cos(angle) - down * np.sin(angle)
        middle = self.speed_px_s * np.arange(n_frames) / display.rate_hz - self.reach_px(display)
        distance = np.abs(along - middle[:, None, None])
        # A pixel that is covered in part is as bright as its covered part.
        covered = np.clip(self.width_px / 2 + 0.5 - distance, 0, 1)
        return (self.contrast * covered).astype(np.float32)

    def reach_px(self, display: Display) -> float:
        """From the middle of the field to where the bar is out of sight."""
        return float(np.hypot(display.height, display.width) / 2 + self.width_px / 2)

    def n_frames(self, display: Display) -> int:
        """Until it has left."""
        return display.frames(2 * self.reach_px(display) / self.speed_px_s)


@dataclass(frozen=True)
class Flash:
    """A change of light for a while: of the whole field, or of a spot."""

    contrast: float
    """Negative for a dark one."""
    seconds: float
    spot: Aperture | None = None

    def frames(self, display: Display, n_frames: int) -> Float32[np.ndarray, "time height width"]:
        """Its first frames, in contrast; it begins with the first."""
        shape = np.ones((display.height, display.width)) if self.spot is None else self.spot.mask(display)
        on = np.arange(n_frames) < display.frames(self.seconds)
        return (self.contrast * on[:, None, None] * shape).astype(np.float32)


def _offsets(
    display: Display, row_px: float, column_px: float
) -> tuple[Float[np.ndarray, "height 1"], Float[np.ndarray, "1 width"]]:
    """How far down and to the right of a place the middle of each pixel is."""
    down = np.arange(display.height)[:, None] + 0.5 - row_px
    right = np.arange(display.width)[None, :] + 0.5 - column_px
    return down, right


def _edge(widths: Float64[np.ndarray, "height width"]) -> Float64[np.ndarray, "height width"]:
    """From 0 to 1 over one width of the edge, around its middle."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(widths + 0.5, 0, 1))
