"""What users hand to a twin, checked: video, behaviour, the kind of rate; and what only the whole video shows."""

import warnings
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from visioncore.errors import ConfigError, DataError
from visioncore.spec import DataSpec, Normalisation, SessionSpec, same_rate

FRAMES_AT_ONCE = 480
"""Length of the chunks in which `predict` walks through a video."""
NO_CONTRAST = 1e-6
"""Spread of a video, in spreads of the training data, below which it is one value all over: black, white or grey."""
FAINT, OFF = 1 / 8, 1 / 4
"""All pixels of a video of a smaller scale are this close to zero, and its mean is this far from theirs, in spreads."""
LARGER, FAR, FARTHEST = 5.0, 8.0, 64.0
"""Size of the pixels of a video of a larger scale, in theirs; its spread or the distance of its mean, in their spreads;
the distance where it is one value all over, as a white screen is for a twin of dark scenes."""


def checked_video(video: object, spec: DataSpec) -> Shaped[np.ndarray, "time channels height width"]:
    """A view of the video with channels.

    Raises:
        DataError: it is no array of numbers, or its frames have another shape than the training data's.
    """
    if not isinstance(video, np.ndarray):
        raise DataError(f"video is {type(video).__name__}; expected a NumPy array (T, H, W) or (T, C, H, W)")
    frames = video[:, None] if video.ndim == 3 else video
    expected = (spec.sampling.channels, spec.sampling.height, spec.sampling.width)
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
    """A copy of frames of a video (the original may be read-only) as uint8 or float32.

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
    behaviour: object, n_bins: int, session: SessionSpec
) -> Shaped[np.ndarray, "time behaviours"] | None:
    """Behaviour of every bin; "mean" stands for the training data's mean. None of a session without any.

    Raises:
        DataError: it is missing, of another shape, no numbers, or not finite.
    """
    n_signals = len(session.behaviour_names)
    if behaviour is None:
        if not n_signals:
            return None
        raise DataError(
            f"this twin was built with behaviour ({n_signals} signals) and does not predict without it; "
            "give behaviour=... or say behaviour='mean'"
        )
    if isinstance(behaviour, str):
        if behaviour != "mean":
            raise DataError(f"behaviour is {behaviour!r}; expected an array (T, {n_signals}) or 'mean'")
        return np.broadcast_to(np.asarray(session.normalisation.behaviour_mean), (n_bins, n_signals))
    if not isinstance(behaviour, np.ndarray) or behaviour.dtype.kind not in "buif":
        found = behaviour.dtype if isinstance(behaviour, np.ndarray) else type(behaviour).__name__
        raise DataError(f"behaviour is {found}; expected a NumPy array of numbers (T, {n_signals}) or 'mean'")
    if behaviour.shape != (n_bins, n_signals):
        raise DataError(f"behaviour has shape {behaviour.shape}, expected {(n_bins, n_signals)}")
    with np.errstate(over="ignore"):
        # Too large for the model's float32 is as bad as infinite.
        broken = ~np.isfinite(behaviour.astype(np.float32))
    if broken.any():
        at, signal = (int(axis[0]) for axis in np.nonzero(broken))
        raise DataError(
            f"behaviour '{session.behaviour_names[signal]}' is {behaviour[at, signal]} at bin {at}, one of "
            f"{int(broken.sum())} samples that are not finite: every later rate would be NaN; fill them, with the "
            "sample before or with the mean"
        )
    return behaviour


class PixelScale:
    """Mean, spread and size of a video as it passes by, to say when it cannot be on the scale of the training data.

    A screen of one value, low contrast at any luminance, and few bright spots on black are on it; so is a movie for a
    twin of sparse noise, whose spread is small.
    """

    def __init__(self, normalisation: Normalisation) -> None:
        self._mean = np.array(normalisation.video_mean)
        self._std = np.array(normalisation.video_std)
        self._n = 0
        self._sum: Float64[np.ndarray, " channels"] = np.zeros(len(self._mean))
        self._squares: Float64[np.ndarray, " channels"] = np.zeros(len(self._mean))
        self._peak: Float64[np.ndarray, " channels"] = np.zeros(len(self._mean))

    def add(self, frames: Shaped[np.ndarray, "time channels height width"]) -> None:
        """Take in the next frames, uint8 or float."""
        if not frames.size:
            return
        # In spreads of the training data, so that the squares keep their digits.
        mean, std = (values.astype(np.float32).reshape(1, -1, 1, 1) for values in (self._mean, self._std))
        z = (frames - mean) / std
        self._n += z.size // len(self._mean)
        self._sum += z.sum(axis=(0, 2, 3), dtype=np.float64)
        self._squares += np.square(z, dtype=np.float64).sum(axis=(0, 2, 3))
        extremes = (frames.max(axis=(0, 2, 3)), -frames.min(axis=(0, 2, 3)).astype(np.float64))
        self._peak = np.maximum.reduce([self._peak, *extremes])

    def warn(self, stacklevel: int) -> None:
        """A warning where mean and spread are far from those of the training data; `stacklevel` as for `warnings`."""
        if not self._n:
            return
        z = self._sum / self._n
        spread = np.sqrt(np.maximum(self._squares / self._n - np.square(z), 0.0))
        mean, std = z * self._std + self._mean, spread * self._std
        varies = spread > NO_CONTRAST
        smaller = varies & (self._peak < FAINT * self._std) & (np.abs(z) > OFF)
        away = np.maximum(spread, np.abs(z))
        larger = np.hypot(mean, std) > LARGER * np.hypot(self._mean, self._std)
        larger &= away > np.where(varies, FAR, FARTHEST)
        if (odd := np.flatnonzero(smaller | larger)).size:
            c = int(odd[0])
            channel = f" (channel {c})" if len(mean) > 1 else ""
            warnings.warn(
                f"the video{channel} has a mean of {mean[c]:.4g} and a spread of {std[c]:.4g}, the training data "
                f"{self._mean[c]:.4g} and {self._std[c]:.4g}: give raw pixels on the scale of the training data",
                UserWarning,
                stacklevel=stacklevel + 1,
            )


Rate = Literal["per_bin", "hz"]
"""Expected counts per bin (or a trace in its own units), or spikes per second."""


def bins_per_rate(rate: object, spec: DataSpec) -> float:
    """What expected counts per bin are multiplied by, for `per_bin` or `hz`.

    Raises:
        DataError: neither of them, or `hz` of a twin that predicts traces.
    """
    if rate not in ("per_bin", "hz"):
        raise DataError(f"rate is {rate!r}; expected 'per_bin' or 'hz'")
    if rate == "hz" and spec.response_kind != "counts":
        raise DataError("rate='hz' is for spike counts; this twin predicts traces (use rate='per_bin')")
    return spec.rate_hz if rate == "hz" else 1.0


def require_rate(sampling_rate: float | None, spec: DataSpec) -> None:
    """Whether data come at the rate that a model is made for; None: images, which have none.

    Raises:
        ConfigError: they do not.
    """
    if sampling_rate is None and spec.sampling.rate_hz is None:
        return
    if spec.sampling.rate_hz is None:
        raise ConfigError(
            f"the model is made for sampling_rate {sampling_rate:.10g}, and the data are static images, which have no "
            "rate; set model.sampling_rate=null"
        )
    if sampling_rate is None:
        raise ConfigError(
            f"the model is made for static images, the data have {spec.rate_hz:.10g} Hz; set "
            f"model.sampling_rate={spec.rate_hz:.10g}"
        )
    if not same_rate(sampling_rate, spec.rate_hz):
        raise ConfigError(
            f"the model is made for sampling_rate {sampling_rate:.10g}, the data have "
            f"{spec.rate_hz:.10g} Hz; set model.sampling_rate={spec.rate_hz:.10g} (and look at "
            "the tubelet's length in ms with 'visioncore describe')"
        )


def chunks_of(
    frames: np.ndarray, signals: np.ndarray | None, scale: PixelScale, device: torch.device
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """What `Twin.walk` takes, of a user's video; the range of its pixels is noted as they pass."""
    for start in range(0, len(frames), FRAMES_AT_ONCE):
        stop = start + FRAMES_AT_ONCE
        pixels = raw_pixels(frames[start:stop], start)
        scale.add(pixels)
        chunk = torch.from_numpy(pixels).to(device).transpose(0, 1)[None]
        samples = None
        if signals is not None:
            own = np.ascontiguousarray(signals[start:stop], dtype=np.float32)
            samples = torch.from_numpy(own).to(device)[None]
        yield chunk, samples
