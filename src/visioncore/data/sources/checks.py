"""What the values of a session must satisfy, whatever format they come from.

Each function returns the signal as it is stored, or raises a `DataError` that starts with `where`.
Bins in which `valid` is False may hold anything: it is replaced here, and no loss or score reads it.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from visioncore.errors import DataError


def checked_responses(
    responses: Shaped[np.ndarray, "time units"],
    valid: Bool[np.ndarray, "time valid_units"],
    kind: Literal["counts", "trace"],
    where: str,
) -> Shaped[np.ndarray, "time units"]:
    """Counts as the smallest unsigned integers that hold them, traces as float32.

    Raises:
        DataError: not numbers, a value that is not finite in a valid bin, or a negative or fractional count.
    """
    _require_numbers(responses, where)
    values = np.where(valid, responses, np.zeros((), responses.dtype))
    if values.dtype.kind == "f":
        _require_finite(values, where)
    if kind == "trace":
        return _float32(values, where)
    negative = values < 0
    if negative.any():
        raise DataError(
            f"{where}: {_count(negative)} negative spike counts, the first is {_first(values, negative)}; "
            "counts are whole numbers from 0 (set response_kind: trace for calcium traces or smoothed rates)"
        )
    fractional = values != np.floor(values)
    if fractional.any():
        # A fraction here and there is a mistake; most counts being fractions is another unit.
        step = _common_step(values) if fractional.sum() > np.count_nonzero(values) / 2 else None
        remedy = "set response_kind: trace for traces or smoothed rates"
        if step is not None:
            remedy = (
                f"all are multiples of {step:.10g}: they look like counts times a number, as spikes per second are; "
                "divide them by it"
            )
        raise DataError(
            f"{where}: {_count(fractional)} spike counts are not whole numbers, the first is "
            f"{_first(values, fractional)}; {remedy}"
        )
    highest = int(values.max(initial=0))
    if highest > np.iinfo(np.uint32).max:
        raise DataError(f"{where}: a count of {highest} spikes in one bin cannot be right")
    return values.astype(np.min_scalar_type(highest))


def _common_step(values: Shaped[np.ndarray, "time units"]) -> float | None:
    """The number that all values are multiples of, if there is one."""
    positive = np.unique(values[values > 0])
    if not len(positive):
        return None
    multiples = positive / positive[0]
    return float(positive[0]) if np.abs(multiples - np.round(multiples)).max() < 1e-3 else None


def checked_rates(
    rates: Shaped[np.ndarray, "time units"], valid: Bool[np.ndarray, "time valid_units"], where: str
) -> Float32[np.ndarray, "time units"]:
    """True rates, expected counts per bin, as float32.

    Raises:
        DataError: not numbers, not finite or negative in a valid bin.
    """
    _require_numbers(rates, where)
    values = _float32(np.where(valid, rates, np.zeros((), rates.dtype)), where)
    _require_finite(values, where)
    negative = values < 0
    if negative.any():
        raise DataError(f"{where}: rates are expected counts per bin, but one is {_first(values, negative)}")
    return values


def checked_behaviour(
    behaviour: Shaped[np.ndarray, "time behaviours"], valid: Bool[np.ndarray, "time units"], where: str
) -> Float32[np.ndarray, "time behaviours"]:
    """Behaviour as float32; a missing sample, allowed where no unit is valid, repeats the last known.

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
    _require_finite(np.where(valid.any(axis=1, keepdims=True), values, np.float32(0)), where)
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


def _require_numbers(values: Shaped[np.ndarray, "..."], where: str) -> None:
    if values.dtype.kind not in "buif":
        raise DataError(f"{where}: expected numbers, found {values.dtype}")


def _require_finite(values: Shaped[np.ndarray, "time signals"], where: str) -> None:
    broken = ~np.isfinite(values)
    if broken.any():
        raise DataError(
            f"{where}: {_count(broken)} values are NaN or infinite in bins that count as valid, the first is "
            f"{_first(values, broken)}; mark such bins False in `valid`"
        )


def _float32(values: Shaped[np.ndarray, "time signals"], where: str) -> Float32[np.ndarray, "time signals"]:
    with np.errstate(over="ignore"):
        converted = values.astype(np.float32)
    if np.isinf(converted).any():
        raise DataError(f"{where}: holds values too large for float32; rescale them")
    return converted


def _count(where: Bool[np.ndarray, "..."]) -> int:
    return int(np.count_nonzero(where))


def _first(values: Shaped[np.ndarray, "time signals"], where: Bool[np.ndarray, "time signals"]) -> str:
    bin_index, column = (int(axis[0]) for axis in np.nonzero(where))
    return f"{values[bin_index, column]} at bin {bin_index}, column {column}"
