"""Predictions that must not do well: the twin with the wrong video, the wrong trial, the wrong units, or nothing.

Every prediction of a block begins afresh and loses its burn-in, as in an evaluation.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Shaped

from visioncore.data.splits import GOLDEN, Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.evaluation.prediction import BlockPredictor, digest_of, repeats_together
from visioncore.predictor import Predictor

CONTROL_MINUTES = 2.0
"""Test recording per session that controls are run on at most: whole stimuli with all their repeats, spread over
the session. On the embedded recording all controls together then cost about two evaluations."""
MAX_VALUES = 30_000_000
"""Bins times units of one session at most, for the same reason: each prediction is held in memory once."""
LEAST_SHIFT_S = 1.0
"""A block that is alone is shifted against itself; by less than this, neighbouring frames are alike."""
ONSET_SMOOTHED_S = 0.05
ONSET_PRIOR = 10.0
"""Spikes of its own at which a unit's course after onset counts as much as that of all units together."""
FEWEST_ONSETS = 8
"""Training blocks that must reach a time since onset for its mean response to be known."""

Role = Literal["intact", "reference", "control"]
ROLES: dict[str, Role] = {
    "intact": "intact",
    "behaviour only": "reference",
    "time since onset": "reference",
    "shared by all units": "reference",
    "video shifted": "control",
    "trials shuffled": "control",
    "other readout": "control",
    "pixels scrambled": "control",
    "no input": "control",
}
"""Every prediction that is scored, in the order in which they are shown."""

Predictions = list[Float32[np.ndarray, "_ units"]]
"""One per block; blocks differ in length."""


@dataclass(frozen=True)
class AuditedBlock:
    """A test block without its burn-in."""

    block: Block
    stimulus: bytes
    """A digest of its video: equal for repeats."""
    recorded: Float32[np.ndarray, "time units"]
    valid: Bool[np.ndarray, "time units"]


