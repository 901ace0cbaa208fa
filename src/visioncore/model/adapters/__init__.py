"""The adapters, a closed union by `type`: how a session's video is seen before the core sees it.

A new one is one file with its config, its module and `tiny()`, and one line here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.model.adapters.affine import AffineAdapterConfig
from visioncore.model.adapters.base import Adapter, BaseAdapterConfig
from visioncore.model.adapters.none import NoAdapterConfig
from visioncore.model.adapters.shift import ShiftAdapter, ShiftAdapterConfig

AdapterConfig = Annotated[
    NoAdapterConfig | AffineAdapterConfig | ShiftAdapterConfig, Field(discriminator="type")
]

__all__ = [
    "Adapter",
    "AdapterConfig",
    "AffineAdapterConfig",
    "BaseAdapterConfig",
    "NoAdapterConfig",
    "ShiftAdapter",
    "ShiftAdapterConfig",
]
