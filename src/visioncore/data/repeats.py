"""Whether trials that a lab calls repeats of one stimulus show one video.

To the last bit they seldom do: a codec moves a pixel by one grey level, a frame is dropped, floats are rounded. Two
trials are repeats when nearly all of their frames agree to within one grey level.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Shaped

from visioncore.data.stored_array import StoredArray
from visioncore.errors import DataError
from visioncore.recording import Trial

LEAST_EQUAL = 0.85
"""Share of the frames, valid in both trials, that must agree."""
LEAST_CHANGED_EQUAL = 0.5
"""The same share of the frames in which something is shown: a grey screen around pictures agrees whatever they are."""
GREY_LEVELS = 255
ROUNDING = 1e-6
"""Of the largest value: what floats lose on their way."""
FEWEST_LEVELS = 20
"""A step of bytes is a step of noise only where the video has more of them than this; of 0 and 1 it is the stimulus."""
FURTHEST_SHIFT = 3
"""Frames by which a refused repeat is moved, to tell a wrong trial start from another stimulus."""
_PIECE_BYTES = 2**22

logger = logging.getLogger(__name__)


def require_equal_repeats(
    trials: tuple[Trial, ...], video: StoredArray, seen: Bool[np.ndarray, " time"], where: str
) -> None:
    """Trials with equal stimulus ids show the same video, over their common length, wherever both are `seen`.

    Raises:
        DataError: naming both trials, the share of frames that agree, and the first bin that differs.
    """
    repeats: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.stimulus_id is not None:
            repeats[trial.stimulus_id].append(trial)
    n_frames = n_unequal = n_apart = 0
    for stimulus_id, shown in repeats.items():
        longest = max(shown, key=lambda trial: trial.stop - trial.start)
        pair = _Pair(video, seen)
        for other in shown:
            if other is longest:
                continue
            found = pair.compare(longest.start, other.start, other.stop - other.start)
            if not found.is_repeat:
                first = found.first or 0
                raise DataError(
                    f"{where}: stimulus_id '{stimulus_id}' names different videos: bins {longest.start + first} and "
                    f"{other.start + first} (bin {first} of the trials starting at {longest.start} and {other.start}) "
                    f"differ, and {found}; {_remedy(pair, longest, other)}"
                )
            n_frames += found.n_frames
            n_unequal += found.n_unequal
            n_apart += found.n_apart
    if n_unequal:
        logger.warning(
            "%s: %d of %d frames of repeats differ by more than a grey level, %d by less; the rest are equal",
            where,
            n_apart,
            n_frames,
            n_unequal - n_apart,
        )


@dataclass(frozen=True)
class _Agreement:
    """Counts of the frames of two trials that are valid in both."""

    n_frames: int
    n_unequal: int
    """Not equal to the last bit."""
    n_apart: int
    """Further apart than a grey level in some pixel."""
    n_changed: int
    """Unlike the first frame of the trials: something is shown."""
    n_changed_apart: int
    first: int | None
    """The first bin of the trials that is apart."""

    @property
    def is_repeat(self) -> bool:
        return self._few_apart and self.n_changed_apart <= (1 - LEAST_CHANGED_EQUAL) * self.n_changed

    @property
    def _few_apart(self) -> bool:
        return self.n_apart <= (1 - LEAST_EQUAL) * self.n_frames + 1e-9

    def __str__(self) -> str:
        apart, of, what, least = self.n_apart, self.n_frames, "the frames", LEAST_EQUAL
        if self._few_apart:
            apart, of, least = self.n_changed_apart, self.n_changed, LEAST_CHANGED_EQUAL
            what = "the frames unlike the first one"
        return f"{1 - apart / of:.0%} of {what} agree to within a grey level where {least:.0%} must"


class _Pair:
    """Two stretches of a session's video, compared a few megabytes at a time."""

    def __init__(self, video: StoredArray, seen: Bool[np.ndarray, " time"]) -> None:
        self._video, self._seen = video, seen
        first = video.read(0, 1)
        # Compared in 32 bits whatever is stored.
        self._n_bins = max(1, _PIECE_BYTES // (first.size * 4))

    def compare(self, a: int, b: int, n_bins: int) -> _Agreement:
        """The frames from bins `a` and `b` on."""
        both = self._seen[a : a + n_bins] & self._seen[b : b + n_bins]
        unequal = both.copy()
        for part, one, other in self._pieces(a, b, n_bins):
            unequal[part] &= (one != other).any(axis=1)
        if not unequal.any():
            return _Agreement(int(both.sum()), 0, 0, 0, 0, None)
        level = self._grey_level(a, b, n_bins)
        apart, changed = unequal.copy(), both.copy()
        blank: Shaped[np.ndarray, "one pixels"] | None = None
        for part, one, other in self._pieces(a, b, n_bins):
            if blank is None and both[part].any():
                blank = one[both[part]][:1]
            apart[part] &= _distance(one, other) > level
            if blank is not None:
                changed[part] &= np.maximum(_distance(one, blank), _distance(other, blank)) > level
        return _Agreement(
            n_frames=int(both.sum()),
            n_unequal=int(unequal.sum()),
            n_apart=int(apart.sum()),
            n_changed=int(changed.sum()),
            n_changed_apart=int((changed & apart).sum()),
            first=int(np.argmax(apart)) if apart.any() else None,
        )

    def _pieces(
        self, a: int, b: int, n_bins: int
    ) -> Iterator[tuple[slice, Shaped[np.ndarray, "bins pixels"], Shaped[np.ndarray, "bins pixels"]]]:
        for start in range(0, n_bins, self._n_bins):
            n = min(self._n_bins, n_bins - start)
            one = self._video.read(a + start, a + start + n).reshape(n, -1)
            yield slice(start, start + n), one, self._video.read(b + start, b + start + n).reshape(n, -1)

    def _grey_level(self, a: int, b: int, n_bins: int) -> float:
        """One step of 256 between the darkest and the brightest pixel that both show; of bytes, one."""
        low, high = np.inf, -np.inf
        both = self._seen[a : a + n_bins] & self._seen[b : b + n_bins]
        for part, *shown in self._pieces(a, b, n_bins):
            for frames in shown if both[part].any() else ():
                low = min(low, float(frames[both[part]].min()))
                high = max(high, float(frames[both[part]].max()))
        if self._video.read(0, 1).dtype == np.uint8:
            return 1.0 if high - low >= FEWEST_LEVELS else 0.0
        return max((high - low) / GREY_LEVELS * (1 + 1e-5), ROUNDING * max(abs(low), abs(high)))


def _distance(
    one: Shaped[np.ndarray, "bins pixels"], other: Shaped[np.ndarray, "bins pixels"]
) -> Shaped[np.ndarray, " bins"]:
    wide = np.int16 if one.dtype == np.uint8 else np.float32
    return np.abs(one.astype(wide) - other.astype(wide)).max(axis=1)


def _remedy(pair: _Pair, longest: Trial, other: Trial) -> str:
    n_bins = other.stop - other.start - FURTHEST_SHIFT
    for shift in range(1, FURTHEST_SHIFT + 1):
        for a, b in ((longest.start + shift, other.start), (longest.start, other.start + shift)):
            if n_bins < 2 or a + n_bins > longest.stop:
                continue
            found = pair.compare(a, b, n_bins)
            if found.n_frames and found.is_repeat:
                return f"moved by {shift} frame{'s' if shift > 1 else ''} they agree: look at where the trials start"
    return "give different stimuli different ids, or leave stimulus_id out where trials are not repeats"
