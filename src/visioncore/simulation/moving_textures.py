"""Synthetic scenes in motion: drifting clouds, dead leaves that zoom and turn, plaids, moving bars and dots.

Scenes lie still in the world or move in it; the eye moves over them. Positions are in pixels (down, right) from where
the world's origin projects, angles and contrasts as in `visioncore.stimuli`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64

from visioncore.recording import Split
from visioncore.simulation.images import Picture, standardised
from visioncore.simulation.randomness import stream
from visioncore.stimuli import dead_leaves, drifting_grating

KINDS = (
    *("motion_cloud", "zooming_leaves", "sparse_motion", "zooming_leaves", "motion_cloud"),
    *("plaid", "zooming_leaves", "sparse_motion", "motion_cloud", "zooming_leaves"),
)
"""Dealt out in turn within each split."""

LEAVES: dict[Split, int] = {"train": 40, "validation": 5, "test": 15}
"""How many dead-leaves pictures each split draws from."""

_PICTURE_PX = 220
_STRETCH_S = 0.5
"""Bars and dots live this long."""


class LeavesLibrary:
    """The dead-leaves pictures of one seed, made on first use and kept; each belongs to one split for good."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._cache: dict[tuple[Split, int], Picture] = {}

    def draw(self, split: Split, generator: np.random.Generator) -> Picture:
        """A random picture of the split."""
        key = (split, int(generator.integers(LEAVES[split])))
        if key not in self._cache:
            own = stream(self._seed, f"large leaves {split}", key[1])
            pixels = dead_leaves(_PICTURE_PX, _PICTURE_PX, radius_px=(4.0, 35.0), generator=own)
            self._cache[key] = Picture(f"zooming_leaves/{split}-{key[1]:02d}", standardised(pixels))
        return self._cache[key]


