"""Transformer blocks: what is learnt around attention, with the feedforward layer beside it or after it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from visioncore.model.layers.attention import Attention, Kernel, Pattern
from visioncore.model.layers.drop_path import DropPath

Arrangement = Literal["parallel", "serial"]
FeedForward = Literal["gelu", "gated"]
R = TypeVar("R")


@dataclass(frozen=True)
class BlockForm:
    """How the blocks of one layer look and run."""

    arrangement: Arrangement
    dim: int
    num_heads: int
    head_dim: int
    ff_dim: int
    feedforward: FeedForward
    mha_dropout: float
    ff_dropout: float
    drop_path: tuple[float, ...]
    """Of each block, in their order."""
    kernel: Kernel
    grad_checkpointing: bool

    @property
    def inner(self) -> int:
        """Width of all heads together."""
        return self.num_heads * self.head_dim

    @property
    def ff_in(self) -> int:
        """Width of what the feedforward layer's activation takes."""
        return 2 * self.ff_dim if self.feedforward == "gated" else self.ff_dim

    def attention(self, pattern: Pattern) -> Attention:
        """What runs between the halves of the blocks."""
        return Attention(pattern, self.kernel, self.mha_dropout)

    def blocks(self) -> "list[TransformerBlock]":
        """New blocks, one for each `drop_path`."""
        block = ParallelBlock if self.arrangement == "parallel" else SerialBlock
        return [block(self, probability) for probability in self.drop_path]

    def run(self, step: Callable[..., R], *arguments: Any) -> R:
        """`step(*arguments)`; with `grad_checkpointing`, run again backwards in place of being remembered."""
        if self.grad_checkpointing and torch.is_grad_enabled():
            return checkpoint(step, *arguments, use_reentrant=False)
        return step(*arguments)


class Projected(NamedTuple):
    """What attention mixes; and what the feedforward layer takes, where it stands beside attention."""

    query: Float[Tensor, "sequences positions heads head_dim"]
    key: Float[Tensor, "sequences positions heads head_dim"]
    value: Float[Tensor, "sequences positions heads head_dim"]
    hidden: Float[Tensor, "sequences positions ff_in"] | None


class TransformerBlock(nn.Module, ABC):
    """Base of the blocks: two halves, between which a layer lets its positions see each other.

    Must provide what comes before attention (`_before`) and after (`_after`).
    """

    def __init__(self, form: BlockForm, drop_path: float) -> None:
        super().__init__()
        self.form = form
        self.norm = nn.LayerNorm(form.dim)
        self.ff_dropout = nn.Dropout(form.ff_dropout)
        self.drop_path = DropPath(drop_path)

    def project(self, x: Float[Tensor, "sequences positions dim"]) -> Projected:
        """The first half: what each position asks for, is found by, and gives."""
        qkv, hidden = self._before(x)
        query, key, value = (
            t.unflatten(-1, (self.form.num_heads, self.form.head_dim)) for t in qkv.chunk(3, dim=-1)
        )
        return Projected(query, key, value, hidden)

    def combine(
        self,
        x: Float[Tensor, "sequences positions dim"],
        mixed: Float[Tensor, "sequences heads positions head_dim"],
        hidden: Float[Tensor, "sequences positions ff_in"] | None,
    ) -> Float[Tensor, "sequences positions dim"]:
        """The second half: the block's output from its input, the mixed values, and what `project` left."""
        return self._after(x, mixed.transpose(1, 2).flatten(-2), hidden)

    @abstractmethod
    def _before(
        self, x: Float[Tensor, "sequences positions dim"]
    ) -> tuple[Float[Tensor, "sequences positions qkv"], Tensor | None]:
        """Queries, keys and values, one after the other; and what `_after` needs of the feedforward layer."""

    @abstractmethod
    def _after(
        self,
        x: Float[Tensor, "sequences positions dim"],
        mixed: Float[Tensor, "sequences positions inner"],
        hidden: Tensor | None,
    ) -> Float[Tensor, "sequences positions dim"]:
        """The block's output from its input, the mixed values, and what `_before` left."""

    def _activate(
        self, hidden: Float[Tensor, "sequences positions ff_in"]
    ) -> Float[Tensor, "sequences positions ff_dim"]:
        """GELU; or `ff_dim` channels, each gated by the GELU of another (GEGLU, Shazeer 2020, eq. 6)."""
        if self.form.feedforward == "gated":
            gate, value = hidden.chunk(2, dim=-1)
            return self.ff_dropout(functional.gelu(gate) * value)
        return self.ff_dropout(functional.gelu(hidden))


class ParallelBlock(TransformerBlock):
    """One norm, one fused input projection, one fused output projection.

    Source: Dehghani et al. 2023 (ViT-22B, eq. 1-2): y = x + W_out [attention(q, k, v), gelu(h)] with q, k, v and h from
    one projection of one norm.
    """

    def __init__(self, form: BlockForm, drop_path: float) -> None:
        super().__init__(form, drop_path)
        self.project_in = nn.Linear(form.dim, 3 * form.inner + form.ff_in)
        self.project_out = nn.Linear(form.inner + form.ff_dim, form.dim)

    def _before(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        qkv, hidden = self.project_in(self.norm(x)).split((3 * self.form.inner, self.form.ff_in), dim=-1)
        return qkv, hidden

    def _after(self, x: Tensor, mixed: Tensor, hidden: Tensor | None) -> Tensor:
        assert hidden is not None
        # The fused projection of both, without copying them into one tensor first.
        of_mixed, of_hidden = self.project_out.weight.split((self.form.inner, self.form.ff_dim), dim=1)
        projected = functional.linear(mixed, of_mixed, self.project_out.bias) + functional.linear(
            self._activate(hidden), of_hidden
        )
        return x + self.drop_path(projected)


class SerialBlock(TransformerBlock):
    """Attention, then feedforward, each behind a norm and with a residual of its own.

    Source: Vaswani et al. 2017, with the norms in front (Xiong et al. 2020).
    """

    def __init__(self, form: BlockForm, drop_path: float) -> None:
        super().__init__(form, drop_path)
        self.attention_in = nn.Linear(form.dim, 3 * form.inner)
        self.attention_out = nn.Linear(form.inner, form.dim)
        self.ff_norm = nn.LayerNorm(form.dim)
        self.ff_in = nn.Linear(form.dim, form.ff_in)
        self.ff_out = nn.Linear(form.ff_dim, form.dim)

    def _before(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.attention_in(self.norm(x)), None

    def _after(self, x: Tensor, mixed: Tensor, hidden: Tensor | None) -> Tensor:
        x = x + self.drop_path(self.attention_out(mixed))
        return x + self.drop_path(self.ff_out(self._activate(self.ff_in(self.ff_norm(x)))))
