"""Nothing but normalised."""

from collections.abc import Sequence
from typing import Literal

from visioncore.model.adapters.base import Adapter, BaseAdapterConfig
from visioncore.spec import SessionSpec


class NoAdapterConfig(BaseAdapterConfig):
    """Normalise only."""

    type: Literal["none"] = "none"

    @classmethod
    def tiny(cls) -> "NoAdapterConfig":
        return cls()

    def build(self, sessions: Sequence[SessionSpec], behaviour_names: Sequence[str]) -> Adapter:
        return Adapter(sessions, behaviour_names)
