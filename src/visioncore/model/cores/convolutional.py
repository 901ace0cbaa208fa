"""What convolutional cores have in common: a strided first convolution, residual blocks, a last norm."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxtyping import Float
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from visioncore.config import Config
from visioncore.model.cores.base import Core
from visioncore.model.layers.causal_conv import ChannelNorm, Kernel
from visioncore.model.layers.residual import BlockState, ResidualBlock
from visioncore.model.layers.strided_conv import InitialFilters, StridedConv3d, tile
from visioncore.shapes import FeatureShape, VideoShape

Activation = Callable[[Tensor], Tensor]


class StemConfig(Config):
    """The first convolution. What follows it runs once per `stride[0]` frames."""

    channels: PositiveInt
    kernel: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Frames, pixels down, pixels across."""
    stride: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Step between kernels; sizes that it does not divide are padded with grey."""
    frames_per_tap: PositiveInt = 1
    """Frames that are averaged for one tap of the kernel; divides the kernel's frames and their stride."""
    initial_filters: InitialFilters = "random"
    """What the kernels start from: noise, or a bank of drifting Gabors."""

    @model_validator(mode="after")
    def _nothing_is_skipped(self) -> "StemConfig":
        if any(step > size for step, size in zip(self.stride, self.kernel, strict=True)):
            raise ValueError(
                f"stride {list(self.stride)} is larger than kernel {list(self.kernel)} on some axis, so frames or "
                "pixels would be skipped; use stride <= kernel"
            )
        return self

    def build(self, video: VideoShape) -> StridedConv3d:
        """The layer for videos of this shape."""
        return StridedConv3d(
            channels=video.channels,
            rows=tile(video.height, self.kernel[1], self.stride[1], "same", "height"),
            columns=tile(video.width, self.kernel[2], self.stride[2], "same", "width"),
            kernel_frames=self.kernel[0],
            stride_frames=self.stride[0],
            dim=self.channels,
            frames_per_tap=self.frames_per_tap,
            initial_filters=self.initial_filters,
        )


def check_odd(kernel: Kernel) -> Kernel:
    """Rows and columns of a block's kernel are odd, so that features stay where they are.

    Raises:
        ValueError: they are not; pydantic makes it an error of the config.
    """
    if kernel[1] % 2 == 0 or kernel[2] % 2 == 0:
        raise ValueError(
            "rows and columns of the kernel must be odd numbers, to keep features in their place"
        )
    return kernel


class ConvolutionalState(NamedTuple):
    """Frames that the first convolution still needs, and what each block remembers."""

    frames: Float[Tensor, "batch channels kept height width"]
    blocks: tuple[BlockState | None, ...]


class ConvolutionalCore(Core[ConvolutionalState]):
    """See the module's docstring; `activation` follows the last norm."""

    def __init__(self, stem: StridedConv3d, blocks: Sequence[ResidualBlock], activation: Activation) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.out_shape: FeatureShape = blocks[-1].out_shape
        self.norm = ChannelNorm(self.out_shape.channels)
        self.activation = activation

    def advance(
        self,
        state: ConvolutionalState | None,
        video: Float[Tensor, "batch channels time height width"],
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"], ConvolutionalState]:
        old = state.blocks if state else (None,) * len(self.blocks)
        x, frames = self.stem.convolve(state.frames if state else None, video)
        if x.shape[2] == 0:
            out = self.out_shape
            return x.new_zeros(len(x), out.channels, 0, out.rows, out.columns), ConvolutionalState(
                frames, old
            )
        new: list[BlockState | None] = []
        for block, remembered in zip(self._blocks(), old, strict=True):
            x, kept = block.advance(remembered, x)
            new.append(kept)
        return self.activation(self.norm(x)), ConvolutionalState(frames, tuple(new))

    def stride_setting(self, frames: int) -> str:
        down, across = self.stem.rows.stride, self.stem.columns.stride
        return f"model.convnet.params.stem.stride=[{frames},{down},{across}]"

    def history_frames(self) -> int:
        steps = sum(kernel[0] - 1 for block in self._blocks() for kernel in block.kernels)
        return self.stem.kernel_frames + steps * self.stem.stride_frames

    def notes(self) -> list[str]:
        return [*self.stem.notes(), f"a feature sees the last {self.history_frames()} frames"]

    def _blocks(self) -> list[ResidualBlock]:
        return [block for block in self.blocks if isinstance(block, ResidualBlock)]
