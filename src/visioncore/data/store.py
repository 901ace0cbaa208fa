"""A prepared recording: a plan and the session stores that it names, opened together and read a few bins at a time."""

import copy
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Shaped

from visioncore.data.manifest import read_manifest
from visioncore.data.plan import RecordingPlan, SessionPlan
from visioncore.data.session_fingerprint import session_fingerprint
from visioncore.data.signals import SessionSignals
from visioncore.data.splits import Block, spread_share
from visioncore.data.trace_statistics import TraceStatistics, trace_statistics
from visioncore.data.train_statistics import Fitted, fit_constants, train_response
from visioncore.errors import DataError
from visioncore.recording import Alignment, Split, Trial
from visioncore.remote import AnyPath
from visioncore.spec import Columns

SESSIONS_FOLDER = "sessions"
"""Beside the plans; holds the session stores."""
CacheMode = Literal["memory", "none"]

_logger = logging.getLogger(__name__)


class SessionStore:
    """One session of a prepared recording; every read names the session when it fails."""

    silent_in_training: Bool[np.ndarray, "*units"] = np.zeros((), bool)
    """Units without a spike in training, or whose trace never changes there: none of their responses counts."""

    def __init__(self, signals: SessionSignals, plan: SessionPlan) -> None:
        self._signals = signals
        self.spec = signals.spec
        self.sampling = signals.manifest.sampling
        self.id = signals.spec.id
        self.subject = signals.spec.subject
        self.unit_ids = signals.spec.unit_ids
        self.units: Columns = signals.spec.units
        """What was measured of each unit."""
        self.n_bins = signals.n_bins
        self.blocks = plan.blocks
        self.trials: tuple[Trial, ...] = signals.manifest.trials
        self.trial_columns: Columns = signals.manifest.trial_columns
        """What is known of each trial, one value per trial."""
        self.alignment: Alignment | None = signals.manifest.alignment
        """What was found on the way to bins, where signals had clocks of their own."""
        self.train_mean: Float64[np.ndarray, " units"] = np.array(plan.train_mean, np.float64)
        """Mean response per valid training bin after burn-in; of counts, at least half a spike in total."""
        silent = set(plan.silent_units)
        self.silent_in_training = np.array([unit in silent for unit in self.unit_ids], bool)
        self.unit_truth: dict[str, list[Any]] = {k: list(v) for k, v in signals.manifest.unit_truth.items()}
        """Per-unit ground truth where it is known: `cell_class`, `rf_row_px`, `rf_column_px`, ..."""
        self.signals_fingerprint = plan.fingerprint
        """Of its signals alone, however they are divided."""
        self.fingerprint = session_fingerprint(
            self.id,
            self.unit_ids,
            plan.blocks,
            plan.train_mean,
            {name: array for name, array in signals.manifest.arrays.items() if name != "video_moments"},
        )
        """Of the session as it was prepared, whatever share of it is trained on."""

    @property
    def cell_classes(self) -> tuple[str | None, ...]:
        """Of each unit: the true class, or a measured one (a column `cell_class` or `cell_type`). None: not known."""
        measured = self.units.get("cell_class", self.units.get("cell_type"))
        classes: Sequence[Any] | None = self.unit_truth.get("cell_class", measured)
        if classes is None:
            return (None,) * len(self.unit_ids)
        return tuple(None if value is None else str(value) for value in classes)

    @property
    def has_rates(self) -> bool:
        """Whether the true rates are known."""
        return "rates" in self._signals.arrays

    @property
    def nbytes(self) -> int:
        """Bytes of all signals in memory."""
        return self._signals.nbytes

    def blocks_in(self, split: Split) -> tuple[Block, ...]:
        """The blocks of one split, in order of time."""
        return tuple(block for block in self.blocks if block.split == split)

    def video(self, start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        """Frames [start, stop) as they were recorded, uint8 or float32."""
        return self._signals.arrays["video"].read(start, stop)

    def frame_moments(self, start: int, stop: int) -> Float64[np.ndarray, "time channels 2"]:
        """Mean of each frame, and the sum of its squared deviations from it."""
        return self._signals.arrays["video_moments"].read(start, stop)

    def responses(self, start: int, stop: int) -> Float32[np.ndarray, "time units"]:
        """Counts or traces of bins [start, stop)."""
        if not self.unit_ids:
            return np.zeros((stop - start, 0), np.float32)
        return self._signals.arrays["responses"].read(start, stop).astype(np.float32, copy=False)

    def behaviour(self, start: int, stop: int) -> Float32[np.ndarray, "time behaviours"] | None:
        """Behaviour as it was recorded, not normalised."""
        if not self.spec.behaviour_names:
            return None
        samples: np.ndarray = self._signals.arrays["behaviour"].read(start, stop)
        recorded = self._signals.spec.behaviour_names
        if self.spec.behaviour_names == recorded:
            return samples
        return samples[:, [recorded.index(name) for name in self.spec.behaviour_names]]

    def valid(self, start: int, stop: int) -> Bool[np.ndarray, "time units"]:
        """Which responses count, of units that are not silent in training; the burn-in of blocks is not masked here."""
        valid = self._signals.arrays["valid"].read(start, stop)
        return np.asarray(valid & ~self.silent_in_training) if self.unit_ids else valid[:, :0]

    def rates(self, start: int, stop: int) -> Float32[np.ndarray, "time units"] | None:
        """True expected counts per bin, where known."""
        return self._signals.arrays["rates"].read(start, stop) if self.has_rates else None

    def trace_statistics(self) -> TraceStatistics:
        """Mean, spread and outliers of every unit's trace over the training blocks."""
        return trace_statistics(
            self._signals.arrays["responses"], self._signals.arrays["valid"], self.blocks, self.train_mean
        )

    def with_train_share(self, share: float, burn_in_bins: int) -> "SessionStore":
        """This session with so much of its training blocks, and the training mean of those."""
        other = copy.copy(self)
        kept = spread_share(self.blocks_in("train"), share)
        other.blocks = tuple(block for block in self.blocks if block.split != "train" or block in kept)
        try:
            other.train_mean, other.silent_in_training = train_response(self._signals, kept, burn_in_bins)
        except DataError as error:
            raise DataError(f"with train_share {share:g}: {error}") from None
        return other

    def with_behaviour(self, names: Sequence[str]) -> "SessionStore":
        """This session with these of its signals alone, in this order."""
        other = copy.copy(self)
        other.spec = self.spec.with_behaviour(names)
        return other

    def with_units(self, unit_ids: Sequence[str]) -> "SessionStore":
        """This session with these of its units alone, in this order."""
        place = {unit: i for i, unit in enumerate(self.unit_ids)}
        other = copy.copy(self)
        other.spec = self.spec.with_units(unit_ids)
        other._signals = self._signals.with_units(unit_ids)
        places = [place[unit] for unit in unit_ids]
        other.unit_ids, other.units = other.spec.unit_ids, other.spec.units
        other.train_mean = self.train_mean[places]
        other.silent_in_training = self.silent_in_training[places]
        other.unit_truth = {name: [values[k] for k in places] for name, values in self.unit_truth.items()}
        return other

    @property
    def left_out_units(self) -> tuple[str, ...]:
        """Units that were recorded and prepared, and are not among these."""
        return tuple(unit for unit in self._signals.manifest.spec.unit_ids if unit not in set(self.unit_ids))

    @property
    def fitted(self) -> Fitted:
        """What constants are fitted on."""
        return Fitted(self._signals, self.blocks, self.train_mean)

    def load_into_memory(self) -> None:
        """Read every signal once; later reads copy from memory."""
        self._signals.load_into_memory()


class RecordingStore:
    """A prepared recording, opened read-only and verified.

    Args:
        path: of the plan; the session stores lie beside it.

    Raises:
        DataError: the plan or a session store is missing, damaged, or not the one that the plan names.
    """

    def __init__(self, path: AnyPath, cache: CacheMode = "none") -> None:
        plan = read_manifest(path, RecordingPlan, "recording plan")
        stored = [SessionSignals(path.parent / SESSIONS_FOLDER / own.store) for own in plan.sessions]
        for signals, own in zip(stored, plan.sessions, strict=True):
            if signals.manifest.fingerprint != own.fingerprint:
                raise DataError(
                    f"{signals.folder} holds another session than {path.name} names; was it renamed? Move it away and "
                    "prepare again"
                )
        self._open(plan, stored, path, cache)

    @classmethod
    def of(cls, plan: RecordingPlan, stored: Sequence[SessionSignals], path: AnyPath) -> "RecordingStore":
        """The recording of a plan that has not been written yet."""
        store = cls.__new__(cls)
        store._open(plan, stored, path, "none")
        return store

    def _open(
        self, plan: RecordingPlan, stored: Sequence[SessionSignals], path: AnyPath, cache: CacheMode
    ) -> None:
        self.path, self._cache, self._pooling = path, cache, plan.normalisation
        self.spec = plan.spec
        self.fingerprint = plan.fingerprint
        self.settings = plan.settings
        """What the recording was prepared with."""
        self.burn_in_bins = plan.burn_in_bins
        self.sessions = {
            signals.spec.id: SessionStore(signals, own)
            for signals, own in zip(stored, plan.sessions, strict=True)
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
                id_: session.with_train_share(share, self.burn_in_bins)
                for id_, session in self.sessions.items()
            }
        )

    def only(self, names: Collection[str]) -> "RecordingStore":
        """This recording as if it had these sessions alone; the constants come from them."""
        return self._with({id_: session for id_, session in self.sessions.items() if id_ in names})

    def with_behaviour(self, names: Mapping[str, Sequence[str]]) -> "RecordingStore":
        """This recording as if these sessions had these signals alone."""
        other = copy.copy(self)
        other.sessions = {
            id_: session.with_behaviour(names[id_]) if id_ in names else session
            for id_, session in self.sessions.items()
        }
        specs = [own.with_behaviour(names[own.id]) if own.id in names else own for own in self.spec.sessions]
        other.spec = self.spec.model_copy(update={"sessions": tuple(specs)})
        return other

    def with_units(self, units: Mapping[str, Sequence[str]]) -> "RecordingStore":
        """This recording as if these sessions had these units alone; constants of video and behaviour stay."""
        other = copy.copy(self)
        other.sessions = {
            id_: session.with_units(units[id_]) if id_ in units else session
            for id_, session in self.sessions.items()
        }
        specs = [own.with_units(units[own.id]) if own.id in units else own for own in self.spec.sessions]
        other.spec = self.spec.model_copy(update={"sessions": tuple(specs)})
        return other

    def without_units(self, units: Mapping[str, Collection[str]]) -> "RecordingStore":
        """This recording without these units of its sessions, as far as it has them."""
        kept = {
            id_: [unit for unit in session.unit_ids if unit not in set(units[id_])]
            for id_, session in self.sessions.items()
            if id_ in units
        }
        return self.with_units(kept) if kept else self

    @property
    def left_out_units(self) -> dict[str, tuple[str, ...]]:
        """Of each session that has any, the units that were left out."""
        return {id_: left for id_, session in self.sessions.items() if (left := session.left_out_units)}

    def _with(self, sessions: dict[str, SessionStore]) -> "RecordingStore":
        other = copy.copy(self)
        other.sessions = sessions
        constants = fit_constants([session.fitted for session in sessions.values()], self._pooling)
        specs = tuple(
            session.spec.model_copy(update={"constants": own})
            for session, own in zip(sessions.values(), constants, strict=True)
        )
        other.spec = self.spec.model_copy(update={"sessions": specs})
        return other

    @property
    def nbytes(self) -> int:
        """Bytes of all signals of all sessions in memory."""
        return sum(session.nbytes for session in self.sessions.values())

    @property
    def cached_bytes(self) -> int:
        """Bytes that `load_into_memory` reads: all, or none."""
        fits = self.nbytes <= _physical_memory_bytes() // 4
        return self.nbytes if self._cache == "memory" and fits else 0

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


def _physical_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
