"""A residual stage's step: what enters it, the shortcut around it, and a causal branch that each core defines."""

from abc import ABC, abstractmethod
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from visioncore.model.layers.blur_pool import BlurPool
from visioncore.model.layers.causal_conv import Kernel, Pointwise
from visioncore.model.layers.drop_path import DropPath
from visioncore.shapes import FeatureShape

BlockState = tuple[Tensor, ...]
"""The recent steps that the branch's convolutions still need."""


class ResidualBlock(nn.Module, ABC):
    """y = shortcut(x) + branch(x); where the grid is halved, both see the blurred features.

    Must provide `branch`, and `kernels`: those of its convolutions, in order.
    """

    kernels: tuple[Kernel, ...]

    def __init__(self, features: FeatureShape, dim: int, *, halve: bool, drop_path: float) -> None:
        super().__init__()
        self.pool = BlurPool(features) if halve else None
        inside = self.pool.out_shape if self.pool else features
        self.widen = None if inside.channels == dim else Pointwise(inside.channels, dim, bias=False)
        self.drop_path = DropPath(drop_path)
        self.out_shape = replace(inside, channels=dim)

    def advance(
        self, state: BlockState | None, x: Float[Tensor, "batch dim tokens rows columns"]
    ) -> tuple[Float[Tensor, "batch dim_out tokens rows_out columns_out"], BlockState]:
        if self.pool is not None:
            x = self.pool(x)
        branch, state = self.branch(state, x)
        shortcut = x if self.widen is None else self.widen(x)
        return shortcut + self.drop_path(branch), state

    @abstractmethod
    def branch(
        self, state: BlockState | None, x: Float[Tensor, "batch dim tokens rows columns"]
    ) -> tuple[Float[Tensor, "batch dim_out tokens rows columns"], BlockState]:
        """What is added to the shortcut."""
