"""What is on the screen during a trial: photographs, dead leaves, Gabor noise and gratings, in contrast units."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64

from visioncore.recording import Split
from visioncore.simulation.images import PictureLibrary
from visioncore.stimuli import drifting_grating, gabor_texture

KINDS = (
    *("photograph", "dead_leaves", "gabor_noise", "dead_leaves", "photograph", "grating", "dead_leaves"),
    *("photograph", "gabor_noise", "dead_leaves"),
)
"""Dealt out in turn within each split, so that any number of trials is at least half natural images."""


class ShownTrial(NamedTuple):
    """A trial's frames, the name of the picture in them, and what is known of a grating."""

    frames: Float32[np.ndarray, "time height width"]
    picture: str | None = None
    facts: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Screen:
    """The field that is shown, and how fast its frames come and its noise is redrawn."""

    height: int
    width: int
    sampling_rate_hz: float
    noise_refresh_s: float

    def show(
        self,
        kind: str,
        split: Split,
        down_px: Float64[np.ndarray, " time"],
        right_px: Float64[np.ndarray, " time"],
        library: PictureLibrary,
        generator: np.random.Generator,
    ) -> ShownTrial:
        """A trial's frames, shifted by so many pixels (down, right)."""
        size = (self.height, self.width)
        if kind in ("photograph", "dead_leaves"):
            picture = library.draw(kind, split, generator)
            frames = window(picture.contrast, down_px, right_px, *size) * generator.uniform(0.6, 1.0)
            return ShownTrial(frames, picture.name)
        if kind == "gabor_noise":
            return ShownTrial(_gabor_noise(self, down_px, right_px, generator))
        facts = {
            name: generator.uniform(*between)
            for name, between in (
                ("temporal_frequency_hz", (2.0, 8.0)),
                ("orientation_deg", (0, 360)),
                ("period_px", (5, 12)),
                ("contrast", (0.2, 0.6)),
            )
        }
        cycles = facts["temporal_frequency_hz"] * np.arange(len(down_px)) / self.sampling_rate_hz
        grating = drifting_grating(
            down_px,
            right_px,
            *size,
            orientation_deg=facts["orientation_deg"],
            period_px=facts["period_px"],
            phase=2 * np.pi * cycles,
            contrast=facts["contrast"],
        )
        return ShownTrial(grating, facts=facts)


def window(
    picture: Float32[np.ndarray, "picture_height picture_width"],
    down_px: Float64[np.ndarray, " time"],
    right_px: Float64[np.ndarray, " time"],
    height: int,
    width: int,
) -> Float32[np.ndarray, "time height width"]:
    """The part of the picture under the field in each frame, bilinear, mirrored beyond its edges."""
    rows_in, columns_in = picture.shape
    rows = np.arange(height)[None, :] + (0.5 - height / 2) - down_px[:, None]
    columns = np.arange(width)[None, :] + (0.5 - width / 2) - right_px[:, None]
    shape = (len(down_px), height, width)
    grid = np.stack(
        [
            np.broadcast_to((columns * 2 / columns_in)[:, None, :], shape),
            np.broadcast_to((rows * 2 / rows_in)[:, :, None], shape),
        ],
        -1,
    ).reshape(1, len(down_px) * height, width, 2)
    sampled = torch.nn.functional.grid_sample(
        torch.from_numpy(picture)[None, None],
        torch.from_numpy(grid.astype(np.float32)),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )
    return sampled.numpy().reshape(shape)


def _gabor_noise(
    screen: Screen,
    down_px: Float64[np.ndarray, " time"],
    right_px: Float64[np.ndarray, " time"],
    generator: np.random.Generator,
) -> Float32[np.ndarray, "time height width"]:
    """A texture of Gabors on the screen, another one every `noise_refresh_s`."""
    gabors_per_px = generator.uniform(0.008, 0.018)
    contrast = generator.uniform(0.25, 0.5)
    refresh = max(1, round(screen.noise_refresh_s * screen.sampling_rate_hz))
    frames = []
    for start in range(0, len(down_px), refresh):
        down, right = down_px[start : start + refresh], right_px[start : start + refresh]
        texture = gabor_texture(
            screen.height + int(np.ceil(np.ptp(down))) + 2,
            screen.width + int(np.ceil(np.ptp(right))) + 2,
            gabors_per_px=gabors_per_px,
            contrast=contrast,
            generator=generator,
        )
        # Only what the gaze crosses before the next redraw is drawn, centred on the middle of that range.
        down = down - (down.max() + down.min()) / 2
        right = right - (right.max() + right.min()) / 2
        frames.append(window(texture, down, right, screen.height, screen.width))
    return np.concatenate(frames)
