"""The model: `Twin` and the parts it is made of. Layers know no config; each part's config stands beside it."""

from visioncore.model.twin import Clip, Twin, TwinConfig, TwinState

__all__ = ["Clip", "Twin", "TwinConfig", "TwinState"]
