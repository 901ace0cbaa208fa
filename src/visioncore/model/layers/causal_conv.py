"""Convolutions over space and, causally, over time, each with the recent steps it still needs as its state.

Before the video stands zero. Features lie in memory with the channels last (PyTorch's `channels_last_3d`), for which
CPU and GPU have their fastest kernels; nothing but speed depends on it.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

Kernel = tuple[int, int, int]
"""Steps in time, rows, columns; rows and columns are odd, so that features stay where they are."""


class CausalConv3d(nn.Module):
    """Every step sees itself and the `kernel[0]` - 1 steps before it; in space the grid keeps its size."""

    def __init__(self, dim_in: int, dim_out: int, kernel: Kernel) -> None:
        super().__init__()
        self.recent = kernel[0] - 1
        padding = (0, kernel[1] // 2, kernel[2] // 2)
        self.convolution = nn.Conv3d(dim_in, dim_out, kernel, padding=padding, bias=False)

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
    """The same with one kernel per channel."""

    def __init__(self, dim: int, kernel: Kernel) -> None:
        super().__init__()
        self.recent = kernel[0] - 1
        self.convolution = nn.Conv3d(dim, dim, kernel, groups=dim, bias=False)

    def advance(
        self,
        recent: Float[Tensor, "batch dim recent rows columns"] | None,
        x: Float[Tensor, "batch dim tokens rows columns"],
    ) -> tuple[
        Float[Tensor, "batch dim tokens rows columns"], Float[Tensor, "batch dim recent rows columns"]
    ]:
        steps, kept = _with_recent(recent, x, self.recent)
        return _Depthwise.apply(steps, self.convolution.weight), kept  # type: ignore[no-untyped-call]


class _Depthwise(torch.autograd.Function):
    """`conv3d` with one kernel per channel, and gradients that are faster than PyTorch's on a CPU.

    There, both of its own take up to fifteen times as long as the convolution. The input's gradient is the convolution
    with the kernel turned round; the kernel's is taken lag by lag, as that of a two-dimensional convolution.
    """

    @staticmethod
    def forward(
        ctx: Any,
        steps: Float[Tensor, "batch dim steps rows columns"],
        weight: Float[Tensor, "dim 1 frames height width"],
    ) -> Float[Tensor, "batch dim tokens rows columns"]:
        ctx.save_for_backward(steps, weight)
        _, height, width = weight.shape[2:]
        return functional.conv3d(steps, weight, padding=(0, height // 2, width // 2), groups=len(weight))

    @staticmethod
    def backward(
        ctx: Any, *gradients: Float[Tensor, "batch dim tokens rows columns"]
    ) -> tuple[Tensor | None, Tensor | None]:
        (gradient,) = gradients
        # Autocast is over by now: the gradient comes in the dtype that the forward pass computed in.
        steps, weight = (saved.to(gradient.dtype) for saved in ctx.saved_tensors)
        frames, height, width = weight.shape[2:]
        space = (height // 2, width // 2)
        of_steps = of_weight = None
        if ctx.needs_input_grad[0]:
            turned = weight.flip(2, 3, 4)
            of_steps = functional.conv3d(gradient, turned, padding=(frames - 1, *space), groups=len(weight))
        if ctx.needs_input_grad[1]:
            images, n_tokens = fold_time(gradient), gradient.shape[2]
            lags = [
                conv2d_weight(
                    fold_time(steps[:, :, lag : lag + n_tokens]),
                    weight[:, :, lag].shape,
                    images,
                    padding=space,
                    groups=len(weight),
                )
                for lag in range(frames)
            ]
            of_weight = torch.stack(lags, dim=2)
        return of_steps, of_weight


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each place and step: no statistics over time, so nothing leaks from later."""

    def forward(
        self, x: Float[Tensor, "batch dim tokens rows columns"]
    ) -> Float[Tensor, "batch dim tokens rows columns"]:
        return super().forward(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


class Pointwise(nn.Linear):
    """A linear map of the channels of each place and step."""

    def forward(
        self, x: Float[Tensor, "batch dim tokens rows columns"]
    ) -> Float[Tensor, "batch dim_out tokens rows columns"]:
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
