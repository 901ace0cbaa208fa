"""Transformer blocks: attention over places or causally over time, and a feedforward layer, side by side or in turn."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from visioncore.model.layers.attention import banded_causal_mask, fused_attention, plain_attention
from visioncore.model.layers.drop_path import DropPath
from visioncore.model.layers.rope import Rotation, rotate, temporal_rotation
from visioncore.model.state import last_steps

FeedForward = Literal["gelu", "gated"]


class KeyValueCache(NamedTuple):
    """What temporal attention remembers: keys (not yet rotated) and values of the newest tokens."""

    key: Float[Tensor, "sequences tokens heads head_dim"]
    value: Float[Tensor, "sequences tokens heads head_dim"]


@dataclass(frozen=True)
class BlockForm:
    """What the blocks of one stack have in common."""

    dim: int
    num_heads: int
    head_dim: int
    ff_dim: int
    feedforward: FeedForward
    mha_dropout: float
    ff_dropout: float
    flash_attention: bool

    @property
    def inner(self) -> int:
        """Width of all heads together."""
        return self.num_heads * self.head_dim

    @property
    def ff_in(self) -> int:
        """Width of what the feedforward layer's activation takes."""
        return 2 * self.ff_dim if self.feedforward == "gated" else self.ff_dim


class Block(nn.Module, ABC):
    """Base of the blocks: how attention runs. Must provide what comes before it (`_before`) and after (`_after`)."""

    def __init__(self, form: BlockForm, drop_path: float) -> None:
        super().__init__()
        self.form = form
        self.flash_attention = form.flash_attention
        self.norm = nn.LayerNorm(form.dim)
        self.ff_dropout = nn.Dropout(form.ff_dropout)
        self.drop_path = DropPath(drop_path)

    def over_places(
        self,
        x: Float[Tensor, "sequences places dim"],
        rotation: Rotation,
        weights: list[Tensor] | None = None,
    ) -> Float[Tensor, "sequences places dim"]:
        """Every place sees every place. Leading places without a rotation (register tokens) stay un-rotated.

        Args:
            weights: where given, the attention weights are appended to it (plain attention only).
        """
        query, key, value, hidden = self._project(x)
        n_registers = x.shape[1] - len(rotation)
        query, key = (
            _rotate_after(q, n_registers, rotation) for q in (query.transpose(1, 2), key.transpose(1, 2))
        )
        mixed = self._attend(query, key, value.transpose(1, 2), None, False, weights)
        return self._after(x, mixed, hidden)

    def over_time(
        self,
        cache: KeyValueCache | None,
        x: Float[Tensor, "sequences tokens dim"],
        window: int,
        weights: list[Tensor] | None = None,
    ) -> tuple[Float[Tensor, "sequences tokens dim"], KeyValueCache]:
        """Every token sees itself and the `window` - 1 tokens before it, across chunks.

        Positions count from the oldest token at hand, so the same history gives the same angles at any hour.
        """
        query, key, value, hidden = self._project(x)
        if cache is not None:
            key = torch.cat((cache.key, key), dim=1)
            value = torch.cat((cache.value, value), dim=1)
        new_cache = KeyValueCache(last_steps(key, window - 1), last_steps(value, window - 1))

        n_queries, n_keys = query.shape[1], key.shape[1]
        rotation = temporal_rotation(torch.arange(n_keys, device=x.device), self.form.head_dim)
        causal = n_queries == n_keys <= window and n_queries > 1
        sees_all = n_queries == 1 and n_keys <= window
        mask = None if causal or sees_all else banded_causal_mask(n_queries, n_keys, window, x.device)
        mixed = self._attend(
            rotate(query.transpose(1, 2), rotation[n_keys - n_queries :]),
            rotate(key.transpose(1, 2), rotation),
            value.transpose(1, 2),
            mask,
            causal,
            weights,
        )
        return self._after(x, mixed, hidden), new_cache

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

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        qkv, hidden = self._before(x)
        query, key, value = (
            t.unflatten(-1, (self.form.num_heads, self.form.head_dim)) for t in qkv.chunk(3, dim=-1)
        )
        return query, key, value, hidden

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        causal: bool,
        weights: list[Tensor] | None,
    ) -> Tensor:
        dropout = self.form.mha_dropout if self.training else 0.0
        if self.flash_attention:
            mixed = fused_attention(query, key, value, mask=mask, causal=causal, dropout=dropout)
        else:
            mixed, map_ = plain_attention(query, key, value, mask=mask, causal=causal, dropout=dropout)
            if weights is not None:
                weights.append(map_)
        return mixed.transpose(1, 2).flatten(-2)


class ParallelBlock(Block):
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


class SerialBlock(Block):
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


def _rotate_after(x: Tensor, n_unrotated: int, rotation: Rotation) -> Tensor:
    if n_unrotated == 0:
        return rotate(x, rotation)
    return torch.cat((x[:, :, :n_unrotated], rotate(x[:, :, n_unrotated:], rotation)), dim=2)
