"""The model: `Twin` and the parts it is made of. Layers know no config; each part's config stands beside it."""

from visioncore.model.ensemble import Ensemble
from visioncore.model.twin import InputClips, Twin, TwinConfig, TwinState

__all__ = ["Ensemble", "InputClips", "Twin", "TwinConfig", "TwinState"]
