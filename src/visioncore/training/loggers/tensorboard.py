"""Curves for TensorBoard, in `logs/tensorboard`."""

from typing import Any, Literal

from visioncore.run_folder import RunFolder
from visioncore.training.loggers.base import BaseLoggerConfig


class TensorBoardConfig(BaseLoggerConfig):
    """Shown by `tensorboard --logdir RUN/logs`."""

    type: Literal["tensorboard"] = "tensorboard"

    def build(self, folder: RunFolder, from_step: int) -> Any:
        from lightning.pytorch.loggers import TensorBoardLogger

        # TensorBoard then shows no step twice.
        return TensorBoardLogger(folder.logs, name="", version="tensorboard", purge_step=from_step)
