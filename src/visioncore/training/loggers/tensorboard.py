"""Curves for TensorBoard, in `logs/tensorboard`."""

from typing import Any, Literal

from visioncore.run_folder import RunFolder
from visioncore.training.loggers.base import BaseLoggerConfig


class TensorBoardConfig(BaseLoggerConfig):
    """Shown by `tensorboard --logdir RUN/logs`."""

    type: Literal["tensorboard"] = "tensorboard"

    def build(self, folder: RunFolder) -> Any:
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(folder.logs, name="", version="tensorboard")
