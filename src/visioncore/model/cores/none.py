"""No core: with the linear path alone the twin is the linear-nonlinear model that reviewers ask for."""

from typing import Literal

from visioncore.config import ComponentConfig


class NoCoreConfig(ComponentConfig):
    type: Literal["none"] = "none"

    @classmethod
    def tiny(cls) -> "NoCoreConfig":
        return cls()
