"""The loggers, a closed union by `type`.

A new one is one file with its config, and one line here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.training.loggers.base import BaseLoggerConfig
from visioncore.training.loggers.table import CsvConfig
from visioncore.training.loggers.tensorboard import TensorBoardConfig
from visioncore.training.loggers.wandb import WandbConfig

LoggerConfig = Annotated[TensorBoardConfig | CsvConfig | WandbConfig, Field(discriminator="type")]

__all__ = ["BaseLoggerConfig", "CsvConfig", "LoggerConfig", "TensorBoardConfig", "WandbConfig"]
