"""Curves for Weights & Biases, whose package is not installed with VisionCore."""

from importlib.util import find_spec
from typing import Any, Literal

from visioncore.errors import ConfigError
from visioncore.run_folder import RunFolder
from visioncore.training.loggers.base import BaseLoggerConfig


class WandbConfig(BaseLoggerConfig):
    """A run of a project; a run that is resumed goes on under its name."""

    type: Literal["wandb"] = "wandb"
    project: str
    offline: bool = False
    """Write to `logs/wandb` alone, to be sent later with `wandb sync`."""

    def build(self, folder: RunFolder) -> Any:
        if find_spec("wandb") is None:
            raise ConfigError(
                "training.loggers asks for 'wandb', and its package is not installed; install it with pip install "
                "wandb, or leave the logger out"
            )
        from lightning.pytorch.loggers import WandbLogger

        folder.logs.mkdir(parents=True, exist_ok=True)
        name = folder.path.resolve().name
        return WandbLogger(
            name=name,
            id=name,
            project=self.project,
            offline=self.offline,
            save_dir=folder.logs,
            resume="allow",
        )
