"""The transformer block: parallel attention and feedforward behind one norm, over places or causally over time.

Source: the parallel form of Dehghani et al. 2023 (ViT-22B, eq. 1-2): y = x + W_out [attention(q, k, v), gelu(h)] with
q, k, v and h from one projection of one norm.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from visioncore.model.layers.attention import banded_causal_mask, fused_attention, plain_attention
from visioncore.model.layers.drop_path import DropPath
from visioncore.model.layers.rope import Rotation, rotate, temporal_rotation
from visioncore.model.state import last_steps


class KeyValueCache(NamedTuple):
    """What temporal attention remembers: keys (not yet rotated) and values of the newest tokens."""

    key: Float[Tensor, "sequences tokens heads head_dim"]
    value: Float[Tensor, "sequences tokens heads head_dim"]


class ParallelBlock(nn.Module):
    """One norm, one fused input projection, one fused output projection."""

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        head_dim: int,
        ff_dim: int,
        mha_dropout: float,
        ff_dropout: float,
        drop_path: float,
        flash_attention: bool,
    ) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.ff_dim = num_heads, head_dim, ff_dim
        self.mha_dropout = mha_dropout
        self.flash_attention = flash_attention
        inner = num_heads * head_dim
        self.norm = nn.LayerNorm(dim)
        self.project_in = nn.Linear(dim, 3 * inner + ff_dim)
        self.project_out = nn.Linear(inner + ff_dim, dim)
        self.ff_dropout = nn.Dropout(ff_dropout)
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
        return self._merge(x, mixed, hidden)

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
        rotation = temporal_rotation(torch.arange(n_keys, device=x.device), self.head_dim)
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
        return self._merge(x, mixed, hidden), new_cache

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        inner = self.num_heads * self.head_dim
        *qkv, hidden = self.project_in(self.norm(x)).split((inner, inner, inner, self.ff_dim), dim=-1)
        query, key, value = (t.unflatten(-1, (self.num_heads, self.head_dim)) for t in qkv)
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
        dropout = self.mha_dropout if self.training else 0.0
        if self.flash_attention:
            mixed = fused_attention(query, key, value, mask=mask, causal=causal, dropout=dropout)
        else:
            mixed, map_ = plain_attention(query, key, value, mask=mask, causal=causal, dropout=dropout)
            if weights is not None:
                weights.append(map_)
        return mixed.transpose(1, 2).flatten(-2)

    def _merge(self, x: Tensor, mixed: Tensor, hidden: Tensor) -> Tensor:
        hidden = self.ff_dropout(functional.gelu(hidden))
        # The fused projection of (mixed, hidden), without copying them into one tensor first.
        of_mixed, of_hidden = self.project_out.weight.split((mixed.shape[-1], self.ff_dim), dim=1)
        projected = functional.linear(mixed, of_mixed, self.project_out.bias) + functional.linear(
            hidden, of_hidden
        )
        return x + self.drop_path(projected)


def _rotate_after(x: Tensor, n_unrotated: int, rotation: Rotation) -> Tensor:
    if n_unrotated == 0:
        return rotate(x, rotation)
    return torch.cat((x[:, :, :n_unrotated], rotate(x[:, :, n_unrotated:], rotation)), dim=2)
