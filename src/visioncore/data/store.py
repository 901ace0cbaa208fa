"""The session store: a prepared recording on disk, verified when opened and read a few bins at a time.

STORE/store.json                   manifest: what is here, how it was made, and digests of the rest
STORE/zarr.json                    a Zarr v3 group, so that other tools can read it
STORE/session_000/video/...        one group per session, one array per signal
"""

import copy
import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Shaped
from pydantic import JsonValue, ValidationError

from visioncore.config import Config
from visioncore.data.recording import Split
from visioncore.data.session_fingerprint import session_fingerprint
from visioncore.data.splits import Block, spread_share
from visioncore.data.stored_array import ArrayManifest, StoredArray, require_sha256
from visioncore.data.trace_statistics import TraceStatistics, trace_statistics
from visioncore.data.train_statistics import fit_normalisation, train_response
from visioncore.errors import DataError
from visioncore.shapes import DataSpec, Normalisation

STORE_VERSION: Final = 1
MANIFEST_NAME = "store.json"
CacheMode = Literal["memory", "none"]

_logger = logging.getLogger(__name__)


class SessionManifest(Config):
    """One session in the manifest; its id, subject and units stand in the DataSpec."""

    folder: str
    n_bins: int
    blocks: tuple[Block, ...]
    train_mean: tuple[float, ...]
    silent_units: tuple[str, ...] = ()
    """Units without a response in training; empty in stores of before they were told apart."""
    unit_truth: dict[str, list[JsonValue]]
    arrays: dict[str, ArrayManifest]


class StoreManifest(Config):
    """Everything about a prepared recording but the signals."""

    store_version: Literal[1]
    fingerprint: str
    settings: dict[str, JsonValue]
    burn_in_bins: int
    spec: DataSpec
    normalisation: Normalisation
    sessions: tuple[SessionManifest, ...]
    group_sha256: dict[str, str]