class SessionControls:
    """The controls of one session; a prediction per audited block each, or None where none can be made."""

    def __init__(self, twin: Predictor, store: RecordingStore, session: SessionStore, seed: int = 0) -> None:
        self._twin, self._store, self._session = twin, store, session
        self._rng = np.random.default_rng([seed, list(store.sessions).index(session.id)])
        # Of controls the pixel scale may be any; that of the recording was said when it was evaluated.
        self._predictor = BlockPredictor(twin, session, burn_in_bins=store.burn_in_bins, scale_was_said=True)
        self._rates = self._predictor.rates
        blocks = audited_blocks(store, session)
        self.blocks: list[AuditedBlock] = [self._audited(block) for block in repeats_together(blocks)]
        self.n_bins = sum(audited.block.n_bins for audited in self.blocks)
        spec, norm = store.spec, twin.spec.session(session.id).normalisation
        mean = np.array(norm.video_mean, np.float32)[:, None, None]
        size = (spec.sampling.height, spec.sampling.width)
        self._grey = np.broadcast_to(mean, (1, spec.sampling.channels, *size))
        self._pixels = self._rng.permutation(size[0] * size[1])

    def intact(self) -> Predictions:
        """The twin with everything as it was recorded."""
        return [self._rates(a.block) for a in self.blocks]

    def behaviour_only(self) -> Predictions:
        """The twin on mean grey, with the recorded behaviour."""
        return [self._rates(a.block, video=self._grey_video(a.block)) for a in self.blocks]

    def no_input(self) -> Predictions:
        """The twin on mean grey, with the training data's mean behaviour: whatever varies comes from a clock."""
        return [self._rates(a.block, video=self._grey_video(a.block), behaviour="mean") for a in self.blocks]

    def shifted(self) -> Predictions | None:
        """Each block with its own behaviour and video from the middle of other stimuli, cut wherever that falls.

        None where a block's video has no other to be exchanged for, or none is another for the exchange.
        """
        videos: dict[bytes, Callable[[], np.ndarray]] = {}
        predictions = []
        for audited in self.blocks:
            if audited.stimulus not in videos:
                wrong = self._wrong_video(audited)
                if wrong is None:
                    return None
                videos[audited.stimulus] = wrong
            predictions.append(self._predict_otherwise(audited, videos[audited.stimulus]()))
        return _unless_empty(predictions)

    def scrambled(self) -> Predictions | None:
        """The twin on video whose pixels have changed places, the same way in every frame of a stimulus.

        None where every frame is of one value all over: there is nothing to scramble.

        Each stimulus has an order of its own: under white noise, one order may by chance put much of a filter back.
        """
        orders: dict[bytes, np.ndarray] = {}
        predictions = []
        for audited in self.blocks:
            video = self._video(audited.block)
            flat = video.reshape(*video.shape[:2], -1)
            if audited.stimulus not in orders:
                orders[audited.stimulus] = np.roll(
                    self._pixels, round(GOLDEN * len(orders) * len(self._pixels))
                )
            moved = flat[:, :, orders[audited.stimulus]].reshape(video.shape)
            predictions.append(self._predict_otherwise(audited, np.ascontiguousarray(moved)))
        return _unless_empty(predictions)

    def shuffled(self, intact: Predictions) -> Predictions | None:
        """Each block's responses beside the prediction for a block with another stimulus, from the same time on.

        Video and behaviour are both the other block's; what stays right is the time since the block began. NaN
        where the other block is shorter.
        """
        predictions = []
        for i, audited in enumerate(self.blocks):
            others = [j for j in self._other_stimuli(audited) if j != i]
            if not others:
                return None
            n = len(audited.recorded)
            long = [j for j in others if len(intact[j]) >= n] or others
            other = intact[int(self._rng.choice(long))][:n]
            predictions.append(np.pad(other, ((0, n - len(other)), (0, 0)), constant_values=np.nan))
        return predictions

    def other_readout(self, intact: Predictions) -> Predictions | None:
        """Units read out as other units: of the next session where there is one, else of this session."""
        n_units = len(self._session.unit_ids)
        names = list(self._store.sessions)
        if len(names) > 1:
            other = self._store.sessions[names[(names.index(self._session.id) + 1) % len(names)]]
            order = np.resize(self._rng.permutation(len(other.unit_ids)), n_units)
            columns = self._twin.columns(other.id, other.unit_ids)[order]
            return [self._rates(a.block, read_out_as=(other.id, columns)) for a in self.blocks]
        if n_units < 2:
            return None
        order = self._rng.permutation(n_units)
        taken = np.empty_like(order)
        taken[order] = np.roll(order, 1)
        return [prediction[:, taken] for prediction in intact]

    def shared(self, intact: Predictions) -> Predictions | None:
        """For each unit the mean of the twin's predictions for the others, relative to their mean rates."""
        if len(self._session.unit_ids) < 2:
            return None
        mean = np.nanmean(
            np.concatenate(intact), axis=0, dtype=np.float64
        )  # the first bins are not predicted
        scale = np.where(np.abs(mean) > 1e-9, mean, 1.0)
        predictions = []
        for prediction in intact:
            relative = prediction / scale
            others = (relative.sum(1, keepdims=True) - relative) / (relative.shape[1] - 1)
            predictions.append((others * np.abs(mean)).astype(np.float32))
        return predictions

    def onset(self) -> Predictions:
        """The mean training response at that time since the block began, and the training mean where few blocks are
        that long.
        """
        longest = max(audited.block.n_bins for audited in self.blocks)
        course = self._onset_response(longest).astype(np.float32)
        return [course[self._store.burn_in_bins : a.block.n_bins].copy() for a in self.blocks]

    def _onset_response(self, n_bins: int) -> Float64[np.ndarray, "time units"]:
        session = self._session
        total, n = (np.zeros((n_bins, len(session.unit_ids))) for _ in range(2))
        for block in session.blocks_in("train"):
            stop = min(block.stop, block.start + n_bins)
            valid = session.valid(block.start, stop)
            total[: stop - block.start] += np.where(valid, session.responses(block.start, stop), 0)
            n[: stop - block.start] += valid
        width = max(round(ONSET_SMOOTHED_S * self._store.spec.bins_per_s), 1)
        known = n >= FEWEST_ONSETS
        total, n = (_summed_around(values, width) for values in (total, n))
        course = total / np.maximum(n, 1)
        if self._store.spec.response_kind == "counts":
            # Few spikes make a noisy course, and a noisy level is too low a bar: it leans on what units share.
            expected = n * session.train_mean
            shared = total.sum(1, keepdims=True) / np.maximum(expected.sum(1, keepdims=True), 1e-9)
            course = session.train_mean * (total + ONSET_PRIOR * shared) / (expected + ONSET_PRIOR)
        return np.where(known, course, session.train_mean)

    def _audited(self, block: Block) -> AuditedBlock:
        return AuditedBlock(
            block=block,
            stimulus=digest_of(self._video(block)),
            recorded=self._session.responses(block.start + self._store.burn_in_bins, block.stop),
            valid=self._predictor.predicted(block),
        )

    def _video(self, block: Block) -> Shaped[np.ndarray, "time channels height width"]:
        return self._session.video(block.start, block.stop)

    def _grey_video(self, block: Block) -> Float32[np.ndarray, "time channels height width"]:
        return np.repeat(self._grey, block.n_bins, axis=0)

    def _other_stimuli(self, audited: AuditedBlock) -> list[int]:
        """Blocks that show something else, and nothing of the same picture; repeats may differ by a grey level."""
        named, group = audited.block.stimulus_id, audited.block.group
        return [
            j
            for j, other in enumerate(self.blocks)
            if other.stimulus != audited.stimulus
            and (named is None or other.block.stimulus_id != named)
            and (group is None or other.block.group != group)
        ]

    def _wrong_video(self, audited: AuditedBlock) -> Callable[[], np.ndarray] | None:
        n_bins = audited.block.n_bins
        share = self._rng.uniform(0.25, 0.75)
        others = {self.blocks[j].stimulus: self.blocks[j].block for j in self._other_stimuli(audited)}
        if not others:
            shift = round(share * n_bins)
            if min(shift, n_bins - shift) < LEAST_SHIFT_S * self._store.spec.bins_per_s:
                return None
            return lambda: np.roll(self._video(audited.block), shift, axis=0)
        donors = [list(others.values())[i] for i in self._rng.permutation(len(others))]
        parts: list[tuple[int, int]] = []
        missing = n_bins
        for k in range(math.ceil(n_bins / min(donor.n_bins for donor in donors)) + 1):
            donor = donors[k % len(donors)]
            start = donor.start + (round(share * donor.n_bins) if k == 0 else 0)
            stop = min(donor.stop, start + missing)
            parts.append((start, stop))
            missing -= stop - start
        return lambda: np.concatenate(
            [self._session.video(start, stop) for start, stop in parts if stop > start]
        )

    def _predict_otherwise(
        self, audited: AuditedBlock, video: np.ndarray
    ) -> Float32[np.ndarray, "time units"]:
        """With another video; NaN where it is none, since nothing can be told from that."""
        if np.array_equal(video, self._video(audited.block)):
            return np.full(audited.recorded.shape, np.nan, np.float32)
        return self._rates(audited.block, video=video)


