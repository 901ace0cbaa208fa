"""What can be wrong with a user's settings, data, files or training, each with its own exception.

A message says what was found, what was expected and what to do. The command line prints it without a traceback.
"""


class VisionCoreError(ValueError):
    """Base of every error that VisionCore raises about its input."""


class ConfigError(VisionCoreError):
    """A YAML file, a `--set` override or an argument does not describe a valid experiment."""


class DataError(VisionCoreError):
    """A recording or a session store is damaged, inconsistent or not what its config says."""


class CheckpointError(VisionCoreError):
    """A twin file or a run folder cannot be loaded as it stands."""


class TrainingError(VisionCoreError):
    """Training cannot go on; the last good checkpoint is on disk."""


class Stopped(SystemExit):
    """A signal has told the run to stop. All is saved, and the same command goes on: the exit code says so."""

    EXIT_CODE = 75
    """EX_TEMPFAIL of sysexits.h: try again."""

    def __init__(self) -> None:
        super().__init__(self.EXIT_CODE)
