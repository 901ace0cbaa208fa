"""AdamW with weight decay on matrices only, and a schedule that counts in steps."""

import math
from collections.abc import Callable

from torch import nn

NEVER_DECAYED = {
    "bias", "phase_bias", "registers", "position", "log_width", "angle", "log_scale", "shift"
}  # fmt: skip
"""Last names of parameters that are no weights, even where they are stored as a matrix."""


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict]:
    """Decayed and undecayed trainable parameters: the one place that decides."""
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        is_weight = parameter.ndim >= 2 and name.rpartition(".")[2] not in NEVER_DECAYED
        (decayed if is_weight else undecayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": undecayed, "weight_decay": 0.0},
    ]


def shortened_warmup(warmup_steps: int, max_steps: int) -> int:
    """At most a tenth of the run: a run shorter than its warm-up would never leave it."""
    return min(warmup_steps, max_steps // 10)


def warmup_cosine(warmup_steps: int, max_steps: int, final: float) -> Callable[[int], float]:
    """Factor of the learning rate at a step: linear up (never 0), then a cosine down to `final` at `max_steps`."""
    warmup = shortened_warmup(warmup_steps, max_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min((step - warmup) / max(max_steps - warmup, 1), 1.0)
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    return factor
