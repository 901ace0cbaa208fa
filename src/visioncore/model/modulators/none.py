"""No modulator: behaviour is not used."""

from typing import Literal

from visioncore.model.modulators.base import BaseModulatorConfig
from visioncore.shapes import FeatureShape


class NoModulatorConfig(BaseModulatorConfig):
    """Behaviour is not used."""

    type: Literal["none"] = "none"

    @classmethod
    def tiny(cls) -> "NoModulatorConfig":
        return cls()

    def build(self, features: FeatureShape, n_behaviours: int) -> None:
        return None
