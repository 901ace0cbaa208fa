"""A session store: the signals of one session on disk, named by their content, whatever they are used for.

SESSION/session.json           manifest: what is here, and digests of the rest
SESSION/zarr.json              a Zarr v3 group, so that other tools can read it
SESSION/video/...              one array per signal, and `video_moments`: mean and squared deviations of every frame

Which bins train and test, and every constant that is fitted, stand in the recording's plan (`plan.py`).
"""

import copy
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from visioncore.config import Config
from visioncore.data.manifest import read_manifest
from visioncore.data.stored_array import ArrayManifest, StoredArray, require_sha256
from visioncore.errors import DataError
from visioncore.recording import Alignment, Trial
from visioncore.remote import AnyPath
from visioncore.spec import Columns, Sampling, SessionSpec

MANIFEST_NAME = "session.json"
GROUP_NAME = "zarr.json"


class SessionManifest(Config):
    """Everything about a stored session but its signals."""

    fingerprint: str
    sampling: Sampling
    spec: SessionSpec
    """Without constants."""
    n_bins: int
    trials: tuple[Trial, ...]
    trial_columns: Columns = Field(default_factory=dict)
    unit_truth: Columns = Field(default_factory=dict)
    alignment: Alignment | None = None
    arrays: dict[str, ArrayManifest]
    group_sha256: str


class SessionSignals:
    """A session store, opened read-only.

    Opening checks the manifest, all metadata and the presence and size of every chunk; the content of a chunk is
    checked against its checksum whenever it is read.

    Raises:
        DataError: the store is missing or damaged.
    """

    def __init__(self, folder: AnyPath) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder / MANIFEST_NAME, SessionManifest, "session store")
        self.spec, self.n_bins = self.manifest.spec, self.manifest.n_bins
        where = f"session '{self.spec.id}'"
        require_sha256(folder / GROUP_NAME, self.manifest.group_sha256, f"{where} ({folder.name})")
        self.arrays = {
            name: StoredArray(folder / name, array, f"{where}, {name}")
            for name, array in self.manifest.arrays.items()
        }
        for name in ("video", "video_moments", "valid", *(("responses",) if self.spec.unit_ids else ())):
            if name not in self.arrays:
                raise DataError(f"{folder}: holds no {name}; delete it and prepare again")

    def with_units(self, unit_ids: Sequence[str]) -> "SessionSignals":
        """The session as if it had these of its units alone, in this order; `manifest` is still of all."""
        place = {unit: i for i, unit in enumerate(self.spec.unit_ids)}
        other = copy.copy(self)
        other.spec = self.spec.with_units(unit_ids)
        places = np.array([place[unit] for unit in unit_ids], np.int64)
        # What is valid for all units alike has one column.
        other.arrays = {
            name: array.columns(places)
            if name in ("responses", "valid", "rates") and array.shape[1] == len(place)
            else array
            for name, array in self.arrays.items()
        }
        return other

    @property
    def nbytes(self) -> int:
        """Bytes of all signals in memory."""
        return sum(array.nbytes for array in self.arrays.values())

    def load_into_memory(self) -> None:
        """Read every signal once; later reads copy from memory."""
        for array in self.arrays.values():
            array.load_into_memory()
