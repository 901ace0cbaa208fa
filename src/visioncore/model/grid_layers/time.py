"""Causal attention over time, at each place by itself.

Source: Arnab et al. 2021, the temporal half of model 2 (factorised encoder), made causal and kept on its grid.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from jaxtyping import Float
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from visioncore.model.grid_layers.base import BaseGridLayerConfig, GridLayer
from visioncore.model.layers.attention import CausalWindow
from visioncore.model.layers.block import BlockForm, TransformerBlock
from visioncore.model.layers.rope import rotate, temporal_rotation
from visioncore.model.stage import Stage, count
from visioncore.model.state import last_steps
from visioncore.shapes import FeatureShape


class TimeLayerConfig(BaseGridLayerConfig):
    type: Literal["time"] = "time"
    blocks: NonNegativeInt = 1
    window: PositiveInt = 128
    """Tokens that one block sees, the newest included; bounds memory on long videos."""

    @classmethod
    def tiny(cls) -> "TimeLayerConfig":
        return cls(blocks=2, window=4)

    def depth(self) -> int:
        return self.blocks

    def build(self, tokens: FeatureShape, form: BlockForm) -> "TimeLayer":
        return TimeLayer(self, tokens, form)


class KeyValueCache(NamedTuple):
    """What one block remembers: keys (not yet rotated) and values of the newest tokens."""

    key: Float[Tensor, "sequences tokens heads head_dim"]
    value: Float[Tensor, "sequences tokens heads head_dim"]


class TimeLayer(GridLayer[tuple[KeyValueCache, ...]]):
    """Every token sees itself and the `window` - 1 before it at its own place, across chunks."""

    def __init__(self, config: TimeLayerConfig, tokens: FeatureShape, form: BlockForm) -> None:
        super().__init__(tokens)
        self.form = form
        self.window = config.window
        self.attention = form.attention(CausalWindow(config.window))
        self.blocks = cast("Sequence[TransformerBlock]", nn.ModuleList(form.blocks()))

    def advance(
        self,
        state: tuple[KeyValueCache, ...] | None,
        tokens: Float[Tensor, "batch tokens rows columns dim"],
    ) -> tuple[Float[Tensor, "batch tokens rows columns dim"], tuple[KeyValueCache, ...]]:
        places = tokens.permute(0, 2, 3, 1, 4)
        x = places.flatten(0, 2)
        caches = []
        for block, old in zip(self.blocks, state or (None,) * len(self.blocks), strict=True):
            x, cache = self.form.run(self._step, block, old, x)
            caches.append(cache)
        return x.unflatten(0, places.shape[:3]).permute(0, 3, 1, 2, 4), tuple(caches)

    def history_tokens(self) -> int:
        return len(self.blocks) * (self.window - 1)

    def span_tokens(self, n_tokens: int) -> int:
        return min(n_tokens, self.window)

    def stage(self, n_tokens: int) -> Stage:
        places = self.out_shape.rows * self.out_shape.columns
        return Stage(
            f"temporal transformer, causal, attention over {self.span_tokens(n_tokens)}",
            f"(B·{places}, {n_tokens}, {self.out_shape.channels})",
            count(self),
        )

    def _step(
        self, block: TransformerBlock, cache: KeyValueCache | None, x: Float[Tensor, "sequences tokens dim"]
    ) -> tuple[Float[Tensor, "sequences tokens dim"], KeyValueCache]:
        """Positions count from the oldest token in the cache, so the same history gives the same angles at any time."""
        query, key, value, hidden = block.project(x)
        if cache is not None:
            key = torch.cat((cache.key, key), dim=1)
            value = torch.cat((cache.value, value), dim=1)
        new = KeyValueCache(last_steps(key, self.window - 1), last_steps(value, self.window - 1))
        n_queries, n_keys = query.shape[1], key.shape[1]
        rotation = temporal_rotation(torch.arange(n_keys, device=x.device), self.form.head_dim)
        mixed = self.attention(
            rotate(query.transpose(1, 2), rotation[n_keys - n_queries :]),
            rotate(key.transpose(1, 2), rotation),
            value.transpose(1, 2),
        )
        return block.combine(x, mixed, hidden), new
