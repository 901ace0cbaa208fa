"""A stage of the way through a twin, as `describe` shows it."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Stage:
    """One stage of the way through, with B for the batch."""

    stage: str
    shape: str
    parameters: int


def shape_text(*sizes: int) -> str:
    """The shape of what each clip of a batch gives."""
    return f"(B, {', '.join(str(n) for n in sizes)})"


def count(module: nn.Module) -> int:
    """Of its parameters."""
    return sum(p.numel() for p in module.parameters())
