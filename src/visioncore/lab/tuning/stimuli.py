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
