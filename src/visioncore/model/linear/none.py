"""No linear path: all of the drive comes from the core."""

from typing import Literal

from visioncore.config import ComponentConfig


class NoLinearConfig(ComponentConfig):
    type: Literal["none"] = "none"
