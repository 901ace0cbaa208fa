"""A causal 3-D ResNet: the convolutional rival of ViViT.

Source: He et al. 2016, "Identity mappings in deep residual networks" (pre-activation blocks), with three-dimensional
kernels as in Hara et al. 2018. Causal in time, with norms over channels in place of batch norm, and blur pooling after
Zhang 2019.
"""

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import AfterValidator, Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from visioncore.config import Config
from visioncore.model.cores.base import BaseCoreConfig
from visioncore.model.cores.convolutional import ConvolutionalCore, StemConfig, check_odd
from visioncore.model.layers.causal_conv import CausalConv3d, ChannelNorm, Kernel
from visioncore.model.layers.residual import BlockState, ResidualBlock
from visioncore.shapes import FeatureShape, VideoShape


class ResNetStageConfig(Config):
    """Blocks of one width."""

    channels: PositiveInt
    blocks: PositiveInt
    kernel: Annotated[tuple[PositiveInt, PositiveInt, PositiveInt], AfterValidator(check_odd)] = (3, 3, 3)
    """Of both convolutions of a block: steps of the stem, rows, columns."""
    halve: bool = False
    """Whether the stage begins with half the rows and columns."""


class ResNetConfig(BaseCoreConfig):
    type: Literal["resnet"] = "resnet"
    stem: StemConfig
    stages: tuple[ResNetStageConfig, ...] = Field(min_length=1)
    drop_path: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Of the last block; the first has none, between them it grows linearly."""

    @classmethod
    def tiny(cls) -> "ResNetConfig":
        """The smallest member of the family that has every part; tests use it."""
        return cls(
            stem=StemConfig(channels=4, kernel=(3, 5, 5), stride=(2, 2, 2)),
            stages=(
                ResNetStageConfig(channels=4, blocks=1, kernel=(2, 3, 3)),
                ResNetStageConfig(channels=6, blocks=1, halve=True),
            ),
        )

    def build(self, video: VideoShape) -> "ResNet":
        """The core for videos of this shape."""
        return ResNet(self, video)


class ResNet(ConvolutionalCore):
    """See the module's docstring; built by `ResNetConfig.build`."""

    def __init__(self, config: ResNetConfig, video: VideoShape) -> None:
        stem = config.stem.build(video)
        features = stem.out_shape
        plan = [(stage, i) for stage in config.stages for i in range(stage.blocks)]
        blocks = []
        for depth, (stage, i) in enumerate(plan):
            block = ResNetBlock(
                features,
                stage.channels,
                stage.kernel,
                halve=stage.halve and i == 0,
                drop_path=config.drop_path * depth / max(len(plan) - 1, 1),
            )
            features = block.out_shape
            blocks.append(block)
        super().__init__(stem, blocks, functional.relu)
        self.config = config


class ResNetBlock(ResidualBlock):
    """Twice: norm, rectifier, convolution."""

    def __init__(
        self, features: FeatureShape, dim: int, kernel: Kernel, *, halve: bool, drop_path: float
    ) -> None:
        super().__init__(features, dim, halve=halve, drop_path=drop_path)
        self.kernels = (kernel, kernel)
        self.norm1 = ChannelNorm(features.channels)
        self.conv1 = CausalConv3d(features.channels, dim, kernel)
        self.norm2 = ChannelNorm(dim)
        self.conv2 = CausalConv3d(dim, dim, kernel)

    def branch(
        self, state: BlockState | None, x: Float[Tensor, "batch dim tokens rows columns"]
    ) -> tuple[Float[Tensor, "batch dim_out tokens rows columns"], BlockState]:
        recent1, recent2 = state if state else (None, None)
        x, recent1 = self.conv1.advance(recent1, functional.relu(self.norm1(x)))
        x, recent2 = self.conv2.advance(recent2, functional.relu(self.norm2(x)))
        return x, (recent1, recent2)