class SessionStore:
    """One session, opened read-only; every read names the session when it fails."""

    silent_in_training: Bool[np.ndarray, "*units"] = np.zeros((), bool)
    """Units without a spike in training, or whose trace never changes there: none of their responses counts."""

    def __init__(self, folder: Path, manifest: SessionManifest, spec: DataSpec, index: int) -> None:
        session = spec.sessions[index]
        self.id = session.id
        self.subject = session.subject
        self.unit_ids = session.unit_ids
        self.n_bins = manifest.n_bins
        self.blocks = manifest.blocks
        self.train_mean: Float64[np.ndarray, " units"] = np.array(manifest.train_mean, np.float64)
        """Mean response per valid training bin after burn-in; of counts, at least half a spike in total."""
        silent = set(manifest.silent_units)
        self.silent_in_training = np.array([unit in silent for unit in session.unit_ids])
        self.unit_truth: dict[str, list[Any]] = dict(manifest.unit_truth)
        self.fingerprint = session_fingerprint(
            self.id, self.unit_ids, manifest.blocks, manifest.train_mean, manifest.arrays
        )
        """Of the session as it was prepared, whatever share of it is trained on."""
        self._arrays = {
            name: StoredArray(folder / name, array, f"session '{session.id}', {name}")
            for name, array in manifest.arrays.items()
        }

    @property
    def has_rates(self) -> bool:
        """Whether the true rates are known."""
        return "rates" in self._arrays

    @property
    def nbytes(self) -> int:
        """Bytes of all signals in memory."""
        return sum(array.nbytes for array in self._arrays.values())

    def blocks_in(self, split: Split) -> tuple[Block, ...]:
        """The blocks of one split, in order of time."""
        return tuple(block for block in self.blocks if block.split == split)

    def video(self, start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        """Frames [start, stop) as they were recorded, uint8 or float32."""
        return self._arrays["video"].read(start, stop)

    def responses(self, start: int, stop: int) -> Float32[np.ndarray, "time units"]:
        """Counts or traces of bins [start, stop)."""
        return self._arrays["responses"].read(start, stop).astype(np.float32, copy=False)

    def behaviour(self, start: int, stop: int) -> Float32[np.ndarray, "time behaviours"] | None:
        """Behaviour as it was recorded, not normalised."""
        return self._arrays["behaviour"].read(start, stop) if "behaviour" in self._arrays else None

    def valid(self, start: int, stop: int) -> Bool[np.ndarray, "time units"]:
        """Which responses count, of units that are not silent in training; the burn-in of blocks is not masked here."""
        return np.asarray(self._arrays["valid"].read(start, stop) & ~self.silent_in_training)

    def rates(self, start: int, stop: int) -> Float32[np.ndarray, "time units"] | None:
        """True expected counts per bin, where known."""
        return self._arrays["rates"].read(start, stop) if self.has_rates else None

    def trace_statistics(self) -> TraceStatistics:
        """Mean, spread and outliers of every unit's trace over the training blocks."""
        return trace_statistics(
            self._arrays["responses"], self._arrays["valid"], self.blocks, self.train_mean
        )

    def with_train_share(self, share: float, spec: DataSpec, burn_in_bins: int) -> "SessionStore":
        """This session with so much of its training blocks, and the training mean of those."""
        other = copy.copy(self)
        kept = spread_share(self.blocks_in("train"), share)
        other.blocks = tuple(block for block in self.blocks if block.split != "train" or block in kept)
        where = f"session '{self.id}' with train_share {share:g}"
        other.train_mean, other.silent_in_training = train_response(
            self._arrays, kept, self.unit_ids, burn_in_bins, spec.response_kind, where
        )
        return other

    def load_into_memory(self) -> None:
        """Read every signal once; later reads copy from memory."""
        for array in self._arrays.values():
            array.load_into_memory()


class RecordingStore:
    """A prepared recording, opened read-only and verified.

    Opening checks the manifest, all metadata and the presence and size of every chunk; the content of a chunk
    is checked against its checksum whenever it is read.
    """

    def __init__(self, path: Path, cache: CacheMode = "none") -> None:
        self.path = path
        self._cache = cache
        manifest = _read_manifest(path / MANIFEST_NAME)
        for name, digest in manifest.group_sha256.items():
            require_sha256(path / name, digest, f"store {path.name}")
        self.spec = manifest.spec
        self.normalisation = manifest.normalisation
        self.fingerprint = manifest.fingerprint
        self.settings: dict[str, Any] = dict(manifest.settings)
        """The source, split and burn-in that the store was prepared with, as JSON."""
        self.burn_in_bins = manifest.burn_in_bins
        self.sessions = {
            spec.id: SessionStore(path / session.folder, session, manifest.spec, index)
            for index, (spec, session) in enumerate(
                zip(manifest.spec.sessions, manifest.sessions, strict=True)
            )
        }

    def with_train_share(self, share: float) -> "RecordingStore":
        """This recording as if it had only so much of its training blocks; validation and test stay.

        Everything that is fitted on training data, the constants included, comes from the kept blocks alone.
        The blocks of a smaller share are among those of a larger one.

        Raises:
            DataError: a unit is valid in no bin of the kept blocks.
        """
        if share == 1:
            return self
        return self._with(
            {
                id_: session.with_train_share(share, self.spec, self.burn_in_bins)
                for id_, session in self.sessions.items()
            }
        )

    def only(self, names: Collection[str]) -> "RecordingStore":
        """This recording as if it had these sessions alone; the constants come from them."""
        return self._with({id_: session for id_, session in self.sessions.items() if id_ in names})

    def _with(self, sessions: dict[str, SessionStore]) -> "RecordingStore":
        other = copy.copy(self)
        other.sessions = sessions
        specs = tuple(session for session in self.spec.sessions if session.id in sessions)
        other.spec = self.spec.model_copy(update={"sessions": specs})
        kept = [(session._arrays, session.blocks) for session in sessions.values()]
        means = [session.train_mean for session in sessions.values()]
        other.normalisation = fit_normalisation(kept, means, self.spec)
        return other

    @property
    def nbytes(self) -> int:
        """Bytes of all signals of all sessions in memory."""
        return sum(session.nbytes for session in self.sessions.values())

    def load_into_memory(self) -> None:
        """With `cache: memory`, read everything once where it fits into a quarter of this machine's memory.

        Called before worker processes start, so that they share one copy.
        """
        if self._cache == "none":
            return
        allowed = _physical_memory_bytes() // 4
        if self.nbytes > allowed:
            _logger.info(
                "%s needs %.1f GB and a quarter of the memory is %.1f GB: read from disk, not cached",
                self.path.name, self.nbytes / 1e9, allowed / 1e9,
            )  # fmt: skip
            return
        for session in self.sessions.values():
            session.load_into_memory()


def blocks_of(store: RecordingStore, split: Split) -> Iterator[tuple[SessionStore, Block]]:
    """Every block of a split with its session, session by session and in order of time."""
    for session in store.sessions.values():
        for block in session.blocks_in(split):
            yield session, block


def write_manifest(path: Path, manifest: StoreManifest) -> None:
    """Write the manifest with its digest, and have it on the disk before returning."""
    content = manifest.model_dump(mode="json")
    document = {"sha256": _digest(content), "manifest": content}
    with path.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())


def _read_manifest(path: Path) -> StoreManifest:
    remedy = "delete the store and prepare it again"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {path.parent} is not a finished session store") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is damaged ({error}); {remedy}") from None
    if not isinstance(document, dict) or set(document) != {"sha256", "manifest"}:
        raise DataError(f"{path}: is no manifest of a session store, or damaged; {remedy}")
    content = document["manifest"]
    if document["sha256"] != _digest(content):
        raise DataError(f"{path}: was changed after it was written; {remedy}")
    version = content.get("store_version") if isinstance(content, dict) else None
    if version != STORE_VERSION:
        raise DataError(
            f"{path}: store version {version}, this VisionCore reads version {STORE_VERSION}; {remedy}"
        )
    try:
        return StoreManifest.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise DataError(
            f"{path}: does not describe a session store ({error.errors()[0]['msg']}); {remedy}"
        ) from None


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _physical_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
