"""What users hand to a twin, checked: video, behaviour, the unit of rates; and what only the whole video shows."""

import warnings

import numpy as np
from jaxtyping import Float64, Shaped

from visioncore.errors import DataError
from visioncore.shapes import DataSpec, Normalisation

FAINT, STRONG = 1 / 20, 8.0
"""Spread of a video, in spreads of the training data, below and above which it can hardly be on their scale."""
FAR, FARTHEST = 0.5, 5.0
"""Distance of its mean from theirs, in their spreads: of a faint video, and of any."""


def checked_video(video: object, spec: DataSpec) -> Shaped[np.ndarray, "time channels height width"]:
    """A view of the video with channels.

    Raises:
        DataError: it is no array of numbers, or its frames have another shape than the training data's.
    """
    if not isinstance(video, np.ndarray):
        raise DataError(f"video is {type(video).__name__}; expected a NumPy array (T, H, W) or (T, C, H, W)")
    frames = video[:, None] if video.ndim == 3 else video
    expected = (spec.channels, spec.height, spec.width)
    if frames.ndim != 4 or frames.shape[1:] != expected:
        raise DataError(
            f"video has shape {video.shape}; expected (T, {expected[1]}, {expected[2]}) or "
            f"(T, {expected[0]}, {expected[1]}, {expected[2]}), as in the training data"
        )
    if frames.dtype.kind not in "uif":
        raise DataError(
            f"video is {frames.dtype}; expected numbers, pixels on the scale of the training data"
        )
    return frames


def raw_pixels(
    frames: Shaped[np.ndarray, "time channels height width"], start: int
) -> Shaped[np.ndarray, "time channels height width"]:
    """A copy of a piece of video (the original may be read-only) as uint8 or float32.

    Raises:
        DataError: a frame is not finite.
    """
    if frames.dtype == np.uint8:
        return frames.copy()
    pixels = frames.astype(np.float32)
    broken = ~np.isfinite(pixels).all(axis=(1, 2, 3))
    if broken.any():
        raise DataError(
            f"frame {start + int(broken.argmax())} of the video holds values that are not finite; fill them, with the "
            "frame before or with mean grey"
        )
    return pixels


def checked_behaviour(
    behaviour: object, n_bins: int, spec: DataSpec, normalisation: Normalisation
) -> Shaped[np.ndarray, "time behaviours"]:
    """Behaviour of every bin; "mean" stands for the training data's mean.

    Raises:
        DataError: it is missing, of another shape, no numbers, or not finite.
    """
    n_signals = len(spec.behaviour_names)
    if behaviour is None:
        raise DataError(
            f"this twin was built with behaviour ({n_signals} signals) and does not predict without it; "
            "give behaviour=... or say behaviour='mean'"
        )
    if isinstance(behaviour, str):
        if behaviour != "mean":
            raise DataError(f"behaviour is {behaviour!r}; expected an array (T, {n_signals}) or 'mean'")
        return np.broadcast_to(np.asarray(normalisation.behaviour_mean), (n_bins, n_signals))
    if not isinstance(behaviour, np.ndarray) or behaviour.dtype.kind not in "buif":
        found = behaviour.dtype if isinstance(behaviour, np.ndarray) else type(behaviour).__name__
        raise DataError(f"behaviour is {found}; expected a NumPy array of numbers (T, {n_signals}) or 'mean'")
    if behaviour.shape != (n_bins, n_signals):
        raise DataError(f"behaviour has shape {behaviour.shape}, expected {(n_bins, n_signals)}")
    broken = ~np.isfinite(behaviour.astype(np.float32))
    if broken.any():
        at, signal = (int(axis[0]) for axis in np.nonzero(broken))
        raise DataError(
            f"behaviour '{spec.behaviour_names[signal]}' is {behaviour[at, signal]} at bin {at}, one of "
            f"{int(broken.sum())} samples that are not finite: every later rate would be NaN; fill them, with the "
            "sample before or with the mean"
        )
    return behaviour


class PixelScale:
    """Mean and spread of a video as it passes by, to say when it cannot be on the scale of the training data."""

    def __init__(self, normalisation: Normalisation) -> None:
        self._mean = np.array(normalisation.video_mean)
        self._std = np.array(normalisation.video_std)
        self._n = 0
        self._sum: Float64[np.ndarray, " channels"] = np.zeros(len(self._mean))
        self._squares: Float64[np.ndarray, " channels"] = np.zeros(len(self._mean))

    def add(self, frames: Shaped[np.ndarray, "time channels height width"]) -> None:
        """Take in the next frames."""
        # In spreads of the training data, so that the squares keep their digits.
        shape = (1, -1, 1, 1)
        z = (frames - self._mean.astype(np.float32).reshape(shape)) / self._std.astype(np.float32).reshape(
            shape
        )
        self._n += z.size // len(self._mean)
        self._sum += z.sum(axis=(0, 2, 3), dtype=np.float64)
        self._squares += np.square(z, dtype=np.float64).sum(axis=(0, 2, 3))

    def warn(self) -> None:
        """A warning where mean and spread are far from those of the training data."""
        if not self._n:
            return
        z = self._sum / self._n
        spread = np.sqrt(np.maximum(self._squares / self._n - np.square(z), 0.0))
        # A screen of one grey, however dark, has no scale to be wrong.
        faint = (spread < FAINT) & (np.abs(z) > FAR) & (spread > 1e-6)
        odd = np.flatnonzero(faint | (spread > STRONG) | ((np.abs(z) > FARTHEST) & (spread > 1e-6)))
        if len(odd):
            c = int(odd[0])
            warnings.warn(
                f"the video has a mean of {z[c] * self._std[c] + self._mean[c]:.4g} and a spread of "
                f"{spread[c] * self._std[c]:.4g}, the training data {self._mean[c]:.4g} and {self._std[c]:.4g}: give "
                "raw pixels on the scale of the training data",
                UserWarning,
                stacklevel=4,  # of whoever called `predict`, past its decorator
            )


def bins_per_rate(rate: object, spec: DataSpec) -> float:
    """What expected counts per bin are multiplied by, for `count` or `hz`.

    Raises:
        DataError: neither of them, or `hz` of a twin that predicts traces.
    """
    if rate not in ("count", "hz"):
        raise DataError(f"unit is {rate!r}; expected 'count' or 'hz'")
    if rate == "hz" and spec.response_kind != "counts":
        raise DataError("unit='hz' is for spike counts; this twin predicts traces (use unit='count')")
    return spec.sampling_rate_hz if rate == "hz" else 1.0
