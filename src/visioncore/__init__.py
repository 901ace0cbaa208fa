"""VisionCore: digital twins of visual neurons. What it exports is imported on first use, so that `import` is quick."""

from typing import TYPE_CHECKING, Any

from visioncore.errors import CheckpointError, ConfigError, DataError, TrainingError, VisionCoreError

if TYPE_CHECKING:
    from visioncore.checkpoint import load_predictor, load_twin, save_ensemble, save_twin
    from visioncore.data.in_memory import prepare_arrays
    from visioncore.model import Ensemble, Twin, TwinConfig

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Ensemble",
    "TrainingError",
    "Twin",
    "TwinConfig",
    "VisionCoreError",
    "load_predictor",
    "load_twin",
    "prepare_arrays",
    "save_ensemble",
    "save_twin",
]

_HOMES = {
    "load_predictor": "visioncore.checkpoint",
    "load_twin": "visioncore.checkpoint",
    "prepare_arrays": "visioncore.data.in_memory",
    "save_ensemble": "visioncore.checkpoint",
    "save_twin": "visioncore.checkpoint",
    "Ensemble": "visioncore.model",
    "Twin": "visioncore.model",
    "TwinConfig": "visioncore.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'visioncore' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
