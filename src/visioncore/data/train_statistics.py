"""Constants fitted on training bins only, piece by piece: normalisation, and each unit's training mean."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from visioncore.data.signals import SessionSignals
from visioncore.data.splits import Block
from visioncore.data.stored_array import StoredArray
from visioncore.errors import DataError
from visioncore.spec import Normalisation

Pooling = Literal["pooled", "session"]

_PIECE_BYTES = 2**24


class RunningMoments:
    """Mean and variance per column of values that arrive in pieces, without cancellation.

    Source: Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm", eq. 2.1.
    """

    def __init__(self, n_columns: int) -> None:
        self._count = 0
        self.mean: Float64[np.ndarray, " columns"] = np.zeros(n_columns)
        self._squares: Float64[np.ndarray, " columns"] = np.zeros(n_columns)

    def add(self, values: Shaped[np.ndarray, "samples columns"]) -> None:
        """Take in more samples."""
        n_new = len(values)
        if n_new == 0:
            return
        mean = values.mean(axis=0, dtype=np.float64)
        self._add(n_new, mean, np.square(values - mean).sum(axis=0))

    def add_moments(
        self,
        mean: Float64[np.ndarray, "parts columns"],
        squares: Float64[np.ndarray, "parts columns"],
        n_each: int,
    ) -> None:
        """Take in parts of `n_each` samples by their means and their sums of squared deviations."""
        if len(mean):
            of_all = mean.mean(axis=0)
            apart = n_each * np.square(mean - of_all).sum(axis=0)
            self._add(n_each * len(mean), of_all, squares.sum(axis=0) + apart)

    @property
    def std(self) -> Float64[np.ndarray, " columns"]:
        """Standard deviation of all samples so far."""
        return np.sqrt(self._squares / max(1, self._count))

    def _add(
        self, n_new: int, mean: Float64[np.ndarray, " columns"], squares: Float64[np.ndarray, " columns"]
    ) -> None:
        delta = mean - self.mean
        total = self._count + n_new
        self._squares += squares + np.square(delta) * (self._count * n_new / total)
        self.mean += delta * (n_new / total)
        self._count = total


class Fitted(NamedTuple):
    """What the constants of a session are fitted on."""

    signals: SessionSignals
    blocks: tuple[Block, ...]
    train_mean: Float64[np.ndarray, " units"]


def fit_constants(sessions: Sequence[Fitted], pooling: Pooling) -> tuple[Normalisation, ...]:
    """Mean and spread of video channels and behaviour over the training bins, and count scales, for each session.

    A behaviour that never changes in training gets a spread of 1: there is nothing to scale it by.

    Args:
        pooling: whether means and spreads are over all sessions (of a behaviour: all that have it), or each session's.

    Raises:
        DataError: the video never changes in training.
    """
    groups = [sessions] if pooling == "pooled" else [[own] for own in sessions]
    fitted: list[Normalisation] = []
    for group in groups:
        video = _video_moments(group)
        if (video.std == 0).any():
            channel = int(np.flatnonzero(video.std == 0)[0])
            where = "" if len(groups) == 1 else f"session '{group[0].signals.spec.id}': "
            raise DataError(
                f"{where}channel {channel} of the video has one value in all training bins; is this the stimulus?"
            )
        behaviour = _behaviour_moments(group)
        for own in group:
            names = own.signals.spec.behaviour_names
            mean, std = (np.array([behaviour[name][k] for name in names]) for k in (0, 1))
            fitted.append(
                Normalisation(
                    video_mean=tuple(video.mean.tolist()),
                    video_std=tuple(video.std.tolist()),
                    behaviour_mean=tuple(mean.tolist()),
                    behaviour_std=tuple(np.where(std > 0, std, 1.0).tolist()),
                    count_scale=_count_scale(own),
                )
            )
    return tuple(fitted)


def _video_moments(sessions: Sequence[Fitted]) -> RunningMoments:
    """From what stands beside every frame: no frame is read."""
    moments = RunningMoments(sessions[0].signals.manifest.sampling.channels)
    for signals, blocks, _ in sessions:
        sampling, of_frames = signals.manifest.sampling, signals.arrays["video_moments"]
        n_pixels = sampling.height * sampling.width
        for block in blocks:
            if block.split == "train":
                rows = of_frames.read(block.start, block.stop)
                moments.add_moments(rows[..., 0], rows[..., 1], n_pixels)
    return moments


def _behaviour_moments(sessions: Sequence[Fitted]) -> dict[str, tuple[float, float]]:
    """Mean and spread of each signal over the sessions that have it."""
    found: dict[str, tuple[float, float]] = {}
    by_names: dict[tuple[str, ...], list[Fitted]] = {}
    for own in sessions:
        by_names.setdefault(own.signals.spec.behaviour_names, []).append(own)
    if len(by_names) == 1:
        (names,) = by_names
        columns = [names]
    else:
        columns = [(name,) for name in dict.fromkeys(name for names in by_names for name in names)]
    for some in columns:
        moments = RunningMoments(len(some))
        for signals, blocks, _ in sessions:
            names = signals.spec.behaviour_names
            if not some or not set(some) <= set(names):
                continue
            places: slice | list[int] = slice(None) if some == names else [names.index(name) for name in some]
            for start, stop in _train_pieces(blocks, signals.arrays["behaviour"]):
                moments.add(signals.arrays["behaviour"].read(start, stop)[:, places])
        found |= zip(some, zip(moments.mean.tolist(), moments.std.tolist(), strict=True), strict=True)
    return found


def _count_scale(session: Fitted) -> tuple[float, ...]:
    """Nothing where no unit has more than one count per bin, or where responses are no counts."""
    if session.signals.spec.response_kind != "counts" or (session.train_mean <= 1).all():
        return ()
    return tuple(np.maximum(session.train_mean, 1.0).tolist())


class TrainResponse(NamedTuple):
    """Of each unit of a session, over its valid training bins after burn-in."""

    mean: Float64[np.ndarray, " units"]
    """The training mean. Of counts it is at least half a spike in total: to the null, no test spike is impossible."""
    silent: Bool[np.ndarray, " units"]
    """Units without a spike, or whose trace never changes: nothing can be learnt of them."""


def train_response(signals: SessionSignals, blocks: tuple[Block, ...], burn_in_bins: int) -> TrainResponse:
    """Mean and silence of each unit.

    Raises:
        DataError: a unit has no valid training bin.
    """
    unit_ids, arrays = signals.spec.unit_ids, signals.arrays
    total = np.zeros(len(unit_ids))
    n_valid = np.zeros(len(unit_ids))
    lowest, highest = np.full(len(unit_ids), np.inf), np.full(len(unit_ids), -np.inf)
    for start, stop in _train_pieces(blocks, arrays["responses"], burn_in_bins) if unit_ids else ():
        valid: Bool[np.ndarray, "time valid_units"] = arrays["valid"].read(start, stop)
        responses = arrays["responses"].read(start, stop)
        total += np.where(valid, responses, 0).sum(axis=0, dtype=np.float64)
        n_valid += valid.sum(axis=0)
        lowest = np.minimum(lowest, np.where(valid, responses, np.inf).min(axis=0))
        highest = np.maximum(highest, np.where(valid, responses, -np.inf).max(axis=0))
    if (n_valid == 0).any():
        unit = unit_ids[int(np.flatnonzero(n_valid == 0)[0])]
        raise DataError(
            f"session '{signals.spec.id}': unit '{unit}' is valid in no training bin after burn-in; leave the unit "
            "out, or change the splits so that it can be fitted"
        )
    if signals.spec.response_kind == "counts":
        return TrainResponse(np.maximum(total, 0.5) / n_valid, total == 0)
    return TrainResponse(total / n_valid, highest <= lowest)


def _train_pieces(
    blocks: tuple[Block, ...], array: StoredArray, burn_in_bins: int = 0
) -> Iterable[tuple[int, int]]:
    rows = max(1, _PIECE_BYTES * array.shape[0] // max(1, array.nbytes))
    for block in blocks:
        if block.split != "train":
            continue
        first = block.start + burn_in_bins
        for start in range(first, block.stop, rows):
            yield start, min(start + rows, block.stop)
