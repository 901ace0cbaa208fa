"""The loggers, a closed union by `type`.

A new one is one file with its config, and one line here.
"""

from visioncore.training.loggers.base import BaseLoggerConfig
from visioncore.training.loggers.tensorboard import TensorBoardConfig

LoggerConfig = TensorBoardConfig
"""A union by `type` as soon as there are two: `Annotated[A | B, Field(discriminator="type")]`."""

__all__ = ["BaseLoggerConfig", "LoggerConfig", "TensorBoardConfig"]
