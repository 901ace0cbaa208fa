"""The loggers, a closed union by `type`.

A new one is one file with its config, and one line here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.training.loggers.base import BaseLoggerConfig
from visioncore.training.loggers.tensorboard import TensorBoardConfig

LoggerConfig = Annotated[TensorBoardConfig, Field(discriminator="type")]

__all__ = ["BaseLoggerConfig", "LoggerConfig", "TensorBoardConfig"]
