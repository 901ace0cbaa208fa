"""Convolutions over space and, causally, over time, each with the recent steps it still needs as its state.

Before the video stands zero. Features lie in memory with the channels last (PyTorch's `channels_last_3d`), for which
CPU and GPU have their fastest kernels; nothing but speed depends on it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Kernel = tuple[int, int, int]
"""Steps in time, rows, columns; rows and columns are odd, so that features stay where they are."""


class CausalConv3d(nn.Module):
    """Every step sees itself and the `kernel[0]` - 1 steps before it; in space the grid keeps its size."""

    def __init__(self, dim_in: int, dim_out: int, kernel: Kernel) -> None:
        super().__init__()
        self.recent = kernel[0] - 1
        padding = (0, kernel[1] // 2, kernel[2] // 2)
        convolution = nn.Conv3d(dim_in, dim_out, kernel, padding=padding, bias=False)
        self.convolution = convolution.to(memory_format=torch.channels_last_3d)

    def advance(
        self,
        recent: Float[Tensor, "batch dim recent rows columns"] | None,
        x: Float[Tensor, "batch dim tokens rows columns"],
    ) -> tuple[
        Float[Tensor, "batch dim_out tokens rows columns"], Float[Tensor, "batch dim recent rows columns"]
    ]:
        steps, kept = _with_recent(recent, x, self.recent)
        return self.convolution(steps), kept


class CausalDepthwiseConv3d(nn.Module):
    """The same with one kernel per channel.

    Computed as a sum over time of two-dimensional convolutions: on a CPU the gradient of a depthwise 3-D convolution
    takes two to six times as long.
    """

    def __init__(self, dim: int, kernel: Kernel) -> None:
        super().__init__()
        self.recent = kernel[0] - 1
        self.padding = (kernel[1] // 2, kernel[2] // 2)
        self.convolution = nn.Conv3d(dim, dim, kernel, groups=dim, bias=False)

    def advance(
        self,
        recent: Float[Tensor, "batch dim recent rows columns"] | None,
        x: Float[Tensor, "batch dim tokens rows columns"],
    ) -> tuple[
        Float[Tensor, "batch dim tokens rows columns"], Float[Tensor, "batch dim recent rows columns"]
    ]:
        steps, kept = _with_recent(recent, x, self.recent)
        batch, dim, n_tokens = x.shape[:3]
        images = fold_time(steps)
        parts = []
        for lag, weight in enumerate(self.convolution.weight.unbind(2)):
            every_step = functional.conv2d(images, weight, padding=self.padding, groups=dim)
            parts.append(unfold_time(every_step, batch)[:, :, lag : lag + n_tokens])
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total, kept


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each place and step: no statistics over time, so nothing leaks from later."""

    def forward(
        self, x: Float[Tensor, "batch dim tokens rows columns"]
    ) -> Float[Tensor, "batch dim tokens rows columns"]:
        return super().forward(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


def fold_time(
    x: Float[Tensor, "batch dim tokens rows columns"],
) -> Float[Tensor, "images dim rows columns"]:
    """Every step as an image of its own, for layers that know no time; keeps the channels last in memory."""
    return x.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)


def unfold_time(
    images: Float[Tensor, "images dim rows columns"], batch: int
) -> Float[Tensor, "batch dim tokens rows columns"]:
    """The way back from `fold_time`."""
    return images.permute(0, 2, 3, 1).unflatten(0, (batch, -1)).permute(0, 4, 1, 2, 3)


def _with_recent(
    recent: Float[Tensor, "batch dim recent rows columns"] | None,
    x: Float[Tensor, "batch dim tokens rows columns"],
    n_recent: int,
) -> tuple[Float[Tensor, "batch dim steps rows columns"], Float[Tensor, "batch dim recent rows columns"]]:
    if recent is None:
        batch, dim, _, rows, columns = x.shape
        recent = x.new_zeros(batch, n_recent, rows, columns, dim).permute(0, 4, 1, 2, 3)
    steps = torch.cat((recent, x), dim=2)
    return steps, steps[:, :, steps.shape[2] - n_recent :]
