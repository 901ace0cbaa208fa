"""What the values of a session must satisfy, whatever format they come from.

Each function takes a piece and returns it as it is stored, or raises a `DataError` that starts with `where`.
Bins in which `valid` is False may hold anything: it is replaced here, and no loss or score reads it.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from visioncore.data.plausibility import (
    require_counts,
    require_plausible_column,
    sampling_step,
    suspects,
)
from visioncore.errors import DataError
from visioncore.recording import Trial
from visioncore.spec import ResponseKind

_COLUMN_BYTES = 400_000_000
"""Of units that are looked at closely, at once."""
MOST_MULTIPLES = 100_000
"""More different values than this are no multiples of one number that anyone has counted by."""

Piece = tuple[Shaped[np.ndarray, "time units"], Bool[np.ndarray, "time valid_units"]]
"""Responses, and which of them are valid."""


class ResponseCheck:
    """A session's responses, looked at a piece at a time: first all are added, then the pieces are stored.

    Args:
        names: what messages call the units.
        codes_are_known: somebody has said which values stand for missing samples; else values that look so are refused.
    """

    def __init__(
        self, kind: ResponseKind, names: tuple[str, ...], n_bins: int, where: str, *, codes_are_known: bool
    ) -> None:
        self._kind, self._names, self._where = kind, names, where
        self._codes_are_known = codes_are_known
        self._n_bins, self._step = n_bins, sampling_step(n_bins)
        self._sample: list[np.ndarray] = []
        self._broken, self._negative, self._fractional, self._large = (_Wrong() for _ in range(4))
        self._lowest: Shaped[np.ndarray, " units"] = np.full(len(names), np.inf)
        self._highest: Shaped[np.ndarray, " units"] = np.full(len(names), -np.inf)
        self._n_active = np.zeros(len(names), np.int64)
        self._common = np.zeros(len(names), np.int64)

    def add(
        self,
        responses: Shaped[np.ndarray, "time units"],
        valid: Bool[np.ndarray, "time valid_units"],
        start: int,
    ) -> None:
        """Take in the bins from `start` on."""
        _require_numbers(responses, self._where)
        values = _where_valid(responses, valid)
        if values.dtype.kind == "f":
            self._broken.add(values, ~np.isfinite(values), start)
            if self._broken.n:
                return
        if self._kind == "trace":
            with np.errstate(over="ignore"):
                self._large.add(values, np.isinf(values.astype(np.float32)), start)
        else:
            self._negative.add(values, values < 0, start)
            self._fractional.add(values, values != np.floor(values), start)
            if not self._negative.n and not self._fractional.n:
                common = np.gcd.reduce(values.astype(np.int64), axis=0)
                self._common = np.gcd(self._common, common)
        self._n_active += np.count_nonzero(values, axis=0)
        self._lowest = np.minimum(self._lowest, values.min(axis=0))
        self._highest = np.maximum(self._highest, values.max(axis=0))
        self._sample.append(values[-start % self._step :: self._step].copy())

    def finish(self, pieces: Callable[[], Iterator[Piece]]) -> None:
        """After the last piece: refuse what cannot be what it claims.

        Args:
            pieces: responses and masks from the start again, for a closer look.

        Raises:
            DataError: not numbers, a value that is not finite in a valid bin, a negative or fractional count, or codes.
        """
        where = self._where
        if self._broken.n:
            raise DataError(
                f"{where}: {self._broken.n} values are NaN or infinite in bins that count as valid, the first is "
                f"{self._broken.first}; mark such bins False in `valid`"
            )
        if self._large.n:
            raise DataError(f"{where}: holds values too large for float32; rescale them")
        if self._negative.n:
            raise DataError(
                f"{where}: {self._negative.n} negative spike counts, the first is {self._negative.first}; "
                "counts are whole numbers from 0 (set response_kind: trace for calcium traces or smoothed rates)"
            )
        if self._fractional.n:
            remedy = "set response_kind: trace for traces or smoothed rates"
            # A fraction here and there is a mistake; most counts being fractions is another unit.
            if self._fractional.n > self._n_active.sum() / 2 and (step := _common_step(pieces())) is not None:
                remedy = (
                    f"all are multiples of {step:.10g}: they look like counts times a number, as spikes per second "
                    "are; divide them by it"
                )
            raise DataError(
                f"{where}: {self._fractional.n} spike counts are not whole numbers, the first is "
                f"{self._fractional.first}; {remedy}"
            )
        counts = self._kind == "counts"
        if counts and self._highest.max(initial=0) > np.iinfo(np.uint32).max:
            raise DataError(
                f"{where}: a count of {int(self._highest.max())} spikes in one bin cannot be right"
            )
        if counts:
            require_counts(self._common, self._n_active, self._names, where)
        if not self._codes_are_known and self._sample:
            self._require_plausible(pieces, counts)

    @property
    def dtype(self) -> np.dtype:
        """Of what is stored: the smallest unsigned integers that hold all counts, or float32."""
        if self._kind == "trace":
            return np.dtype(np.float32)
        return np.min_scalar_type(max(int(self._highest.max(initial=0)), 0))

    def stored(
        self, responses: Shaped[np.ndarray, "time units"], valid: Bool[np.ndarray, "time valid_units"]
    ) -> Shaped[np.ndarray, "time units"]:
        """A piece as it is stored: 0 where it is not valid."""
        return _where_valid(responses, valid).astype(self.dtype)

    def _require_plausible(self, pieces: Callable[[], Iterator[Piece]], counts: bool) -> None:
        sample = np.concatenate(self._sample)
        columns = suspects(sample, self._lowest, self._highest, counts=counts)
        # Some at a time: all of thousands would not fit into memory, and each time everything is read again.
        at_once = max(_COLUMN_BYTES // ((sample.dtype.itemsize + 1) * max(self._n_bins, 1)), 1)
        for first in range(0, len(columns), at_once):
            some = columns[first : first + at_once]
            values = np.empty((len(some), self._n_bins), sample.dtype)
            good = np.empty(values.shape, bool)
            start = 0
            for responses, valid in pieces():
                here = slice(start, start + len(responses))
                values[:, here] = _where_valid(responses, valid)[:, some].T
                good[:, here] = np.broadcast_to(valid, responses.shape)[:, some].T
                start += len(responses)
            for column, own, ok in zip(some, values, good, strict=True):
                require_plausible_column(own, ok, f"{self._where}, {self._names[column]}", counts=counts)


class _Wrong:
    """Values of one kind that should not be there."""

    n = 0
    first = ""

    def add(
        self, values: Shaped[np.ndarray, "time units"], wrong: Bool[np.ndarray, "time units"], start: int
    ) -> None:
        found = int(np.count_nonzero(wrong))
        if found and not self.n:
            self.first = _first(values, wrong, start)
        self.n += found


def _where_valid(
    responses: Shaped[np.ndarray, "time units"], valid: Bool[np.ndarray, "time valid_units"]
) -> Shaped[np.ndarray, "time units"]:
    return np.where(valid, responses, np.zeros((), responses.dtype))


def _common_step(pieces: Iterator[Piece]) -> float | None:
    """The number that all values are multiples of, if there is one."""
    positive = np.empty(0)
    for responses, valid in pieces:
        values = _where_valid(responses, valid)
        positive = np.union1d(positive, values[values > 0])
        if len(positive) > MOST_MULTIPLES:
            return None
    if not len(positive):
        return None
    multiples = positive / positive[0]
    return float(positive[0]) if np.abs(multiples - np.round(multiples)).max() < 1e-3 else None


def checked_rates(
    rates: Shaped[np.ndarray, "time units"],
    valid: Bool[np.ndarray, "time valid_units"],
    start: int,
    where: str,
) -> Float32[np.ndarray, "time units"]:
    """True rates from bin `start` on, expected counts per bin, as float32.

    Raises:
        DataError: not numbers, not finite or negative in a valid bin.
    """
    _require_numbers(rates, where)
    values = _float32(_where_valid(rates, valid), where)
    _require_finite(values, where, start)
    negative = values < 0
    if negative.any():
        raise DataError(
            f"{where}: rates are expected counts per bin, but one is {_first(values, negative, start)}"
        )
    return values


def checked_behaviour(
    behaviour: Shaped[np.ndarray, "time behaviours"], seen: Bool[np.ndarray, " time"], where: str
) -> Float32[np.ndarray, "time behaviours"]:
    """All of a session's behaviour as float32; a missing sample, allowed in bins that are not `seen`, where no unit is
    valid, repeats the last known.

    Later, valid bins still see it as their past, and a pupil of size 0 would be a lie. Samples before the first
    known one take its value.

    Raises:
        DataError: not numbers, or a value that is not finite in a bin with a valid unit.
    """
    _require_numbers(behaviour, where)
    values = behaviour.astype(np.float32)
    missing = ~np.isfinite(values)
    if not missing.any():
        return values
    _require_finite(np.where(seen[:, None], values, np.float32(0)), where)
    bins = np.arange(len(values))[:, None]
    latest = np.maximum.accumulate(np.where(missing, -1, bins), axis=0)
    first_known = np.argmin(missing, axis=0)
    held = np.take_along_axis(values, np.where(latest < 0, first_known, latest), axis=0)
    # A signal that is never known is that only where no unit is ever valid.
    return np.where(missing.all(axis=0), np.float32(0), held)


def checked_frames(
    frames: Shaped[np.ndarray, "time channels height width"],
    seen: Bool[np.ndarray, " time"],
    first: int,
    where: str,
) -> Shaped[np.ndarray, "time channels height width"]:
    """A piece of video that starts at bin `first`: uint8 as it is, float as float32.

    Frames that are not `seen`, in bins without a valid unit, may hold NaN; `hold_frames` fills them.

    Raises:
        DataError: neither uint8 nor float, or a value that is not finite.
    """
    if frames.dtype == np.uint8:
        return frames
    if frames.dtype.kind != "f":
        raise DataError(f"{where}: video is {frames.dtype}; expected uint8 (0 to 255) or float")
    values = frames.astype(np.float32)
    broken = ~np.isfinite(values).all(axis=(1, 2, 3))
    if (broken & seen).any():
        bin_index = first + int(np.flatnonzero(broken & seen)[0])
        raise DataError(
            f"{where}: the frame of bin {bin_index} holds values that are not finite; "
            "fill them, or mark the bin False in `valid`"
        )
    return values


def hold_frames(
    frames: Shaped[np.ndarray, "time channels height width"],
    before: Shaped[np.ndarray, "channels height width"] | None,
) -> Shaped[np.ndarray, "time channels height width"] | None:
    """The frames, each one that is not finite replaced by the last good one; `before` precedes the first.

    Later, valid bins still see them as their past, and a black frame would be a flash that nobody saw. Without
    `before`, frames at the start take the first good one; None where there is none to take.
    """
    if frames.dtype == np.uint8:
        return frames
    good = np.isfinite(frames).all(axis=(1, 2, 3))
    if good.all():
        return frames
    if before is None and not good.any():
        return None
    start = frames[int(np.argmax(good))] if before is None else before
    latest = np.maximum.accumulate(np.where(good, np.arange(len(frames)), -1))
    held: Shaped[np.ndarray, "time channels height width"] = frames[np.maximum(latest, 0)]
    held[latest < 0] = start
    return held


def require_trials(trials: tuple[Trial, ...], n_bins: int, where: str) -> None:
    """Refuse trials that overlap, are empty or leave the session.

    Raises:
        DataError: naming the first such trial.
    """
    if not trials:
        raise DataError(f"{where}: has no trials; one that covers the session will do")
    end = 0
    for trial in sorted(trials, key=lambda t: t.start):
        if not end <= trial.start < trial.stop <= n_bins:
            raise DataError(
                f"{where}: trial of bins {trial.start} to {trial.stop} is empty, overlaps the one before it, "
                f"or leaves the session's {n_bins} bins"
            )
        end = trial.stop


def _require_numbers(values: Shaped[np.ndarray, "..."], where: str) -> None:
    if values.dtype.kind not in "buif":
        raise DataError(f"{where}: expected numbers, found {values.dtype}")


def _require_finite(values: Shaped[np.ndarray, "time signals"], where: str, start: int = 0) -> None:
    broken = ~np.isfinite(values)
    if broken.any():
        raise DataError(
            f"{where}: {np.count_nonzero(broken)} values are NaN or infinite in bins that count as valid, the first is "
            f"{_first(values, broken, start)}; mark such bins False in `valid`"
        )


def _float32(values: Shaped[np.ndarray, "time signals"], where: str) -> Float32[np.ndarray, "time signals"]:
    with np.errstate(over="ignore"):
        converted = values.astype(np.float32)
    if np.isinf(converted).any():
        raise DataError(f"{where}: holds values too large for float32; rescale them")
    return converted


def _first(
    values: Shaped[np.ndarray, "time signals"], where: Bool[np.ndarray, "time signals"], start: int
) -> str:
    bin_index, column = (int(axis[0]) for axis in np.nonzero(where))
    return f"{values[bin_index, column]} at bin {start + bin_index}, column {column}"
