"""Whether trials that a lab calls repeats of one stimulus show one video.

To the last bit they seldom do: a codec moves a pixel by one grey level, a frame is dropped, floats are rounded. Two
trials are repeats when nearly all of their frames agree to within one grey level.
"""

import logging
from collections import defaultdict

import numpy as np
from jaxtyping import Bool, Shaped

from visioncore.data.recording import Trial
from visioncore.data.stored_array import StoredArray
from visioncore.errors import DataError

LEAST_EQUAL = 0.85
"""Share of the frames, valid in both trials, that must agree."""
GREY_LEVELS = 255
FURTHEST_SHIFT = 3
"""Frames by which a refused repeat is moved, to tell a wrong trial start from another stimulus."""
_COMPARED_BINS = 256

logger = logging.getLogger(__name__)


def require_equal_repeats(
    trials: tuple[Trial, ...], video: StoredArray, valid: Bool[np.ndarray, "time valid_units"], where: str
) -> None:
    """Trials with equal stimulus ids show the same video, over their common length, wherever both are valid.

    Raises:
        DataError: naming both trials, the share of frames that agree, and the first bin that differs.
    """
    repeats: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.stimulus_id is not None:
            repeats[trial.stimulus_id].append(trial)
    seen = np.asarray(valid.any(axis=1))
    compared, unequal = 0, 0
    for stimulus_id, shown in repeats.items():
        longest = max(shown, key=lambda trial: trial.stop - trial.start)
        for other in shown:
            if other is longest:
                continue
            differs = _differing(video, longest.start, other.start, other.stop - other.start)
            both = _both_seen(seen, longest.start, other.start, other.stop - other.start)
            differs = differs[both]
            compared += len(differs)
            unequal += int(differs.sum())
            if len(differs) and differs.mean() > 1 - LEAST_EQUAL:
                offset = int(np.flatnonzero(both)[np.argmax(differs)])
                raise DataError(
                    f"{where}: stimulus_id '{stimulus_id}' names different videos: bins {longest.start + offset} and "
                    f"{other.start + offset} (bin {offset} of the trials starting at {longest.start} and {other.start})"
                    f" differ, and {1 - differs.mean():.0%} of the frames agree to within a grey level where "
                    f"{LEAST_EQUAL:.0%} must; "
                    f"{_remedy(video, seen, longest, other)}"
                )
    if unequal:
        logger.warning(
            "%s: %d of %d frames of repeats differ by more than a grey level; the rest are equal",
            where,
            unequal,
            compared,
        )


def _both_seen(seen: Bool[np.ndarray, " time"], a: int, b: int, n_bins: int) -> Bool[np.ndarray, " bins"]:
    return np.asarray(seen[a : a + n_bins] & seen[b : b + n_bins])


def _differing(video: StoredArray, a: int, b: int, n_bins: int) -> Bool[np.ndarray, " bins"]:
    """Which of the frames from bins `a` and `b` on are further apart than one grey level."""
    differs = np.zeros(n_bins, bool)
    for offset in range(0, n_bins, _COMPARED_BINS):
        n = min(_COMPARED_BINS, n_bins - offset)
        one, other = video.read(a + offset, a + offset + n), video.read(b + offset, b + offset + n)
        if np.array_equal(one, other):
            continue
        level = _grey_level(one, other)
        apart = np.abs(one.astype(np.float64) - other).max(axis=(1, 2, 3))
        differs[offset : offset + n] = apart > level
    return differs


def _grey_level(one: Shaped[np.ndarray, "..."], other: Shaped[np.ndarray, "..."]) -> float:
    """One step of 256 between the darkest and the brightest pixel; of bytes, one."""
    if one.dtype == np.uint8:
        return 1.0
    low, high = min(one.min(), other.min()), max(one.max(), other.max())
    return float(high - low) / GREY_LEVELS * (1 + 1e-5)


def _remedy(video: StoredArray, seen: Bool[np.ndarray, " time"], longest: Trial, other: Trial) -> str:
    n_bins = other.stop - other.start - FURTHEST_SHIFT
    for shift in range(1, FURTHEST_SHIFT + 1):
        for a, b in ((longest.start + shift, other.start), (longest.start, other.start + shift)):
            if n_bins < 2 or a + n_bins > longest.stop:
                continue
            differs = _differing(video, a, b, n_bins)[_both_seen(seen, a, b, n_bins)]
            if len(differs) and differs.mean() <= 1 - LEAST_EQUAL:
                return f"moved by {shift} frame{'s' if shift > 1 else ''} they agree: look at where the trials start"
    return "give different stimuli different ids, or leave stimulus_id out where trials are not repeats"
