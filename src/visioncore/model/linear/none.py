"""No linear path: all of the drive comes from the core."""

from typing import Literal

from visioncore.model.linear.base import BaseLinearConfig
from visioncore.shapes import VideoShape


class NoLinearConfig(BaseLinearConfig):
    type: Literal["none"] = "none"

    @classmethod
    def tiny(cls) -> "NoLinearConfig":
        return cls()

    def build(self, video: VideoShape, n_units: int, sampling_rate_hz: float) -> None:
        return None
