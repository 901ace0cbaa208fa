"""No core: with the linear path alone the twin is the linear-nonlinear model that reviewers ask for."""

from typing import Literal

from visioncore.model.cores.base import BaseCoreConfig
from visioncore.shapes import VideoShape


class NoCoreConfig(BaseCoreConfig):
    type: Literal["none"] = "none"

    @classmethod
    def tiny(cls) -> "NoCoreConfig":
        return cls()

    def build(self, video: VideoShape) -> None:
        return None
