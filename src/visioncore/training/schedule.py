"""The learning rate at each step, as a share of what the optimiser is set to."""

import math
from collections.abc import Callable
from typing import Literal


def shortened_warmup(warmup_steps: int, max_steps: int) -> int:
    """At most a tenth of the run: a run shorter than its warm-up would never leave it."""
    return min(warmup_steps, max_steps // 10)


def learning_rate_factor(
    schedule: Literal["cosine", "linear", "constant"], warmup_steps: int, max_steps: int, final: float
) -> Callable[[float], float]:
    """Factor of the learning rate at a step: linear up (never 0), then down to `final` at `max_steps`, or level."""
    warmup = shortened_warmup(warmup_steps, max_steps)

    def factor(step: float) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min((step - warmup) / max(max_steps - warmup, 1), 1.0)
        left = {"cosine": (1 + math.cos(math.pi * progress)) / 2, "linear": 1 - progress, "constant": 1.0}
        return final + (1 - final) * left[schedule]

    return factor
