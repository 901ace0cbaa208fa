"""From video to tokens: one strided, causal 3-D convolution, and how its kernels tile the frame.

Every core that sees the video begins with it, so all of them share grid, padding and initial filters.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from visioncore.errors import ConfigError
from visioncore.shapes import FeatureShape, VideoShape

Padding = Literal["none", "same", "crop"]
InitialFilters = Literal["random", "gabor"]


@dataclass(frozen=True)
class TubeletForm:
    """What a core's first layer takes in at once, and in what steps.

    Raises:
        ConfigError: frames or pixels would fall between the tubelets, or taps do not fill them.
    """

    kernel: tuple[int, int, int]
    """Frames, pixels down, pixels across."""
    stride: tuple[int, int, int]
    filters: int
    padding: Padding
    frames_per_tap: int
    initial_filters: InitialFilters
    called: str
    """What the kernel is called where it is set; for messages."""

    def __post_init__(self) -> None:
        if any(step > size for step, size in zip(self.stride, self.kernel, strict=True)):
            raise ConfigError(
                f"stride {list(self.stride)} is larger than {self.called} {list(self.kernel)} on some axis, so pixels "
                f"or frames would be skipped; use stride <= {self.called}"
            )
        if self.kernel[0] % self.frames_per_tap or self.stride[0] % self.frames_per_tap:
            raise ConfigError(
                f"time: {self.called} {self.kernel[0]} and stride {self.stride[0]} are not both multiples of "
                f"frames_per_tap {self.frames_per_tap}; choose one that divides both (1 always does)"
            )

    def rows(self, video: VideoShape) -> "Tiling":
        """How the tubelets cover the video's height."""
        return tile(video.height, self.kernel[1], self.stride[1], self.padding, "height")

    def columns(self, video: VideoShape) -> "Tiling":
        """How the tubelets cover the video's width."""
        return tile(video.width, self.kernel[2], self.stride[2], self.padding, "width")


@dataclass(frozen=True)
class Tiling:
    """How tubelets of length `kernel` at every `stride` pixels cover one spatial axis of `size` pixels."""

    size: int
    kernel: int
    stride: int
    tokens: int
    pad_before: int
    pad_after: int
    cropped: int

    @property
    def edges_px(self) -> tuple[float, float]:
        """Outer edges of the token grid in pixels of the unpadded stimulus; a token's cell is `stride` wide."""
        centre_of_first = self.kernel / 2 - self.pad_before
        start = centre_of_first - self.stride / 2
        return start, start + self.tokens * self.stride


