"""The twin's predictions of recorded blocks, unit for unit beside what was recorded."""

import hashlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped

from visioncore.data.plausibility import require_one_scale
from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.errors import CheckpointError, ConfigError, DataError
from visioncore.evaluation.kept_predictions import KeptPredictions
from visioncore.predictor import Predictor
from visioncore.recording import Split
from visioncore.spec import Normalisation, same_rate

Behaviour = Literal["recorded", "mean"]

_logger = logging.getLogger(__name__)


def check_fit(twin: Predictor, store: RecordingStore) -> RecordingStore:
    """What of this store the twin's predictions can be held against, unit for unit: the sessions that both have.

    Raises:
        DataError: frame, sampling rate, response kind or behaviour differ from what the twin was made for.
        CheckpointError: no session is the twin's, or the units of one differ.
    """
    # What was held out from its training is known, and no mistake.
    store = store.without_units(twin.provenance.held_out_units or {})
    store = _with_behaviour_of(twin, store)
    _require_same_facts(twin, store)
    if any(not session.unit_ids for session in store.sessions.values()):
        # The stimulus alone: nothing to hold a prediction against.
        store = store.only([name for name, session in store.sessions.items() if session.unit_ids])
    known = [name for name in store.sessions if name in twin.sessions]
    if not known:
        first = next(iter(store.sessions))
        raise CheckpointError(
            f"the twin has no session '{first}' of {store.path}, nor any other of it; it has {', '.join(twin.sessions)}"
        )
    if len(known) < len(store.sessions):
        _logger.warning(
            "%s: the twin does not know %s; only %s can be scored",
            store.path,
            ", ".join(f"session '{name}'" for name in store.sessions if name not in known),
            ", ".join(known),
        )
        store = store.only(known)
    for name, session in store.sessions.items():
        mine, theirs = set(twin.spec.session(name).unit_ids), set(session.unit_ids)
        for ids, holder in ((theirs - mine, "the twin"), (mine - theirs, str(store.path))):
            if ids:
                raise CheckpointError(
                    f"session '{name}': {holder} lacks {len(ids)} unit(s): {', '.join(sorted(ids)[:8])}; "
                    "units are matched by (session, unit id)"
                )
    return store


def require_recorded(twin: Predictor, behaviour: Behaviour) -> None:
    """Refuse other behaviour than the recorded where predictions cannot change with it.

    Raises:
        ConfigError: they are kept in a file.
    """
    if isinstance(twin, KeptPredictions) and behaviour != "recorded":
        raise ConfigError(
            f"{twin.path} keeps predictions as they were made: behaviour cannot be replaced by its mean"
        )


def _with_behaviour_of(twin: Predictor, store: RecordingStore) -> RecordingStore:
    """Without the signals that a session has and the twin was not made for; they are said."""
    taken: dict[str, tuple[str, ...]] = {}
    for name in set(store.sessions) & set(twin.sessions) if twin.uses_behaviour else ():
        here, there = (spec.session(name).behaviour_names for spec in (store.spec, twin.spec))
        if set(there) < set(here):
            taken[name] = there
            _logger.info(
                "session %s: the twin takes no %s", name, ", ".join(n for n in here if n not in there)
            )
    return store.with_behaviour(taken) if taken else store


def _require_same_facts(twin: Predictor, store: RecordingStore) -> None:
    here, there = store.spec, twin.spec
    facts: list[tuple[str, Any, Any]] = [
        (fact, getattr(here.sampling, fact), getattr(there.sampling, fact))
        for fact in ("channels", "height", "width")
    ]
    facts.append(("response_kind", here.response_kind, there.response_kind))
    rates = here.sampling.rate_hz, there.sampling.rate_hz
    # Static images have none.
    if None in rates or not same_rate(here.bins_per_s, there.bins_per_s):
        facts.append(("sampling_rate_hz", *rates))
    for name in set(store.sessions) & set(twin.sessions) if twin.uses_behaviour else ():
        facts.append(
            ("behaviour_names", here.session(name).behaviour_names, there.session(name).behaviour_names)
        )
    for fact, found, expected in facts:
        if found != expected:
            raise DataError(
                f"{store.path}: {fact} is {found}, but the twin was made for {expected}; "
                "evaluate it on data prepared as in its training"
            )


Acquaintance = Literal["these data", "these sessions", "not known", "other data"]


def trained_on(twin: Predictor, store: RecordingStore) -> Acquaintance:
    """What the twin was trained on: this very recording; its sessions as they are here, though the recording has gained
    or lost others since; cannot be told; or something else.
    """
    whole = twin.provenance.data_fingerprint
    if whole is None or whole == store.fingerprint:
        return "not known" if whole is None else "these data"
    then = twin.provenance.session_fingerprints
    shared = [session for name, session in store.sessions.items() if name in twin.sessions]
    # Twins of before sessions had fingerprints name the recording alone, by a fingerprint of another kind.
    if then is None:
        return "not known"
    return "these sessions" if all(then.get(s.id) == s.fingerprint for s in shared) else "other data"


