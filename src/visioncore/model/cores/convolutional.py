"""What convolutional cores have in common: a strided first convolution, residual blocks, a last norm."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from visioncore.model.cores.base import Core
from visioncore.model.cores.tubelets import TubeletConfig
from visioncore.model.layers.causal_conv import ChannelNorm, Kernel
from visioncore.model.layers.residual import BlockState, ResidualBlock
from visioncore.model.layers.strided_conv import StridedConv3d, TubeletForm
from visioncore.shapes import FeatureShape, VideoShape

Activation = Callable[[Tensor], Tensor]


class StemConfig(TubeletConfig):
    """The first convolution. What follows it runs once per `stride[0]` frames."""

    channels: PositiveInt
    kernel: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Frames, pixels down, pixels across."""
    stride: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Step between kernels; sizes that it does not divide are padded with grey."""

    def tubelets(self) -> TubeletForm:
        return TubeletForm(
            kernel=self.kernel,
            stride=self.stride,
            filters=self.channels,
            padding="same",
            frames_per_tap=self.frames_per_tap,
            initial_filters=self.initial_filters,
            called="kernel",
        )

    def build(self, video: VideoShape) -> StridedConv3d:
        """The layer for videos of this shape."""
        return StridedConv3d(self.tubelets(), video)


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

    def last_blocks(self) -> Sequence[nn.Module]:
        return (self.blocks[-1], self.norm)

    def history_frames(self) -> int:
        steps = sum(kernel[0] - 1 for block in self._blocks() for kernel in block.kernels)
        return self.stem.kernel_frames + steps * self.stem.stride_frames

    def notes(self) -> list[str]:
        return [*self.stem.notes(), f"a feature sees the last {self.history_frames()} frames"]

    def _blocks(self) -> list[ResidualBlock]:
        return [block for block in self.blocks if isinstance(block, ResidualBlock)]
