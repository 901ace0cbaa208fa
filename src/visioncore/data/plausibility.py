"""Values that cannot be what they claim: codes for missing samples, rates in the place of counts, scales that differ.

Each is a legal number, so no check of types finds it, and each spoils a training in silence. What is found here is
refused with the bin it stands at; a source's YAML can say that the values are real (`missing: []`).
"""

import logging
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from visioncore.errors import DataError

CODES = (
    *(0.0, -1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, 99.0, 999.0, 9999.0, 99999.0),
    *(127.0, 255.0, -128.0, -32768.0, 32767.0, 65535.0, -2147483648.0, 2147483647.0, 4294967295.0),
)
"""What instruments and file formats write where they have no sample; and anything beyond `LARGEST`."""
LARGEST = 1e15
"""netCDF and the like fill with 1e20 or 9.97e36; no pixel, pupil or speed is so large."""
MOST_MISSING = 0.45
"""Share of a signal that may be a code; what is more common than that is the signal."""
CODE_DISTANCE, REPEATED_DISTANCE, ANY_DISTANCE = 1.0, 3.0, 10.0
"""How far from the rest, in widths of the rest, a known code, one value again and again, or any value must lie."""
COUNT_DISTANCE = 20.0
"""The same for counts, whose rest may be zeros and ones, so that it is one wider than it looks."""
FEWEST_LEVELS = 10
"""A signal with fewer different values is switched on and off: what lies far from the rest is one of its states."""
SAMPLED_BINS = 2000
_RARE_STRAYS = 0.025
"""Share of the bins below which strays are looked for by the extremes of all bins, above which in the sample."""
_LEAST_BULK = 0.5
"""Share of a sample that must lie together; less than `MOST_MISSING` leaves of all bins, since it is a sample."""
SAMPLED_FRAMES = 64
RARE = 0.05
"""Share of the frames below which uniform ones are an accident."""
FEWEST_MULTIPLES = 20
"""Bins with spikes that must all be multiples of one number to show that they are no counts."""
IMPOSSIBLE_CONTRAST, DOUBTFUL_CONTRAST = 8.0, 2.0
"""Ratio of the spreads of two sessions' videos."""
IMPOSSIBLE_OFFSET, DOUBTFUL_OFFSET = 5.0, 1.0
"""Difference of their means, in spreads."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stray:
    """Values far from the rest that make most of a signal's variance."""

    value: float
    """The most common of them."""
    at: Bool[np.ndarray, " samples"]
    """Where they are."""
    low: float
    high: float
    """Between which the rest lies."""


def stray_values(values: Float64[np.ndarray, " samples"], *, counts: bool = False) -> Stray | None:
    """What of a signal is not of one piece with the rest of it, if anything."""
    levels, n = np.unique(values, return_counts=True)
    if len(levels) < 2:
        return None
    width = 1.0 if counts else 0.0
    gaps = np.diff(levels)
    with np.errstate(divide="ignore", invalid="ignore"):
        above = gaps / (levels[:-1] - levels[0] + width)
        below = gaps / (levels[-1] - levels[1:] + width)
    before = np.cumsum(n)[:-1]
    above[before < (1 - MOST_MISSING) * len(values)] = 0.0
    below[before > MOST_MISSING * len(values)] = 0.0
    cut = int(np.argmax(np.maximum(above, below)))
    outer = levels > levels[cut] if above[cut] >= below[cut] else levels <= levels[cut]
    strays, inner = levels[outer], levels[~outer]
    value = float(strays[np.argmax(n[outer])])
    distance = float(max(above[cut], below[cut]))
    if not _is_far(value, distance, len(strays), int(n[outer].max()), len(inner), counts):
        return None
    at = np.isin(values, strays)
    if not values.var() > 2 * values[~at].var():
        return None
    return Stray(value, at, float(inner[0]), float(inner[-1]))


def _is_far(value: float, distance: float, n_values: int, repeats: int, n_levels: int, counts: bool) -> bool:
    known = value in CODES or abs(value) >= LARGEST
    if counts:
        return distance >= (COUNT_DISTANCE / 4 if known and value > 100 else COUNT_DISTANCE)
    if n_levels < FEWEST_LEVELS:
        return known and value != 0 and abs(value) > 1 and distance >= ANY_DISTANCE
    if n_values == 1 and repeats > 1:
        return distance >= (CODE_DISTANCE if known else REPEATED_DISTANCE)
    return distance >= ANY_DISTANCE


