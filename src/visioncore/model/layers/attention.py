"""Scaled dot-product attention: who sees whom is its pattern, how it is computed its kernel."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

Kernel = Literal["fused", "plain"]


class Mask(NamedTuple):
    """Who may see whom, of these queries and keys: everyone, unless a field says otherwise."""

    seen: Bool[Tensor, "queries keys"] | None = None
    """True where a query may look at a key."""
    causal: bool = False
    """Each query sees the keys up to its own, of which there are as many: kernels know this without a tensor."""


class Pattern(ABC):
    """Base of the patterns: who sees whom. Must provide `mask`."""

    @abstractmethod
    def mask(self, n_queries: int, n_keys: int, device: torch.device) -> Mask:
        """For the newest `n_queries` of `n_keys` positions."""


@dataclass(frozen=True)
class Everywhere(Pattern):
    """Every position sees every position."""

    def mask(self, n_queries: int, n_keys: int, device: torch.device) -> Mask:
        return Mask()


@dataclass(frozen=True)
class CausalWindow(Pattern):
    """Every position sees itself and the `window` - 1 before it."""

    window: int

    def mask(self, n_queries: int, n_keys: int, device: torch.device) -> Mask:
        if n_queries == 1 and n_keys <= self.window:
            return Mask()
        if n_queries == n_keys <= self.window:
            return Mask(causal=True)
        query = torch.arange(n_keys - n_queries, n_keys, device=device)[:, None]
        key = torch.arange(n_keys, device=device)[None, :]
        return Mask(seen=(key <= query) & (key > query - self.window))


class Attention(nn.Module):
    """Attention of one pattern through one kernel. Learns nothing: what it mixes is projected elsewhere.

    The fused kernel is PyTorch's `scaled_dot_product_attention`, which selects FlashAttention-2 where the hardware
    has it; the plain one does the same in the open.
    """

    def __init__(self, pattern: Pattern, kernel: Kernel, dropout: float) -> None:
        super().__init__()
        self.pattern, self.kernel, self.dropout = pattern, kernel, dropout

    def forward(
        self,
        query: Float[Tensor, "batch heads queries head_dim"],
        key: Float[Tensor, "batch heads keys head_dim"],
        value: Float[Tensor, "batch heads keys head_dim"],
    ) -> Float[Tensor, "batch heads queries head_dim"]:
        """What each query sees of the values."""
        dropout = self.dropout if self.training else 0.0
        if self.kernel == "plain":
            return functional.dropout(self.weights(query, key), dropout) @ value
        mask = self._mask(query, key)
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask.seen, dropout_p=dropout, is_causal=mask.causal
        )

    def weights(
        self,
        query: Float[Tensor, "batch heads queries head_dim"],
        key: Float[Tensor, "batch heads keys head_dim"],
    ) -> Float[Tensor, "batch heads queries keys"]:
        """How much each query takes from each key, before dropout; sums to one over keys."""
        mask = self._mask(query, key)
        seen = mask.seen
        if mask.causal:
            n = query.shape[-2]
            seen = torch.ones(n, n, dtype=torch.bool, device=query.device).tril()
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if seen is not None:
            scores = scores.masked_fill(~seen, float("-inf"))
        return scores.float().softmax(dim=-1).to(query.dtype)

    def _mask(self, query: Tensor, key: Tensor) -> Mask:
        return self.pattern.mask(query.shape[-2], key.shape[-2], query.device)


@contextmanager
def recorded_weights(module: nn.Module) -> Iterator[list[tuple[Attention, Tensor]]]:
    """While it lasts, every attention inside `module` leaves its weights here, in the order in which they run."""
    found: list[tuple[Attention, Tensor]] = []

    def record(attention: nn.Module, inputs: tuple[Any, ...], _: Any) -> None:
        assert isinstance(attention, Attention)
        query, key, _value = inputs
        found.append((attention, attention.weights(query, key)))

    hooks = [part.register_forward_hook(record) for part in module.modules() if isinstance(part, Attention)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