def tile(size: int, kernel: int, stride: int, padding: Padding, axis: str) -> Tiling:
    """Lay tubelets over one axis by the padding rule.

    Raises:
        ConfigError: the axis does not tile and no rule was chosen.
    """
    if padding == "same":
        tokens = -(-size // stride)
        pad = max((tokens - 1) * stride + kernel - size, 0)
        return Tiling(size, kernel, stride, tokens, pad // 2, pad - pad // 2, 0)
    tokens = (size - kernel) // stride + 1
    cropped = size - ((tokens - 1) * stride + kernel)
    if tokens < 1 or (padding == "none" and cropped):
        raise ConfigError(
            f"{axis}: {size} pixels do not tile with patch {kernel} and stride {stride}; "
            f"set 'padding: same' (pads) or 'padding: crop' (leaves {cropped if tokens > 0 else size} pixels out)"
        )
    return Tiling(size, kernel, stride, tokens, 0, 0, cropped)


def space_time_gabors(
    n: int, patch_size: tuple[int, int, int], generator: torch.Generator
) -> Float[Tensor, "filters frames height width"]:
    """Drifting Gabors in quadrature pairs, of random orientation, spatial period and speed; unit r.m.s. response
    to noise whose amplitude falls as 1/frequency, like that of natural images.

    Their time runs as the square root of the time before the newest frame, so that each is strongest a quarter of the
    patch ago, and rises faster than it fades, as V1's own kernels do.

    Source: Adelson & Bergen 1985, the filters of a motion-energy model.
    """
    frames, height, width = patch_size
    n_pairs = -(-n // 2)
    size = min(height, width)
    angle = torch.rand(n_pairs, generator=generator) * 2 * math.pi
    period = 0.5 * size * 3.0 ** torch.rand(n_pairs, generator=generator)
    cycles = 1.5 * torch.rand(n_pairs, generator=generator)
    t = 1 - (1 - (torch.arange(frames) + 0.5) / frames).sqrt()
    y = torch.arange(height) + 0.5 - height / 2
    x = torch.arange(width) + 0.5 - width / 2
    envelope_t = torch.sin(math.pi * t) ** 2
    envelope = torch.exp(-(y[:, None] ** 2 + x**2) / (2 * (0.3 * size) ** 2))
    along = angle.cos()[:, None, None] * x + angle.sin()[:, None, None] * y[:, None]
    phase = (
        2 * math.pi * (along / period[:, None, None])[:, None]
        - 2 * math.pi * (cycles[:, None] * t)[..., None, None]
    )
    carrier = torch.stack((phase.cos(), phase.sin()), dim=1).flatten(0, 1)[:n]
    gabors = carrier * envelope_t[:, None, None] * envelope
    gabors = gabors / gabors.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
    return gabors / period.repeat_interleave(2)[:n, None, None, None] * size


class StridedConv3d(nn.Module):
    """Features (B, D, T_p, rows, columns) of a video, causally in time.

    Token j sees `kernel_frames` frames up to frame j·s + s - 1 (s the temporal stride). In front of the video stand
    kernel_frames - s frames of mean grey, which is zero after the adapter. The kernel has one tap for the mean of
    every `frames_per_tap` frames, since a fast display says little new from frame to frame.
    """

    def __init__(self, form: TubeletForm, video: VideoShape) -> None:
        super().__init__()
        self.rows, self.columns = form.rows(video), form.columns(video)
        self.kernel_frames, self.stride_frames = form.kernel[0], form.stride[0]
        self.frames_per_tap = form.frames_per_tap
        kernel = (self.kernel_frames // self.frames_per_tap, *form.kernel[1:])
        stride = (self.stride_frames // self.frames_per_tap, *form.stride[1:])
        self.convolution = nn.Conv3d(video.channels, form.filters, kernel, stride)
        if form.initial_filters == "gabor":
            # Drawn from torch's own state, which the run's seed decides.
            generator = torch.Generator().manual_seed(int(torch.randint(2**31, (1,), device="cpu")))
            gabors = space_time_gabors(form.filters, kernel, generator)
            with torch.no_grad():
                everywhere = gabors[:, None].expand(-1, video.channels, -1, -1, -1)
                self.convolution.weight.copy_(everywhere / video.channels)
        self.out_shape = FeatureShape(
            channels=form.filters,
            rows=self.rows.tokens,
            columns=self.columns.tokens,
            stride=self.stride_frames,
            row_edges_px=self.rows.edges_px,
            column_edges_px=self.columns.edges_px,
        )

    def convolve(
        self,
        recent: Float[Tensor, "batch channels recent height width"] | None,
        video: Float[Tensor, "batch channels time height width"],
    ) -> tuple[
        Float[Tensor, "batch dim tokens rows columns"], Float[Tensor, "batch channels kept height width"]
    ]:
        """Tokens whose newest frame lies in this chunk; the frames that later tokens still need are the state."""
        overlap = self.kernel_frames - self.stride_frames
        if recent is None:
            batch, channels, _, height, width = video.shape
            recent = video.new_zeros(batch, channels, overlap, height, width)
        frames = torch.cat((recent, video), dim=2)
        n_tokens = (frames.shape[2] - overlap) // self.stride_frames
        kept = frames[:, :, n_tokens * self.stride_frames :]
        if n_tokens == 0:
            nothing = (len(frames), self.convolution.out_channels, 0, self.rows.tokens, self.columns.tokens)
            return frames.new_zeros(nothing), kept
        used = frames[:, :, : n_tokens * self.stride_frames + overlap]
        padded = functional.pad(
            used, (self.columns.pad_before, self.columns.pad_after, self.rows.pad_before, self.rows.pad_after)
        )
        return self._convolve(padded), kept

    def notes(self) -> list[str]:
        """What is cropped or padded, for `describe`."""
        axes = (("height", self.rows), ("width", self.columns))
        cropped = [
            f"{name}: {tiling.cropped} of {tiling.size} pixels cropped (padding: crop)"
            for name, tiling in axes
            if tiling.cropped
        ]
        padded = [
            f"{name}: padded by {tiling.pad_before} + {tiling.pad_after} grey pixels"
            for name, tiling in axes
            if tiling.pad_before + tiling.pad_after
        ]
        return cropped + padded

    def _convolve(
        self, padded: Float[Tensor, "batch channels time height width"]
    ) -> Float[Tensor, "batch dim tokens rows columns"]:
        """The convolution with each stretch of `stride` taps taken as channels of one step.

        On a CPU, convolutions over few channels are slow backwards (in bfloat16 by a factor of five), and a matrix
        product over unfolded patches copies every pixel several times (up to twice as slow as this).
        """
        taps, _, _ = self.convolution.kernel_size
        step, _, _ = self.convolution.stride
        extra = -taps % step
        averaged = padded.unflatten(2, (-1, self.frames_per_tap)).mean(3)
        weight = functional.pad(self.convolution.weight, (0, 0, 0, 0, extra, 0))
        frames = functional.pad(averaged, (0, 0, 0, 0, extra, 0))
        return functional.conv3d(
            _stretches_as_channels(frames, step),
            _stretches_as_channels(weight, step),
            self.convolution.bias,
            stride=(1, self.rows.stride, self.columns.stride),
        )


def _stretches_as_channels(
    x: Float[Tensor, "batch channels time height width"], step: int
) -> Float[Tensor, "batch stacked stretches height width"]:
    stacked = x.unflatten(2, (-1, step)).transpose(2, 3).flatten(1, 2)
    return stacked.contiguous(memory_format=torch.channels_last_3d)