def require_plausible(
    values: Shaped[np.ndarray, "time signals"],
    valid: Bool[np.ndarray, "time some"],
    names: tuple[str, ...],
    where: str,
    *,
    counts: bool = False,
) -> None:
    """Refuse columns that hold codes for missing samples in valid bins.

    Raises:
        DataError: naming the column, the value, where it stands and what to do.
    """
    if not len(values):
        return
    extremes = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    for column in suspects(values[:: sampling_step(len(values))], *extremes, counts=counts):
        good = valid[:, min(column, valid.shape[1] - 1)]
        require_plausible_column(values[:, column], good, f"{where}, {names[column]}", counts=counts)


def require_plausible_column(
    values: Shaped[np.ndarray, " time"], good: Bool[np.ndarray, " time"], where: str, *, counts: bool = False
) -> None:
    """The same for one column.

    Raises:
        DataError: naming the value, where it stands and what to do.
    """
    found = stray_values(values[good].astype(np.float64), counts=counts)
    if found is not None:
        first = int(np.flatnonzero(good)[np.argmax(found.at)])
        raise DataError(
            f"{where}: {int(found.at.sum())} of {int(good.sum())} bins hold {found.value:.6g} or "
            f"the like, the first at bin {first}, and all others {found.low:.4g} to {found.high:.4g}; {REMEDY}"
        )


REMEDY = (
    "if that is a code for 'missing', name it in the session's YAML (missing: [VALUE]) and such samples are left out; "
    "if the values are real, say missing: []"
)