def require_unseen(twin: Predictor, store: RecordingStore, split: Split) -> None:
    """Refuse bins that some member of an ensemble was trained or selected on, where its members were divided otherwise.

    Raises:
        DataError: the split has such bins.
    """
    for name, seen in (twin.provenance.seen_bins or {}).items() if split == "test" else ():
        session = store.sessions.get(name)
        if session is None or session.signals_fingerprint != seen.signals_fingerprint:
            continue
        for block in session.blocks_in("test"):
            if any(start < block.stop and block.start < stop for start, stop in seen.bins):
                raise DataError(
                    f"session '{name}': bins {block.start} to {block.stop} of the test split trained or selected a "
                    "member of this ensemble, so a score there says nothing; evaluate it on bins that no member saw "
                    "(--data), or each member on its own test split"
                )


def _videos(constants: Normalisation) -> list[tuple[float, float]]:
    """Mean and spread of each channel."""
    return list(zip(constants.video_mean, constants.video_std, strict=True))


def require_scale_of(twin: Predictor, store: RecordingStore) -> None:
    """Whether a recording's video is on the scale of the twin's training data; said where that is not sure.

    Raises:
        DataError: it cannot be.
    """
    for name in (own for own in store.sessions if own in twin.sessions):
        constants = [spec.session(name).normalisation for spec in (twin.spec, store.spec)]
        for trained, here in zip(*map(_videos, constants), strict=True):
            require_one_scale({"the twin's training data": trained, "this recording": here}, str(store.path))


@contextmanager
def scale_was_said() -> Iterator[None]:
    """Without `predict`'s warning of another pixel scale, after the first block of a recording has brought it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the video has a mean of")
        yield


def digest_of(*arrays: np.ndarray | None) -> bytes:
    """Equal for equal arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()


@dataclass(frozen=True)
class BlockPrediction:
    """One block after its burn-in, units in the store's order, time in scored bins."""

    block: Block
    start: int
    """The session's bin with which the first row begins."""
    prediction: Float32[np.ndarray, "time units"]
    recorded: Float32[np.ndarray, "time units"]
    valid: Bool[np.ndarray, "time units"]
    """Recorded, and predicted."""
    rates: Float32[np.ndarray, "time units"] | None
    """Ground truth where it is known."""


class KeptRates(dict[bytes, np.ndarray]):
    """The newest predictions, as many as fit into so many bytes; the last one in any case."""

    def __init__(self, most_bytes: int = 0) -> None:
        super().__init__()
        self.most_bytes = most_bytes

    def __setitem__(self, key: bytes, value: np.ndarray) -> None:
        super().__setitem__(key, value)
        while len(self) > 1 and sum(own.nbytes for own in self.values()) > self.most_bytes:
            del self[next(iter(self))]


