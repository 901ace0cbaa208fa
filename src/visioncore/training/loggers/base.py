"""What a logger is: where a run tells its numbers besides `logs/metrics.csv`, which every run writes."""

from abc import ABC, abstractmethod
from typing import Any

from visioncore.config import ComponentConfig
from visioncore.run_folder import RunFolder


class BaseLoggerConfig(ComponentConfig, ABC):
    """Base of the loggers' configs. Must provide `build`."""

    def require(self) -> None:
        """Refuse what cannot be used here, before anything is trained or written.

        Raises:
            ConfigError: a library is missing, with the extra that has it.
        """

    @abstractmethod
    def build(self, folder: RunFolder, from_step: int) -> Any:
        """A `lightning.pytorch.loggers.Logger` of the run in `folder`; what it writes there stands in `folder.logs`.

        Args:
            from_step: where the run goes on. What was logged of this step and later ones before it was killed comes
                again.

        Lightning is imported here and not with the file, as settings are read where nothing is trained.
        """
