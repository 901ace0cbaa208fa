"""Scaled dot-product attention: PyTorch's fused kernels, and a plain path that can return its weights."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


def fused_attention(
    query: Float[Tensor, "batch heads queries head_dim"],
    key: Float[Tensor, "batch heads keys head_dim"],
    value: Float[Tensor, "batch heads keys head_dim"],
    *,
    mask: Bool[Tensor, "queries keys"] | None,
    causal: bool,
    dropout: float,
) -> Float[Tensor, "batch heads queries head_dim"]:
    """Attention through `scaled_dot_product_attention`, which selects FlashAttention-2 where the hardware has it.

    `dropout` must already be 0 in evaluation: the function drops whenever it is told to. `causal` is for queries and
    keys of equal length only; anything else comes as a mask (True = may look).
    """
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal
    )


def plain_attention(
    query: Float[Tensor, "batch heads queries head_dim"],
    key: Float[Tensor, "batch heads keys head_dim"],
    value: Float[Tensor, "batch heads keys head_dim"],
    *,
    mask: Bool[Tensor, "queries keys"] | None,
    causal: bool,
    dropout: float,
) -> tuple[Float[Tensor, "batch heads queries head_dim"], Float[Tensor, "batch heads queries keys"]]:
    """The same in the open: also returns the weights, before dropout."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if causal:
        n = query.shape[-2]
        mask = torch.ones(n, n, dtype=torch.bool, device=query.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.float().softmax(dim=-1).to(value.dtype)
    return functional.dropout(weights, dropout) @ value, weights


def banded_causal_mask(
    n_queries: int, n_keys: int, window: int, device: torch.device
) -> Bool[Tensor, "queries keys"]:
    """Which of the `n_keys` newest steps each of the `n_queries` newest may see: itself and the `window` - 1 before."""
    query = torch.arange(n_keys - n_queries, n_keys, device=device)[:, None]
    key = torch.arange(n_keys, device=device)[None, :]
    return (key <= query) & (key > query - window)
