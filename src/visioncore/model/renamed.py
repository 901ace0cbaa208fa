"""Names of tensors in twin files of format 1, and what they are called now."""

import re

_NOW = (
    (re.compile(r"^core\.registers$"), "core.layers.0.registers"),
    (re.compile(r"^core\.spatial\."), "core.layers.0.blocks."),
    (re.compile(r"^core\.temporal\."), "core.layers.1.blocks."),
)


def renamed(name: str) -> str:
    """The name that a tensor of a twin's state dict has now; names that have not changed, and those of now, stay."""
    for then, now in _NOW:
        name = then.sub(now, name)
    return name
