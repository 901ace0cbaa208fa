"""A causal X3D: few parameters, by depthwise convolutions inside inverted bottlenecks.

Source: Feichtenhofer 2020, "X3D: Expanding architectures for efficient video recognition", table 1 and section 3.1.
Causal in time, with norms over channels in place of batch norm, one of them before the branch, and squeeze-excitation
over space alone. The first convolution is that of the other cores: X3D's two small ones are made for 30 Hz.
"""

import math
from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from visioncore.config import Config
from visioncore.model.cores.base import BaseCoreConfig
from visioncore.model.cores.convolutional import ConvolutionalCore, StemConfig, check_odd
from visioncore.model.layers.causal_conv import CausalDepthwiseConv3d, ChannelNorm, Kernel, Pointwise
from visioncore.model.layers.residual import BlockState, ResidualBlock
from visioncore.shapes import FeatureShape, VideoShape

WIDTH_STEP = 8
"""Widths are rounded to multiples of this, as in the authors' code."""


class X3DStageConfig(Config):
    """Blocks of one width, before the factors."""

    channels: PositiveInt
    blocks: PositiveInt
    halve: bool = False
    """Whether the stage begins with half the rows and columns."""


class X3DConfig(BaseCoreConfig):
    """The factors are the paper's γ_w, γ_b and γ_d; the defaults of `stages` are its X2D, on a finer grid."""

    type: Literal["x3d"] = "x3d"
    stem: StemConfig
    stages: tuple[X3DStageConfig, ...] = Field(
        default=(
            X3DStageConfig(channels=24, blocks=1),
            X3DStageConfig(channels=48, blocks=2, halve=True),
            X3DStageConfig(channels=96, blocks=5),
            X3DStageConfig(channels=192, blocks=3),
        ),
        min_length=1,
    )
    width_factor: PositiveFloat = 1.0
    """γ_w: widens every stage."""
    bottleneck_factor: PositiveFloat = 2.25
    """γ_b: how much wider a block is inside than outside."""
    depth_factor: PositiveFloat = 1.0
    """γ_d: deepens every stage (rounded up)."""
    kernel: Annotated[tuple[PositiveInt, PositiveInt, PositiveInt], AfterValidator(check_odd)] = (3, 3, 3)
    """Of the depthwise convolutions: steps of the stem, rows, columns."""
    squeeze_factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.0625
    """Width of the squeeze-excitation of every second block, relative to the block's inside."""
    drop_path: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Of the last block; the first has none, between them it grows linearly."""

    @classmethod
    def tiny(cls) -> "X3DConfig":
        """The smallest member of the family that has every part; tests use it."""
        return cls(
            stem=StemConfig(channels=4, kernel=(3, 5, 5), stride=(2, 2, 2)),
            stages=(
                X3DStageConfig(channels=8, blocks=1),
                X3DStageConfig(channels=8, blocks=1, halve=True),
            ),
            bottleneck_factor=2.0,
            kernel=(2, 3, 3),
        )

    def build(self, video: VideoShape) -> "X3D":
        """The core for videos of this shape."""
        return X3D(self, video)


class X3D(ConvolutionalCore):
    """See the module's docstring; built by `X3DConfig.build`."""

    def __init__(self, config: X3DConfig, video: VideoShape) -> None:
        stem = config.stem.build(video)
        features = stem.out_shape
        plan = [
            (stage, i)
            for stage in config.stages
            for i in range(math.ceil(stage.blocks * config.depth_factor))
        ]
        blocks = []
        for depth, (stage, i) in enumerate(plan):
            dim = rounded_width(stage.channels * config.width_factor)
            inner = max(round(dim * config.bottleneck_factor), 1)
            block = X3DBlock(
                features,
                dim,
                inner=inner,
                squeezed=rounded_width(inner * config.squeeze_factor) if i % 2 == 0 else None,
                kernel=config.kernel,
                halve=stage.halve and i == 0,
                drop_path=config.drop_path * depth / max(len(plan) - 1, 1),
            )
            features = block.out_shape
            blocks.append(block)
        super().__init__(stem, blocks, functional.silu)
        self.config = config

    def notes(self) -> list[str]:
        return [*super().notes(), "squeeze-excitation: every place sees the whole frame's mean"]


class X3DBlock(ResidualBlock):
    """Norm, widen, rectify; depthwise convolution, norm, squeeze-excitation, swish; narrow."""

    def __init__(
        self,
        features: FeatureShape,
        dim: int,
        *,
        inner: int,
        squeezed: int | None,
        kernel: Kernel,
        halve: bool,
        drop_path: float,
    ) -> None:
        super().__init__(features, dim, halve=halve, drop_path=drop_path)
        self.kernels = (kernel,)
        self.norm_in = ChannelNorm(features.channels)
        self.expand = Pointwise(features.channels, inner)
        self.depthwise = CausalDepthwiseConv3d(inner, kernel)
        self.norm = ChannelNorm(inner)
        self.squeeze_excite = None if squeezed is None else SqueezeExcite(inner, squeezed)
        self.project = Pointwise(inner, dim)

    def branch(
        self, state: BlockState | None, x: Float[Tensor, "batch dim tokens rows columns"]
    ) -> tuple[Float[Tensor, "batch dim_out tokens rows columns"], BlockState]:
        (recent,) = state if state else (None,)
        x, recent = self.depthwise.advance(recent, functional.relu(self.expand(self.norm_in(x))))
        x = self.norm(x)
        if self.squeeze_excite is not None:
            x = self.squeeze_excite(x)
        return self.project(functional.silu(x)), (recent,)


class SqueezeExcite(nn.Module):
    """Scales channels by their means over space at the same step (over time they would let the future in).

    Source: Hu et al. 2018.
    """

    def __init__(self, dim: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(dim, squeezed)
        self.excite = nn.Linear(squeezed, dim)

    def forward(
        self, x: Float[Tensor, "batch dim tokens rows columns"]
    ) -> Float[Tensor, "batch dim tokens rows columns"]:
        means = x.mean(dim=(3, 4)).transpose(1, 2)
        scale = self.excite(functional.relu(self.squeeze(means))).sigmoid()
        return x * scale.transpose(1, 2)[..., None, None]


def rounded_width(width: float) -> int:
    """The nearest multiple of `WIDTH_STEP`, up by one where that would lose more than a tenth."""
    rounded = max(WIDTH_STEP, int(width + WIDTH_STEP / 2) // WIDTH_STEP * WIDTH_STEP)
    return rounded + WIDTH_STEP if rounded < 0.9 * width else rounded
