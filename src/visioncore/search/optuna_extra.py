"""Optuna, which is an extra."""

import logging
import warnings
from typing import Any

from visioncore.errors import ConfigError


def require_optuna() -> Any:
    """Optuna, imported where it is used, and silent.

    Raises:
        ConfigError: it is not installed, with the extra that has it.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError("a search needs Optuna: pip install 'visioncore[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("optuna").propagate = False
    # Of what we chose knowingly: the grouped sampler, the journal.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna
