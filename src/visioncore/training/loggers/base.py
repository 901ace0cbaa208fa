"""What a logger is: where a run tells its numbers besides `logs/metrics.csv`, which every run writes."""

from abc import ABC, abstractmethod
from typing import Any

from visioncore.config import ComponentConfig
from visioncore.run_folder import RunFolder


class BaseLoggerConfig(ComponentConfig, ABC):
    """Base of the loggers' configs. Must provide `build`."""

    @abstractmethod
    def build(self, folder: RunFolder) -> Any:
        """A `lightning.pytorch.loggers.Logger` of the run in `folder`; what it writes there stands in `folder.logs`.

        Lightning is imported here and not with the file, as settings are read where nothing is trained.
        """
