"""What a grid layer is: tokens on their grid in, tokens on a grid out, causally, through `advance`."""

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from visioncore.config import ComponentConfig
from visioncore.model.extras import Extras
from visioncore.model.layers.block import BlockForm
from visioncore.model.stage import Stage, count, shape_text
from visioncore.shapes import FeatureShape

S = TypeVar("S")


class BaseGridLayerConfig(ComponentConfig):
    """Base of their configs. Must provide `build`, `tiny` for the tests, and `depth` where it is not 0."""

    def depth(self) -> int:
        """How many transformer blocks it has; a core's `drop_path` grows over those of all its layers."""
        return 0

    @abstractmethod
    def build(self, tokens: FeatureShape, form: BlockForm) -> "GridLayer[Any]":
        """The layer for tokens of this shape; its blocks, if it has any, are of this form."""


class GridLayer(nn.Module, ABC, Generic[S]):
    """Base of what stands between ViViT's tokenizer and its last norm.

    Must provide `advance`; `out_shape`, where it is not the shape of the tokens it takes; `history_tokens`, where that
    is bounded; `span_tokens`, where it attends over time. Token j may depend on tokens up to j and no later.
    """

    def __init__(self, tokens: FeatureShape) -> None:
        super().__init__()
        self.out_shape = tokens

    @abstractmethod
    def advance(
        self, state: S | None, tokens: Float[Tensor, "batch tokens rows columns dim"]
    ) -> tuple[Float[Tensor, "batch tokens rows_out columns_out dim_out"], S]:
        """The tokens of this chunk, of which there is at least one, and the state for the next chunk."""

    def advance_with_extras(
        self, state: S | None, tokens: Float[Tensor, "batch tokens rows columns dim"]
    ) -> tuple[Float[Tensor, "batch tokens rows_out columns_out dim_out"], S, Extras]:
        """`advance`, and what the layer says beside it, as of a core: `Core.advance_with_extras`."""
        return (*self.advance(state, tokens), {})

    def history_tokens(self) -> int | None:
        """How many tokens back a token can depend on; None without bound."""
        return None

    def span_tokens(self, n_tokens: int) -> int | None:
        """How many of `n_tokens` tokens one attention over time sees at most; None where there is none."""
        return None

    def stage(self, n_tokens: int) -> Stage:
        """What `describe` shows of it, for a clip of `n_tokens` tokens."""
        out = self.out_shape
        shape = shape_text(n_tokens, out.rows * out.columns, out.channels)
        return Stage(type(self).__name__, shape, count(self))