class BlockPredictor:
    """Predicts the blocks of one session, each from a fresh state.

    A prediction is a function of video and behaviour: consecutive blocks that agree in both share it. Coarser
    bins hold the sum of counts and the mean of a trace.

    Args:
        scale_was_said: whether the recording's pixel scale has been looked at; else the first block's is.
        kept: where predictions are kept; several predictors of one twin may share it. The last one when left out.
    """

    def __init__(
        self,
        twin: Predictor,
        session: SessionStore,
        *,
        burn_in_bins: int = 0,
        bins_summed: int = 1,
        behaviour: Behaviour = "recorded",
        scale_was_said: bool = False,
        kept: KeptRates | None = None,
    ) -> None:
        self.twin, self.session = twin, session
        self.burn_in_bins, self.bins_summed, self.behaviour = burn_in_bins, bins_summed, behaviour
        self._columns = twin.columns(session.id, session.unit_ids)
        self._kept = KeptRates() if kept is None else kept
        self._scale_was_said = scale_was_said

    def __call__(self, block: Block) -> BlockPrediction:
        session, start = self.session, block.start + self.burn_in_bins
        n_bins = max(block.stop - start, 0) // self.bins_summed
        stop = start + n_bins * self.bins_summed
        if not n_bins:
            nothing = np.empty((0, len(session.unit_ids)), np.float32)
            return BlockPrediction(block, start, nothing, nothing, nothing.astype(bool), nothing)
        prediction = self.rates(block)[: stop - start]
        rates = session.rates(start, stop)
        return BlockPrediction(
            block=block,
            start=start,
            prediction=self._coarser(prediction),
            recorded=self._coarser(session.responses(start, stop)),
            valid=np.asarray(
                self.predicted(block)[: stop - start].reshape(n_bins, self.bins_summed, -1).all(1)
            ),
            rates=None if rates is None else self._coarser(rates),
        )

    def predicted(self, block: Block) -> Bool[np.ndarray, "time units"]:
        """What is recorded of a block after its burn-in, and predicted.

        Which bins are predicted follows from their position, so that a NaN from the twin is never masked.
        """
        valid = self.session.valid(block.start + self.burn_in_bins, block.stop).copy()
        valid[: max(self.twin.first_predicted_bin - self.burn_in_bins, 0)] = False
        return valid

    def rates(
        self,
        block: Block,
        *,
        video: Shaped[np.ndarray, "frames channels height width"] | None = None,
        behaviour: Behaviour | None = None,
        read_out_as: tuple[str, Int[np.ndarray, " units"]] | None = None,
    ) -> Float32[np.ndarray, "time units"]:
        """The prediction of a block, every bin after its burn-in.

        Args:
            video: another than the recorded one.
            behaviour: another than this predictor's.
            read_out_as: session and columns that stand for this session's units.

        Raises:
            CheckpointError: the twin predicts values that are not finite.
        """
        if isinstance(self.twin, KeptPredictions) and video is None and read_out_as is None:
            return self._from_file(self.twin, block)
        video = self.session.video(block.start, block.stop) if video is None else video
        behaviour = behaviour or self.behaviour
        samples: np.ndarray | Literal["mean"] | None = None
        if self.twin.uses_behaviour:
            recorded = self.session.behaviour(block.start, block.stop)
            samples = recorded if behaviour == "recorded" else "mean"
        session, columns = read_out_as or (self.session.id, self._columns)
        key = digest_of(video, samples if isinstance(samples, np.ndarray) else None, columns)
        key += f"{session} {behaviour}".encode()
        if key not in self._kept:
            with scale_was_said() if self._scale_was_said else nullcontext():
                rates = self.twin.predict(video, samples, session=session)[:, columns]
            if not np.isfinite(rates[self.twin.first_predicted_bin :]).all():
                raise CheckpointError(
                    f"session '{self.session.id}', bins {block.start} to {block.stop}: the twin predicts "
                    "values that are not finite; its weights are damaged or its training diverged"
                )
            self._kept[key], self._scale_was_said = rates.astype(np.float32), True
        return self._kept[key][self.burn_in_bins :]

    def _from_file(self, kept: KeptPredictions, block: Block) -> Float32[np.ndarray, "time units"]:
        # What a twin gives for bins before the first predicted one is NaN.
        start = block.start + self.burn_in_bins
        first = min(max(start, block.start + kept.first_predicted_bin), block.stop)
        rates = np.full((block.stop - start, len(self._columns)), np.nan, np.float32)
        rates[first - start :] = kept.bins(self.session.id, first, block.stop)[:, self._columns]
        return rates

    def _coarser(self, values: np.ndarray) -> np.ndarray:
        if self.bins_summed == 1:
            return values
        bins = values.reshape(-1, self.bins_summed, values.shape[-1])
        counts = self.twin.spec.response_kind == "counts"
        return np.asarray(bins.sum(1) if counts else bins.mean(1))


@dataclass(frozen=True)
class Repeats:
    """The repeats of one stimulus; unequal lengths are cut to the shortest."""

    stimulus_id: str
    kind: str
    responses: Float32[np.ndarray, "repeats time units"]
    """NaN where not valid."""
    predictions: Float32[np.ndarray, "repeats time units"]
    rates: Float32[np.ndarray, "repeats time units"] | None

    @classmethod
    def of(cls, blocks: Sequence[BlockPrediction]) -> "Repeats":
        """From the predictions of the repeats."""
        first, n = blocks[0], min(len(block.recorded) for block in blocks)
        truth = [block.rates[:n] for block in blocks if block.rates is not None]
        return cls(
            stimulus_id=first.block.stimulus_id or "",
            kind=first.block.kind,
            responses=np.stack([np.where(b.valid[:n], b.recorded[:n], np.float32(np.nan)) for b in blocks]),
            predictions=np.stack([b.prediction[:n] for b in blocks]),
            rates=np.stack(truth) if truth else None,
        )


def repeats_together(blocks: Sequence[Block]) -> Iterator[Block]:
    """Repeats of one stimulus after each other, so that one prediction can serve them all."""
    order: dict[str, list[Block]] = {}
    for i, block in enumerate(blocks):
        order.setdefault(f"{i}" if block.stimulus_id is None else f"stimulus {block.stimulus_id}", []).append(
            block
        )
    for group in order.values():
        yield from group