def sampling_step(n_bins: int) -> int:
    """Every how many bins one is looked at: enough to see where the bulk of a signal lies."""
    return max(n_bins // SAMPLED_BINS, 1)


def suspects(
    sample: Shaped[np.ndarray, "some signals"],
    lowest: Shaped[np.ndarray, " signals"],
    highest: Shaped[np.ndarray, " signals"],
    *,
    counts: bool,
) -> list[int]:
    """Columns of which all values are worth sorting: a few lie far from their bulk, or many of the sample do."""
    if counts:
        return [int(column) for column in np.flatnonzero(highest >= COUNT_DISTANCE)]
    some = sample.astype(np.float64)
    low, high = np.nanquantile(some, [_RARE_STRAYS, 1 - _RARE_STRAYS], axis=0)
    outside = np.maximum(highest - high, low - lowest)
    few = outside > CODE_DISTANCE * (high - low)
    return [column for column in range(some.shape[1]) if few[column] or _many_are_far(some[:, column])]


def _many_are_far(sample: Float64[np.ndarray, " samples"]) -> bool:
    """Whether a gap as wide as all that lies on one of its sides leaves most of a sample there."""
    levels, n = np.unique(sample[np.isfinite(sample)], return_counts=True)
    if len(levels) < 2:
        return True
    gaps, before = np.diff(levels), np.cumsum(n)[:-1]
    most = (1 - _LEAST_BULK) * n.sum()
    above = (gaps >= CODE_DISTANCE * (levels[:-1] - levels[0])) & (before >= n.sum() - most)
    below = (gaps >= CODE_DISTANCE * (levels[-1] - levels[1:])) & (before <= most)
    return bool((above | below).any())


class FrameExtremes:
    """The darkest and brightest pixel of every frame of a video, as it passes by in pieces."""

    def __init__(self, n_bins: int) -> None:
        self._every = max(n_bins // SAMPLED_FRAMES, 1)
        self._low: list[np.ndarray] = []
        self._high: list[np.ndarray] = []
        self._bins: list[np.ndarray] = []
        self._sample: list[np.ndarray] = []
        self._bytes = False

    def add(self, frames: Shaped[np.ndarray, "time channels height width"], first: int) -> None:
        """Take in the frames from bin `first` on; those that are not finite are left out."""
        self._bytes = frames.dtype == np.uint8
        flat = frames.reshape(len(frames), -1)
        good = np.isfinite(flat).all(axis=1)
        bins = first + np.flatnonzero(good)
        flat = flat[good]
        if not len(flat):
            return
        self._low.append(flat.min(axis=1))
        self._high.append(flat.max(axis=1))
        self._bins.append(bins)
        self._sample.append(flat[bins % self._every == 0])

    def require_plausible(self, where: str) -> None:
        """Refuse a video some of whose frames, or pixels of many frames, hold codes for missing samples.

        Raises:
            DataError: naming the value, the first frame and what to do.
        """
        if not self._bins:
            return
        low, high, bins = (np.concatenate(part) for part in (self._low, self._high, self._bins))
        _say_lonely_frames(low, high, bins, where)
        if self._bytes:
            return
        bottom, top = np.quantile(low, 0.05), np.quantile(high, 0.95)
        for ends, outside in ((low, bottom - low), (high, high - top)):
            known = np.isin(ends, CODES) & (ends != 0) | (np.abs(ends) >= LARGEST)
            width = max(float(top - bottom), np.finfo(np.float32).tiny)
            far = outside > np.where(known, CODE_DISTANCE, ANY_DISTANCE) * width
            if far.any() and top > bottom:
                at = int(np.argmax(far))
                raise DataError(
                    f"{where}: {int(far.sum())} of {len(bins)} frames hold pixels of {ends[at]:.6g} or the like, "
                    f"the first at bin {bins[at]}, and those of nearly all others lie in {bottom:.4g} to {top:.4g}; "
                    f"{REMEDY}"
                )
        found = stray_values(np.concatenate(self._sample).astype(np.float64).ravel())
        if found is not None:
            raise DataError(
                f"{where}: {found.at.mean():.1%} of the pixels hold {found.value:.6g} or the like, and all others "
                f"{found.low:.4g} to {found.high:.4g}; fill pixels outside of the screen with grey; {REMEDY}"
            )


def _say_lonely_frames(low: np.ndarray, high: np.ndarray, bins: np.ndarray, where: str) -> None:
    """Frames that are black or white all over, one or two at a time among frames with contrast, were hardly shown."""
    uniform = low == high
    extreme = uniform & ((low == low.min()) | (high == high.max()))
    # A blank between stimuli lasts longer.
    padded = np.pad(extreme, 2)
    long = padded[:-4] & padded[1:-3] | padded[1:-3] & padded[3:-1] | padded[3:-1] & padded[4:]
    lonely = extreme & ~long
    if 0 < lonely.sum() <= RARE * len(bins) and uniform.mean() <= RARE:
        at = int(np.argmax(lonely))
        logger.warning(
            "%s: %d of %d frames are %.6g all over, the first at bin %d, alone among frames with contrast: if they "
            "stand for lost frames, put the frame before in their place",
            where,
            lonely.sum(),
            len(bins),
            low[at],
            bins[at],
        )


def require_counts(
    common: Int64[np.ndarray, " units"],
    n_active: Int64[np.ndarray, " units"],
    names: tuple[str, ...],
    where: str,
) -> None:
    """Refuse units whose counts are all multiples of one number: spikes per second, or counts times a gain.

    Args:
        common: the greatest common divisor of all counts of each unit.
        n_active: how many of them are not zero.

    Raises:
        DataError: naming the unit, the number and what to do.
    """
    # A handful of doublets is no proof; all of a unit's many bins are.
    for unit in np.flatnonzero((common > 1) & (n_active >= FEWEST_MULTIPLES)):
        raise DataError(
            f"{where}, {names[unit]}: each of its {n_active[unit]} counts that is not zero is a multiple of "
            f"{common[unit]}: these are not counts but rates, or counts times a number; divide them by {common[unit]}"
        )


def require_one_scale(videos: dict[str, tuple[float, float]], where: str) -> None:
    """Refuse videos that, by mean and spread, are on different scales; say so where that is not sure.

    Args:
        videos: mean and spread under a name for messages, such as "session 'a'".

    Raises:
        DataError: naming both and their numbers.
    """
    faint = min(videos, key=lambda name: videos[name][1])
    strong = max(videos, key=lambda name: videos[name][1])
    low = min(videos, key=lambda name: videos[name][0])
    high = max(videos, key=lambda name: videos[name][0])
    least = float(np.finfo(np.float32).tiny)
    contrast = videos[strong][1] / max(videos[faint][1], least)
    offset = (videos[high][0] - videos[low][0]) / max(videos[strong][1], least)
    one, other = (faint, strong) if contrast > DOUBTFUL_CONTRAST else (low, high)
    told = " and ".join(
        f"{name} has a mean of {videos[name][0]:.4g} and a spread of {videos[name][1]:.4g}"
        for name in (one, other)
    )
    if contrast > IMPOSSIBLE_CONTRAST or offset > IMPOSSIBLE_OFFSET:
        raise DataError(
            f"{where}: the videos are on different scales: {told}; bring all to one, such as 0 to 255"
        )
    if contrast > DOUBTFUL_CONTRAST or offset > DOUBTFUL_OFFSET:
        logger.warning(
            "%s: %s: if these are different scales for the same screen, bring all to one; if the stimuli differ, "
            "nothing needs doing",
            where,
            told,
        )
