"""Where a run's weights start: fresh, with another twin's core, or on another twin's trunk (`transfer.py`)."""

from pathlib import Path

from visioncore.checkpoint import load_pretrained_core
from visioncore.data import RecordingStore
from visioncore.model import Twin, TwinConfig
from visioncore.provenance import Provenance


class Start:
    """Fresh weights, and of `pretrained_core` those of the core."""

    def __init__(self, pretrained_core: str | None = None) -> None:
        self._pretrained_core = pretrained_core

    @property
    def made_from(self) -> str | None:
        """The digest of the twin that the run cannot do without when it goes on."""
        return None

    def fitting(self, store: RecordingStore) -> RecordingStore:
        """The recording as it is trained on."""
        return store

    def begin(self, model: TwinConfig, store: RecordingStore) -> Twin:
        """The twin that is trained."""
        return model.build(store.spec)

    def settle(self, twin: Twin) -> None:
        """What is set once, after the estimates and before the first step."""
        if self._pretrained_core is not None:
            load_pretrained_core(twin, Path(self._pretrained_core))

    def finished(self, twin: Twin) -> Twin:
        """What is kept of a trained twin."""
        return twin

    def provenance(self, own: Provenance) -> Provenance:
        """How it was made: `own`, as the training says, and where it started."""
        return own