def _unless_empty(predictions: Predictions) -> Predictions | None:
    return predictions if any(np.isfinite(prediction).any() for prediction in predictions) else None


def audited_blocks(store: RecordingStore, session: SessionStore) -> list[Block]:
    """Test blocks that the controls are run on: all of them, or one stimulus in several, with its repeats."""
    stimuli: dict[str, list[Block]] = {}
    for i, block in enumerate(session.blocks_in("test")):
        if block.n_bins > store.burn_in_bins:
            stimuli.setdefault(f"{i}" if block.stimulus_id is None else f"id {block.stimulus_id}", []).append(
                block
            )
    total = sum(block.n_bins for blocks in stimuli.values() for block in blocks)
    most = min(CONTROL_MINUTES * 60 * store.spec.bins_per_s, MAX_VALUES / len(session.unit_ids))
    every = max(math.ceil(total / most), 1)
    return sorted(
        (block for blocks in list(stimuli.values())[::every] for block in blocks),
        key=lambda block: block.start,
    )


def stretches_of(blocks: Sequence[AuditedBlock], stretch_bins: int) -> list[list[tuple[int, slice]]]:
    """What is resampled as one, as in an evaluation: a stretch of a block, the same of all repeats of a stimulus."""
    rows: dict[tuple[object, ...], list[tuple[int, slice]]] = {}
    for i, audited in enumerate(blocks):
        for key, part in _stretches(audited, stretch_bins):
            rows.setdefault(key, []).append((i, part))
    return list(rows.values())


def _stretches(audited: AuditedBlock, stretch_bins: int) -> Iterator[tuple[tuple[object, ...], slice]]:
    n = len(audited.recorded)
    named = audited.block.stimulus_id
    for number, start in enumerate(range(0, n, stretch_bins)):
        yield (named or audited.block.start, number), slice(start, min(start + stretch_bins, n))


def _summed_around(
    values: Float64[np.ndarray, "time units"], width: int
) -> Float64[np.ndarray, "time units"]:
    kernel = np.ones(width)
    columns = [np.convolve(column, kernel)[width // 2 : width // 2 + len(column)] for column in values.T]
    return np.stack(columns, axis=1)