@dataclass(frozen=True)
class MovingScreen:
    """The field that is shown, and how fast its frames come."""

    height: int
    width: int
    sampling_rate_hz: float

    def show(
        self,
        kind: str,
        split: Split,
        gaze_px: Float64[np.ndarray, "time 2"],
        library: LeavesLibrary,
        generator: np.random.Generator,
    ) -> tuple[Float32[np.ndarray, "time height width"], str | None]:
        """A trial's frames under a moving gaze (down, right), and the name of the picture that they show."""
        if kind == "zooming_leaves":
            picture = library.draw(split, generator)
            return self._zooming(picture.contrast, gaze_px, generator), picture.name
        show = {"motion_cloud": self._clouds, "plaid": self._plaid, "sparse_motion": self._sparse}[kind]
        return show(gaze_px, generator), None

    def _zooming(
        self,
        picture: Float32[np.ndarray, "picture_height picture_width"],
        gaze_px: Float64[np.ndarray, "time 2"],
        generator: np.random.Generator,
    ) -> Float32[np.ndarray, "time height width"]:
        """The picture drifts while it turns and its size swings between some 0.7 and 1.4."""
        time_s = np.arange(len(gaze_px)) / self.sampling_rate_hz
        size = np.exp(
            generator.uniform(0.1, 0.35)
            * np.sin(2 * np.pi * (generator.uniform(0.2, 0.7) * time_s + generator.random()))
        )
        turn = generator.uniform(0, 2 * np.pi) + np.deg2rad(generator.uniform(-60, 60)) * time_s
        drift_px = generator.normal(0, 12, 2) * time_s[:, None]
        frames = self._sampled(picture, gaze_px - drift_px, size, turn)
        return np.asarray(frames * generator.uniform(0.6, 1.0), np.float32)

    def _clouds(
        self, gaze_px: Float64[np.ndarray, "time 2"], generator: np.random.Generator
    ) -> Float32[np.ndarray, "time height width"]:
        """Two transparent layers of 1/f noise that drift apart."""
        time_s = np.arange(len(gaze_px)) / self.sampling_rate_hz
        still, upright = np.ones(len(time_s)), np.zeros(len(time_s))
        layers = []
        for _ in range(2):
            cloud = standardised(_one_over_f(_PICTURE_PX, generator.uniform(0.8, 1.3), generator))
            angle, speed_px_s = generator.uniform(0, 2 * np.pi), generator.uniform(10, 60)
            drift_px = speed_px_s * np.array([np.sin(angle), np.cos(angle)]) * time_s[:, None]
            layers.append(self._sampled(cloud, gaze_px - drift_px, still, upright))
        share = generator.uniform(0.5, 1.0)
        total = (layers[0] + share * layers[1]) / np.hypot(1, share)
        return np.asarray(total * generator.uniform(0.7, 1.0), np.float32)

    def _plaid(
        self, gaze_px: Float64[np.ndarray, "time 2"], generator: np.random.Generator
    ) -> Float32[np.ndarray, "time height width"]:
        """Two gratings that drift across each other."""
        time_s = np.arange(len(gaze_px)) / self.sampling_rate_hz
        first = generator.uniform(0, 360)
        gratings = [
            drifting_grating(
                -gaze_px[:, 0],
                -gaze_px[:, 1],
                self.height,
                self.width,
                orientation_deg=orientation,
                period_px=generator.uniform(6, 16),
                phase=2 * np.pi * generator.uniform(1, 6) * time_s,
                contrast=generator.uniform(0.15, 0.4),
            )
            for orientation in (first, first + generator.uniform(40, 140))
        ]
        return gratings[0] + gratings[1]

    def _sparse(
        self, gaze_px: Float64[np.ndarray, "time 2"], generator: np.random.Generator
    ) -> Float32[np.ndarray, "time height width"]:
        """Light and dark bars and dots, each on a straight way of its own, all redrawn every half second."""
        stretch_bins = max(1, round(_STRETCH_S * self.sampling_rate_hz))
        frames = np.zeros((len(gaze_px), self.height, self.width), np.float32)
        n_elements = int(generator.integers(8, 18))
        down, right = self._pixels()
        for start in range(0, len(gaze_px), stretch_bins):
            gaze = gaze_px[start : start + stretch_bins]
            time_s = (np.arange(len(gaze)) - len(gaze) / 2) / self.sampling_rate_hz
            for _ in range(n_elements):
                centre = generator.uniform(-0.6, 0.6, 2) * (self.height, self.width) + gaze.mean(0)
                angle, length_px = generator.uniform(0, 2 * np.pi), generator.choice([1.3, 4.5])
                velocity = generator.uniform(10, 80) * np.array([-np.sin(angle), np.cos(angle)])
                at = centre + velocity * time_s[:, None] - gaze
                y, x = down - at[:, 0, None, None], right - at[:, 1, None, None]
                across, along = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
                shape = np.exp(-(across**2) / (2 * 1.1**2) - along**2 / (2 * length_px**2))
                frames[start : start + stretch_bins] += generator.choice([-0.9, 0.9]) * shape
        return frames

    def _pixels(self) -> tuple[Float64[np.ndarray, "1 height 1"], Float64[np.ndarray, "1 1 width"]]:
        """Where the pixels' centres are from the middle of the field."""
        rows = np.arange(self.height) + 0.5 - self.height / 2
        columns = np.arange(self.width) + 0.5 - self.width / 2
        return rows[None, :, None], columns[None, None, :]

    def _sampled(
        self,
        picture: Float32[np.ndarray, "picture_height picture_width"],
        gaze_px: Float64[np.ndarray, "time 2"],
        size: Float64[np.ndarray, " time"],
        turn_rad: Float64[np.ndarray, " time"],
    ) -> Float32[np.ndarray, "time height width"]:
        """What the field shows of a picture that is enlarged and turned about the world's origin; mirrored at edges."""
        down, right = self._pixels()
        y = (down + gaze_px[:, 0, None, None]) / size[:, None, None]
        x = (right + gaze_px[:, 1, None, None]) / size[:, None, None]
        cosine, sine = np.cos(turn_rad)[:, None, None], np.sin(turn_rad)[:, None, None]
        height, width = picture.shape
        grid = np.stack([(cosine * x + sine * y) * 2 / width, (cosine * y - sine * x) * 2 / height], -1)
        sampled = torch.nn.functional.grid_sample(
            torch.from_numpy(picture)[None, None],
            torch.from_numpy(grid.reshape(1, -1, self.width, 2).astype(np.float32)),
            mode="bilinear",
            padding_mode="reflection",
            align_corners=False,
        )
        return sampled.numpy().reshape(len(gaze_px), self.height, self.width)


def _one_over_f(
    side_px: int, exponent: float, generator: np.random.Generator
) -> Float32[np.ndarray, "side side"]:
    """Gaussian noise whose amplitude falls as frequency to the minus `exponent`."""
    frequency = np.hypot(np.fft.fftfreq(side_px)[:, None], np.fft.rfftfreq(side_px)[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(generator.normal(0, 1, (side_px, side_px))) * frequency**-exponent
    return np.fft.irfft2(spectrum, s=(side_px, side_px)).astype(np.float32)
