"""Names of tensors in twin files of before, and what they are called now."""

import re

_NOW = (
    # Format 1 of before 2026-11: ViViT had two stages.
    (re.compile(r"^core\.registers$"), "core.layers.0.registers"),
    (re.compile(r"^core\.spatial\."), "core.layers.0.blocks."),
    (re.compile(r"^core\.temporal\."), "core.layers.1.blocks."),
    # Until 2026-11: the twin held all parts side by side.
    (re.compile(r"^(adapter|core|modulator)\."), r"trunk.\1."),
    (re.compile(r"^(readout|linear|output)s\.(\d+)\."), r"heads.sessions.\2.\1."),
)


def renamed(name: str) -> str:
    """The name that a tensor of a twin's state dict has now; names that have not changed, and those of now, stay."""
    for then, now in _NOW:
        name = then.sub(now, name)
    return name
