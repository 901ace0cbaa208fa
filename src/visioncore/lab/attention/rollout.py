"""Attention of a ViViT twin as its units see it: what each block and head looks at, and rollout through all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from visioncore.lab.gradients import Moments
from visioncore.model import Twin
from visioncore.model.cores.vivit import ViViT
from visioncore.model.layers.attention import CausalWindow, recorded_weights
from visioncore.model.twin import evaluating


@dataclass(frozen=True)
class BlockAttention:
    """Weights of one transformer block, of one moment; each row sums to one."""

    over: Literal["space", "time"]
    weights: Float[Tensor, "..."]
    """Space: (tokens, heads, positions, positions), registers first. Time: (places, heads, tokens, tokens)."""
    registers: int = 0

    @property
    def heads(self) -> int:
        """How many heads it has."""
        return self.weights.shape[1]


def has_attention(predictor: object) -> bool:
    """Whether it is a twin whose core attends."""
    if not isinstance(predictor, Twin) or not isinstance(predictor.trunk.core, ViViT):
        return False
    return any(entry.depth() > 0 for entry in predictor.trunk.core.config.grid_layers())


def attention_of(twin: Twin, moments: Moments) -> list[list[BlockAttention]]:
    """Of each moment, the blocks in the order in which tokens pass them; the video is seen from its start.

    The last token is the newest that is complete at the moment's bin.
    """
    core = twin.trunk.core
    assert core is not None
    places = core.out_shape.rows * core.out_shape.columns
    video = torch.from_numpy(np.ascontiguousarray(moments.video)).to(twin.device).transpose(1, 2)
    behaviour = None
    if moments.behaviour is not None:
        behaviour = torch.from_numpy(np.ascontiguousarray(moments.behaviour, np.float32)).to(twin.device)
    with torch.no_grad(), evaluating(twin), recorded_weights(core) as recorded:
        twin.trunk.advance(None, twin.trunk.look(video, behaviour, moments.session))
    found: list[list[BlockAttention]] = [[] for _ in range(len(moments))]
    for attention, weights in recorded:
        over: Literal["space", "time"] = "time" if isinstance(attention.pattern, CausalWindow) else "space"
        each = weights.float().unflatten(0, (len(moments), -1))
        for own, mine in zip(found, each, strict=True):
            own.append(BlockAttention(over, mine, mine.shape[-1] - places if over == "space" else 0))
    return found


def rollout(
    blocks: Sequence[BlockAttention], masks: Float[Tensor, "units places"], residual: float = 0.5
) -> Float[Tensor, "units tokens places"]:
    """How much of each token, at each time and place, reaches what units read at the newest time.

    Each block passes on the mean of its heads' attention, and in the share `residual` its own input. What registers
    take is of no place, so units' sums may be below one.

    Source: Abnar & Zuidema 2020, eq. 1; here between attention over places and over time.

    Args:
        masks: how each unit's readout weighs places.
        residual: 0 for attention alone.
    """
    n_tokens = next(
        (b.weights.shape[-1] if b.over == "time" else len(b.weights) for b in reversed(blocks)), 1
    )
    reaching = masks.new_zeros(len(masks), n_tokens, masks.shape[1])
    reaching[:, -1] = masks
    registers = 0
    for block in reversed(blocks):
        mean = block.weights.mean(1)
        mixed = residual * torch.eye(mean.shape[-1], device=mean.device) + (1 - residual) * mean
        if block.over == "time":
            reaching, registers = reaching[..., registers:], 0
            reaching = torch.einsum("utp,pts->usp", reaching, mixed)
            continue
        if block.registers != registers:
            # A layer begins behind this one: registers of another are put in there, and none are carried over.
            places = reaching[..., registers:]
            nothing = places.new_zeros(*places.shape[:2], block.registers)
            reaching, registers = torch.cat((nothing, places), dim=-1), block.registers
        reaching = torch.einsum("utp,tpq->utq", reaching, mixed)
    return reaching[..., registers:]


def head_maps(
    block: BlockAttention, masks: Float[Tensor, "units places"]
) -> Float[Tensor, "units heads positions"]:
    """What each head of a block looks at from where units read, at the newest time: places, or tokens of the past."""
    if block.over == "space":
        return torch.einsum("up,hpq->uhq", masks, block.weights[-1][:, block.registers :, block.registers :])
    return torch.einsum("up,pht->uht", masks, block.weights[:, :, -1])


def randomised(twin: Twin, seed: int) -> Twin:
    """The twin with a core of fresh weights; its readouts look where they did.

    Source: Adebayo et al. 2018 (an explanation that does not change with the weights explains nothing of them).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        other = twin.config.build(twin.spec).to(twin.device)
    fresh = {
        name: tensor.clone() for name, tensor in other.state_dict().items() if name.startswith("trunk.core.")
    }
    other.load_state_dict({**twin.state_dict(), **fresh})
    return other
