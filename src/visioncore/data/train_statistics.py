"""Constants fitted on training bins only, piece by piece: normalisation and the null model's mean rates."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Shaped, UInt8

from visioncore.data.recording import RecordingInfo
from visioncore.data.splits import Block
from visioncore.data.stored_array import StoredArray
from visioncore.errors import DataError
from visioncore.shapes import DataSpec, Normalisation

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
        if values.dtype == np.uint8:
            mean, squares = _moments_of_bytes(values)
        else:
            mean = values.mean(axis=0, dtype=np.float64)
            squares = np.square(values - mean).sum(axis=0)
        delta = mean - self.mean
        total = self._count + n_new
        self._squares += squares + np.square(delta) * (self._count * n_new / total)
        self.mean += delta * (n_new / total)
        self._count = total

    @property
    def std(self) -> Float64[np.ndarray, " columns"]:
        """Standard deviation of all samples so far."""
        return np.sqrt(self._squares / max(1, self._count))


def _moments_of_bytes(
    values: UInt8[np.ndarray, "samples columns"],
) -> tuple[Float64[np.ndarray, " columns"], Float64[np.ndarray, " columns"]]:
    """Mean and sum of squared deviations from histograms: several times faster on video, and exact."""
    levels = np.arange(256, dtype=np.float64)
    histograms = np.stack([np.bincount(column, minlength=256) for column in values.T]).astype(np.float64)
    mean = histograms @ levels / len(values)
    return mean, (histograms * np.square(levels - mean[:, None])).sum(axis=1)


def fit_normalisation(
    sessions: Sequence[tuple[dict[str, StoredArray], tuple[Block, ...]]],
    train_means: Sequence[Float64[np.ndarray, " units"]],
    info: RecordingInfo | DataSpec,
) -> Normalisation:
    """Mean and spread of video channels and behaviour over all training bins of all sessions, and the count scales.

    A behaviour that never changes in training gets a spread of 1: there is nothing to scale it by.

    Raises:
        DataError: the video never changes in training.
    """
    video = RunningMoments(info.channels)
    behaviour = RunningMoments(len(info.behaviour_names))
    for arrays, blocks in sessions:
        for start, stop in _train_pieces(blocks, arrays["video"]):
            frames = arrays["video"].read(start, stop)
            video.add(np.moveaxis(frames, 1, -1).reshape(-1, info.channels))
        if info.behaviour_names:
            for start, stop in _train_pieces(blocks, arrays["behaviour"]):
                behaviour.add(arrays["behaviour"].read(start, stop))
    if (video.std == 0).any():
        channel = int(np.flatnonzero(video.std == 0)[0])
        raise DataError(
            f"channel {channel} of the video has one value in all training bins; is this the stimulus?"
        )
    return Normalisation(
        video_mean=tuple(video.mean.tolist()),
        video_std=tuple(video.std.tolist()),
        behaviour_mean=tuple(behaviour.mean.tolist()),
        behaviour_std=tuple(np.where(behaviour.std > 0, behaviour.std, 1.0).tolist()),
        count_scale=_count_scale(train_means) if info.response_kind == "counts" else (),
    )


def _count_scale(train_means: Sequence[Float64[np.ndarray, " units"]]) -> tuple[tuple[float, ...], ...]:
    """Nothing where no unit has more than one count per bin."""
    if all((mean <= 1).all() for mean in train_means):
        return ()
    return tuple(tuple(np.maximum(mean, 1.0).tolist()) for mean in train_means)


class TrainResponse(NamedTuple):
    """Of each unit of a session, over its valid training bins after burn-in."""

    mean: Float64[np.ndarray, " units"]
    """The null model of bits per spike. Counts are at least half a spike in total: no test spike is impossible."""
    silent: Bool[np.ndarray, " units"]
    """Units without a spike, or whose trace never changes: nothing can be learnt of them."""


def train_response(
    arrays: dict[str, StoredArray],
    blocks: tuple[Block, ...],
    unit_ids: tuple[str, ...],
    burn_in_bins: int,
    kind: Literal["counts", "trace"],
    where: str,
) -> TrainResponse:
    """Mean and silence of each unit.

    Raises:
        DataError: a unit has no valid training bin.
    """
    total = np.zeros(len(unit_ids))
    n_valid = np.zeros(len(unit_ids))
    lowest, highest = np.full(len(unit_ids), np.inf), np.full(len(unit_ids), -np.inf)
    for start, stop in _train_pieces(blocks, arrays["responses"], burn_in_bins):
        valid: Bool[np.ndarray, "time valid_units"] = arrays["valid"].read(start, stop)
        responses = arrays["responses"].read(start, stop)
        total += np.where(valid, responses, 0).sum(axis=0, dtype=np.float64)
        n_valid += valid.sum(axis=0)
        lowest = np.minimum(lowest, np.where(valid, responses, np.inf).min(axis=0))
        highest = np.maximum(highest, np.where(valid, responses, -np.inf).max(axis=0))
    if (n_valid == 0).any():
        unit = unit_ids[int(np.flatnonzero(n_valid == 0)[0])]
        raise DataError(
            f"{where}: unit '{unit}' is valid in no training bin after burn-in; leave the unit out, "
            "or change the splits so that it can be fitted"
        )
    if kind == "counts":
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
