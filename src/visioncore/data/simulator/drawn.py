"""What the simulators' configs have in common: ranges to draw from, and a digest of all that decides the outcome."""

import hashlib
import json
from typing import Self

from pydantic import model_validator

from visioncore.config import Config, dump_config


class DrawnConfig(Config):
    """Every pair of numbers is a range that cells, or sessions, draw from; ranges ascend."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and isinstance(value[0], float) and value[0] > value[1]:
                low, high = value
                raise ValueError(f"{name} must ascend, got {low} to {high}")
        return self


def simulation_fingerprint(config: Config, version: int, **pictures: str) -> str:
    """Digest of the parameters, the generator's version and the pictures it draws on."""
    content = {"version": version, "config": dump_config(config), **pictures}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
