"""From video to tubelet tokens: a causal 3-D convolution, a norm and a linear projection."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from visioncore.errors import ConfigError

Padding = Literal["none", "same", "crop"]


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
        ConfigError: the axis does not tile and no rule was chosen, or pixels would fall between the tubelets.
    """
    if stride > kernel:
        raise ConfigError(
            f"{axis}: stride {stride} is larger than patch {kernel}, so pixels would be skipped; use stride <= patch"
        )
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


class PatchDropout(nn.Module):
    """In training, drops whole tokens at random: all channels of a token become zero, none is rescaled."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(
        self, tokens: Float[Tensor, "batch tokens rows columns dim"]
    ) -> Float[Tensor, "batch tokens rows columns dim"]:
        if not self.training or self.probability == 0.0:
            return tokens
        kept = torch.rand(tokens.shape[:-1], device=tokens.device) >= self.probability
        return tokens * kept[..., None]


def space_time_gabors(
    n: int, patch_size: tuple[int, int, int], generator: torch.Generator
) -> Float[Tensor, "filters frames height width"]:
    """Drifting Gabors in quadrature pairs, of random orientation, spatial period and speed; unit r.m.s. response
    to noise whose amplitude falls as 1/frequency, like that of natural images.

    Source: Adelson & Bergen 1985, the filters of a motion-energy model.
    """
    frames, height, width = patch_size
    n_pairs = -(-n // 2)
    size = min(height, width)
    angle = torch.rand(n_pairs, generator=generator) * 2 * math.pi
    period = 0.5 * size * 3.0 ** torch.rand(n_pairs, generator=generator)
    cycles = 1.5 * torch.rand(n_pairs, generator=generator)
    t = (torch.arange(frames) + 0.5) / frames
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


class UnfoldConv3d(nn.Module):
    """Tubelet tokens (B, T_p, rows, columns, D) of a video, causally in time.

    Token j sees `patch` frames up to frame j·s + s - 1 (s the temporal stride). In front of the video stand
    patch - s frames of mean grey, which is zero after the adapter.
    """

    def __init__(
        self,
        *,
        channels: int,
        rows: Tiling,
        columns: Tiling,
        patch_frames: int,
        stride_frames: int,
        embedding_dim: int,
        initial_filters: Literal["random", "gabor"],
    ) -> None:
        super().__init__()
        if stride_frames > patch_frames:
            raise ConfigError(
                f"time: stride {stride_frames} is larger than patch {patch_frames}, so frames would be skipped; "
                "use stride <= patch"
            )
        self.rows, self.columns = rows, columns
        self.patch_frames, self.stride_frames = patch_frames, stride_frames
        self.convolution = nn.Conv3d(
            channels,
            embedding_dim,
            kernel_size=(patch_frames, rows.kernel, columns.kernel),
            stride=(stride_frames, rows.stride, columns.stride),
        )
        if initial_filters == "gabor":
            # Drawn from torch's own state, which the run's seed decides.
            generator = torch.Generator().manual_seed(int(torch.randint(2**31, (1,), device="cpu")))
            gabors = space_time_gabors(embedding_dim, (patch_frames, rows.kernel, columns.kernel), generator)
            with torch.no_grad():
                self.convolution.weight.copy_(gabors[:, None].expand(-1, channels, -1, -1, -1) / channels)
        self.norm = nn.LayerNorm(embedding_dim)
        self.projection = nn.Linear(embedding_dim, embedding_dim)

    def advance(
        self,
        recent: Float[Tensor, "batch channels recent height width"] | None,
        video: Float[Tensor, "batch channels time height width"],
    ) -> tuple[
        Float[Tensor, "batch tokens rows columns dim"], Float[Tensor, "batch channels kept height width"]
    ]:
        """Tokens whose newest frame lies in this chunk; the frames that later tokens still need are the state."""
        overlap = self.patch_frames - self.stride_frames
        if recent is None:
            batch, channels, _, height, width = video.shape
            recent = video.new_zeros(batch, channels, overlap, height, width)
        frames = torch.cat((recent, video), dim=2)
        n_tokens = (frames.shape[2] - overlap) // self.stride_frames
        kept = frames[:, :, n_tokens * self.stride_frames :]
        if n_tokens == 0:
            empty = frames.new_zeros(
                len(frames), 0, self.rows.tokens, self.columns.tokens, self.projection.out_features
            )
            return empty, kept
        used = frames[:, :, : n_tokens * self.stride_frames + overlap]
        padded = functional.pad(
            used, (self.columns.pad_before, self.columns.pad_after, self.rows.pad_before, self.rows.pad_after)
        )
        return self.projection(self.norm(self._convolve(padded))), kept

    def _convolve(
        self, padded: Float[Tensor, "batch channels time height width"]
    ) -> Float[Tensor, "batch tokens rows columns dim"]:
        """The convolution as one matrix product over stretches of `stride` frames, which overlapping tubelets share.

        On a CPU this is several times faster than the convolution, whose weight gradient is slow for few channels,
        and than unfolding whole tubelets, which copies every frame patch / stride times.
        """
        step, dim = self.stride_frames, self.projection.out_features
        n_parts = -(-self.patch_frames // step)
        extra = n_parts * step - self.patch_frames
        weight = functional.pad(self.convolution.weight, (0, 0, 0, 0, extra, 0))
        stretches = functional.pad(padded, (0, 0, 0, 0, extra, 0)).unflatten(2, (-1, step))
        patches = stretches.unfold(4, self.rows.kernel, self.rows.stride)
        patches = patches.unfold(5, self.columns.kernel, self.columns.stride)
        flat = patches.permute(0, 2, 4, 5, 1, 3, 6, 7).flatten(4)  # (B, stretches, rows, columns, pixels)
        by_part = weight.unflatten(2, (n_parts, step)).permute(2, 0, 1, 3, 4, 5).flatten(0, 1).flatten(1)
        parts = functional.linear(flat, by_part).unflatten(-1, (n_parts, dim)).unbind(-2)
        n_tokens = parts[0].shape[1] - n_parts + 1
        shifted = [part[:, first : first + n_tokens] for first, part in enumerate(parts)]
        tokens = shifted[0] + self.convolution.bias
        for part in shifted[1:]:
            tokens = tokens + part
        return tokens
