"""No core: with the linear path alone the twin is the linear-nonlinear model that reviewers ask for."""

from typing import Literal, Self

from visioncore.config import ComponentConfig


class NoCoreConfig(ComponentConfig):
    type: Literal["none"] = "none"

    @classmethod
    def tiny(cls) -> Self:
        return cls()
