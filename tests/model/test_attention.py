"""Attention as a module: who sees whom, through which kernel, and with which weights."""

import pytest
import torch
from torch import Tensor, nn

from visioncore.model.layers.attention import (
    Attention,
    CausalWindow,
    Everywhere,
    Pattern,
    recorded_weights,
)

CPU = torch.device("cpu")


def seen_by(pattern: Pattern, n_queries: int, n_keys: int) -> Tensor:
    """The mask, whichever way it is said."""
    mask = pattern.mask(n_queries, n_keys, CPU)
    if mask.causal:
        assert n_queries == n_keys
        return torch.ones(n_queries, n_keys, dtype=torch.bool).tril()
    return torch.ones(n_queries, n_keys, dtype=torch.bool) if mask.seen is None else mask.seen


def heads(n: int, seed: int) -> Tensor:
    return torch.randn(2, 3, n, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("window", [1, 3, 7, 50])
def test_a_causal_window_shows_a_step_and_those_just_before_it_in_chunks_of_any_length(window: int) -> None:
    for n_keys in range(1, 9):
        step = torch.arange(n_keys)
        before = step[:, None] - step[None]
        whole = (before >= 0) & (before < window)
        for n_queries in range(1, n_keys + 1):
            assert torch.equal(seen_by(CausalWindow(window), n_queries, n_keys), whole[n_keys - n_queries :])


@pytest.mark.parametrize("pattern", [Everywhere(), CausalWindow(3), CausalWindow(64)], ids=str)
@pytest.mark.parametrize(("n_queries", "n_keys"), [(6, 6), (2, 6), (1, 2), (1, 6)])
def test_both_kernels_give_what_the_weights_say(pattern: Pattern, n_queries: int, n_keys: int) -> None:
    query, key, value = heads(n_queries, 0), heads(n_keys, 1), heads(n_keys, 2)
    fused = Attention(pattern, "fused", 0.0)
    expected = fused.weights(query, key) @ value
    torch.testing.assert_close(fused(query, key, value), expected)
    torch.testing.assert_close(Attention(pattern, "plain", 0.0)(query, key, value), expected)
    assert ((fused.weights(query, key) > 0) == seen_by(pattern, n_queries, n_keys)).all()


@pytest.mark.parametrize("kernel", ["fused", "plain"])
def test_dropout_acts_in_training_only_and_never_on_the_weights(kernel: str) -> None:
    attention = Attention(Everywhere(), kernel, 0.5)  # type: ignore[arg-type]
    parts = heads(6, 0), heads(6, 1), heads(6, 2)
    assert not torch.equal(attention.train()(*parts), attention(*parts))
    weights = attention.weights(*parts[:2])
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 6))
    torch.testing.assert_close(attention.eval()(*parts), weights @ parts[2])


def test_weights_are_recorded_in_order_and_only_while_asked_for() -> None:
    first, second = Attention(Everywhere(), "plain", 0.0), Attention(CausalWindow(2), "plain", 0.0)
    module = nn.ModuleList([second, first])
    query, key, value = heads(5, 0), heads(5, 1), heads(5, 2)
    with recorded_weights(module) as recorded:
        for attention in (first, second, first):
            attention(query, key, value)
    assert [attention for attention, _ in recorded] == [first, second, first]
    for attention, weights in recorded:
        assert torch.equal(weights, attention.weights(query, key))
    first(query, key, value)
    assert len(recorded) == 3
