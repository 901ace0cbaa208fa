"""Attention maps with the checks that make them believable, and gradient attribution beside them."""

from visioncore.lab.attention.checks import Check, KnownFields
from visioncore.lab.attention.find import attention_maps
from visioncore.lab.attention.result import AttentionMaps, Example
from visioncore.lab.attention.rollout import attention_of, has_attention, rollout

__all__ = [
    "AttentionMaps",
    "Check",
    "Example",
    "KnownFields",
    "attention_maps",
    "attention_of",
    "has_attention",
    "rollout",
]
