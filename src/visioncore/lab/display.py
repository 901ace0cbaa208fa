"""The display that a twin's units watch in the lab: the recording's frame, rate and light."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from jaxtyping import Float, Shaped

from visioncore.data.store import RecordingStore
from visioncore.errors import ConfigError, DataError
from visioncore.spec import DataSpec, Geometry

RANGE_FRAMES = 200
"""Training frames whose range says what black and white are, where pixels are no bytes."""


@dataclass(frozen=True)
class Display:
    """Frames of the recording's size at its rate, around its mean grey.

    Contrast is Michelson's, and of light: 0 is grey, -1 black, and c a light of (1 + c) times that of grey.
    """

    channels: int
    height: int
    width: int
    rate_hz: float
    black: tuple[float, ...]
    """Pixel value of no light, per channel."""
    grey: tuple[float, ...]
    """Mean pixel value of the recording, per channel."""
    white: tuple[float, ...]
    """Largest pixel value, per channel."""
    whole: bool
    """Whether pixels are bytes."""
    geometry: Geometry = field(default_factory=Geometry)

    @classmethod
    def of(cls, spec: DataSpec, store: RecordingStore | None = None) -> Self:
        """The display of a recording; without one, of what a twin's constants tell.

        Args:
            store: the recording; where there is none, pixels count as bytes if the constants look like it.

        Raises:
            ConfigError: these are static images, or sessions have pixels of different kinds.
            DataError: the constants are those of no bytes, and there is no recording to read black and white from.
        """
        rate_hz, frame = spec.rate_hz, spec.sampling
        grey = tuple(float(mean) for mean in _mean(spec))
        if store is None:
            if not all(2 < mean < 253 for mean in grey):
                raise DataError(
                    f"the twin's mean pixel is {grey[0]:.4g}, so its video is not in bytes, and what is black and "
                    "white is not known without the recording: name it with --data"
                )
            black, white, whole = (0.0,) * len(grey), (255.0,) * len(grey), True
        else:
            black, white, whole = _range(store)
        return cls(
            channels=frame.channels,
            height=frame.height,
            width=frame.width,
            rate_hz=rate_hz,
            black=black,
            grey=grey,
            white=white,
            whole=whole,
            geometry=_geometry(spec),
        )

    # --- Light ----------------------------------------------------------------------------------------------------

    @property
    def max_contrast(self) -> float:
        """The largest contrast that fits between black and white; 1 at most."""
        whitest = min(
            self._light(np.array(white), c) / self._light(np.array(grey), c) - 1
            for c, (white, grey) in enumerate(zip(self.white, self.grey, strict=True))
        )
        return float(min(whitest, 1.0))

    def pixels(
        self, contrast: Float[np.ndarray, "*batch time height width"]
    ) -> Shaped[np.ndarray, "*batch time channels height width"]:
        """Raw pixels, the same contrast in every channel; what lies beyond black or white saturates."""
        each = [self._pixels_of(contrast, channel) for channel in range(self.channels)]
        pixels = np.stack(each, axis=-3)
        return np.rint(pixels).astype(np.uint8) if self.whole else pixels.astype(np.float32)

    def _pixels_of(self, contrast: np.ndarray, channel: int) -> np.ndarray:
        black, grey, white = self.black[channel], self.grey[channel], self.white[channel]
        geometry = self.geometry
        if geometry.luminance is None:
            gamma = geometry.gamma or 1.0
            value = (grey - black) * np.maximum(1 + contrast, 0) ** (1 / gamma) + black
            return np.asarray(np.clip(value, black, white))
        values = np.linspace(black, white, len(geometry.luminance))
        wanted = self._light(np.array(grey), channel) * (1 + contrast)
        return np.interp(wanted, geometry.luminance, values)

    def _light(self, value: np.ndarray, channel: int) -> float:
        black, white = self.black[channel], self.white[channel]
        if self.geometry.luminance is not None:
            table = self.geometry.luminance
            return float(np.interp(value, np.linspace(black, white, len(table)), table))
        return float(((value - black) / (white - black)) ** (self.geometry.gamma or 1.0))

    # --- Space and time -------------------------------------------------------------------------------------------

    @property
    def in_degrees(self) -> bool:
        """Whether it is known how large pixels are for the eye; else `unit` is the pixel."""
        return self.geometry.degrees_per_pixel is not None

    @property
    def unit(self) -> str:
        """In which lengths are told."""
        return "deg" if self.in_degrees else "px"

    @property
    def unit_per_px(self) -> float:
        """Degrees per pixel; 1 where that is not known."""
        return self.geometry.degrees_per_pixel or 1.0

    def position(self, centre_px: Float[np.ndarray, "*some 2"]) -> Float[np.ndarray, "*some 2"]:
        """(row, column) in pixels as (x, y) in `unit`: to the right and up from the middle of the field of view where
        degrees are known, else from the frame's middle.
        """
        x0, y0 = self.geometry.centre_deg or (0.0, 0.0) if self.in_degrees else (0.0, 0.0)
        row, column = centre_px[..., 0], centre_px[..., 1]
        right, up = column - self.width / 2, self.height / 2 - row
        return np.stack([x0 + right * self.unit_per_px, y0 + up * self.unit_per_px], axis=-1)

    def frames(self, seconds: float) -> int:
        """So long a time in frames; one at least."""
        return max(round(seconds * self.rate_hz), 1)

    def to_json(self) -> dict[str, object]:
        """What results say of the display that they were found on."""
        return {
            "height_px": self.height,
            "width_px": self.width,
            "rate_hz": self.rate_hz,
            "length_unit": self.unit,
            "degrees_per_pixel": self.geometry.degrees_per_pixel,
            "black": list(self.black),
            "grey": list(self.grey),
            "white": list(self.white),
            "max_contrast": self.max_contrast,
        }


def _mean(spec: DataSpec) -> Sequence[float]:
    means = [session.normalisation.video_mean for session in spec.sessions]
    if not means:
        raise ConfigError("this twin is a trunk alone, without sessions: it has no units to look at")
    return np.mean(means, axis=0).tolist()


def _geometry(spec: DataSpec) -> Geometry:
    """Of the first session; degrees only where all agree."""
    first = spec.sessions[0].geometry
    same = all(session.geometry.degrees_per_pixel == first.degrees_per_pixel for session in spec.sessions)
    return first if same else first.model_copy(update={"degrees_per_pixel": None, "centre_deg": None})


def _range(store: RecordingStore) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    """Black and white per channel, and whether pixels are bytes."""
    lowest, highest, kinds = [], [], set()
    for session in store.sessions.values():
        blocks = session.blocks_in("train") or session.blocks
        every = max(sum(block.n_bins for block in blocks) // RANGE_FRAMES, 1)
        frames = np.concatenate(
            [session.video(t, t + 1) for block in blocks for t in range(block.start, block.stop, every)]
        )
        kinds.add(frames.dtype == np.uint8)
        lowest.append(np.nanmin(frames, axis=(0, 2, 3)))
        highest.append(np.nanmax(frames, axis=(0, 2, 3)))
    if len(kinds) > 1:
        raise ConfigError(f"{store.path}: some sessions have pixels in bytes and some have not")
    n = store.spec.sampling.channels
    if kinds == {True}:
        return (0.0,) * n, (255.0,) * n, True
    return (
        tuple(float(v) for v in np.min(lowest, axis=0)),
        tuple(float(v) for v in np.max(highest, axis=0)),
        False,
    )
