"""The trials of a Sensorium mouse: which files there are, what each tier is, and which trials show the same clip."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped

from visioncore.data.repeats import LEAST_CHANGED_EQUAL, LEAST_EQUAL
from visioncore.data.sources.file_tree import FileTree
from visioncore.errors import DataError
from visioncore.recording import Split

Tiers = Literal["published", "public"]
TIERS: dict[str, tuple[Split, str]] = {
    "train": ("train", ""),
    "oracle": ("validation", ""),
    "validation": ("validation", ""),
    "test": ("test", ""),
    "final_test": ("test", ""),
    **{f"{when}{main}": ("test", "") for when in ("live", "final") for main in ("_main", "_test_main")},
    **{
        f"{when}{bonus}": ("test", "bonus")
        for when in ("live", "final")
        for bonus in ("_bonus", "_test_bonus")
    },
}
"""Split and kind of stimulus (where it is not the usual one) of each tier."""
LEFT_OUT = "none"
VALIDATES = ("oracle", "validation")
PUBLIC_VALIDATION = 0.1
"""Of the training clips, with `tiers: public`."""
KINDS = ("video", "directional pink noise", "gaussian dots", "random dots", "drifting gabor", "flashed image")
"""By the number in `stimulus_ids`, where a lab has added them."""
_SAMPLED = 16
_GREY_LEVELS = 255
_CANDIDATE = 0.5
_PIXELS, _COARSE = 24, 8.0
"""Pixels that are compared first, and how many of their grey levels they may differ by."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialFile:
    """One trial: the number of its files, and what was found in them."""

    number: int
    tier: str
    n_bins: int
    withheld: bool
    """Its responses are missing, all zero, or NaN from start to end."""


@dataclass(frozen=True)
class Scan:
    """What all files of a mouse showed when they were read once."""

    trials: tuple[TrialFile, ...]
    clip: tuple[str | None, ...]
    """Digest of what each trial shows; equal for repeats. None: it was not looked for."""
    own_mask: bool
    """Whether some unit is NaN where others are not, so that each has a mask of its own."""


class MouseFiles:
    """The files of one mouse, as the competition hands them out.

    Raises:
        DataError: naming the file, what was found and what was expected.
    """

    def __init__(self, tree: FileTree) -> None:
        self.tree = tree
        kinds = {
            name.split("/")[1] for name in tree.names if re.fullmatch(r"data/(videos|images)/\d+\.npy", name)
        }
        if len(kinds) != 1:
            raise DataError(
                f"{tree.where}: has {' and '.join(sorted(kinds)) or 'no stimulus'} in data/; expected files "
                "data/videos/NUMBER.npy, or data/images/NUMBER.npy"
            )
        self.stimulus = kinds.pop()
        self.static = self.stimulus == "images"
        self.tiers = self._tiers()
        self.unit_ids = self._unit_ids()

    def shown(self, number: int) -> Shaped[np.ndarray, "time channels height width"]:
        """What a trial shows, without its padding."""
        name = f"data/{self.stimulus}/{number}.npy"
        array = self.tree.array(name)
        axes = "(channels, height, width)" if self.static else "(height, width, time)"
        if array.ndim == 2 and self.static:
            array = array[None]
        if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "uif":
            raise DataError(
                f"{self.tree.where}, {name}: is {array.dtype} of shape {array.shape}; expected numbers {axes}"
            )
        if self.static:
            return array[None]
        return np.moveaxis(array[:, :, : self._n_bins(array, name)], 2, 0)[:, None]

    def responses(self, trial: TrialFile) -> Float32[np.ndarray, "time units"]:
        """What was recorded in a trial; NaN where it was withheld. Rounding below zero is taken away."""
        read = self._series("responses", trial.number, trial.n_bins)
        if read is None or trial.withheld:
            return np.full((trial.n_bins, len(self.unit_ids)), np.nan, np.float32)
        if read.shape[1] != len(self.unit_ids):
            raise DataError(
                f"{self.tree.where}, data/responses/{trial.number}.npy: has {read.shape[1]} rows, and "
                f"meta/neurons/unit_ids.npy names {len(self.unit_ids)} neurons; expected (neurons, time)"
            )
        values = read.astype(np.float32)
        return np.where((values < 0) & (values > -1e-6), np.float32(0), values)

    def behaviour(self, folder: str, trial: TrialFile, columns: int) -> Float32[np.ndarray, "time signals"]:
        """Signals of `behavior` or `pupil_center`; NaN where the file is missing."""
        read = self._series(folder, trial.number, trial.n_bins)
        if read is None:
            return np.full((trial.n_bins, columns), np.nan, np.float32)
        if read.shape[1] != columns:
            raise DataError(
                f"{self.tree.where}, data/{folder}/{trial.number}.npy: has {read.shape[1]} rows where other trials "
                f"have {columns}; expected (signals, time)"
            )
        return read.astype(np.float32)

    def behaviour_columns(self, folder: str) -> int:
        """How many signals a folder of behaviour has; 0 where there is none."""
        numbers = [n for n in self.numbers(folder) if n < len(self.tiers)]
        if not numbers:
            return 0
        name = f"data/{folder}/{numbers[0]}.npy"
        return int(self._array(name).shape[0])

    def numbers(self, folder: str) -> list[int]:
        """Of the files in a folder of `data`, in order."""
        found = (re.fullmatch(rf"data/{folder}/(\d+)\.npy", name) for name in self.tree.names)
        return sorted(int(match[1]) for match in found if match)

    def table(self, name: str, n_rows: int) -> Shaped[np.ndarray, " rows"] | None:
        """A column of `meta`; None where it is missing, is no column, or holds Python objects."""
        if name not in self.tree.names:
            return None
        try:
            array = self.tree.array(name)
        except DataError as error:
            _logger.warning("%s; it is left out", error)
            return None
        return np.asarray(array) if array.shape == (n_rows,) and array.dtype.kind in "iufbU" else None

    def scan(self, clips_of: Sequence[str]) -> Scan:
        """All trials but those of the tier `none`, in the order of their numbers.

        Args:
            clips_of: tiers whose trials are compared with each other.
        """
        trials: list[TrialFile] = []
        signatures: dict[int, _Signature] = {}
        own_mask, size = False, ()
        there = set(self.numbers(self.stimulus))
        for number, tier in enumerate(self.tiers):
            if tier == LEFT_OUT:
                continue
            if number not in there:
                raise DataError(
                    f"{self.tree.where}: has no data/{self.stimulus}/{number}.npy, a trial of the tier '{tier}' by "
                    "meta/trials/tiers.npy; was it copied completely?"
                )
            shown = self.shown(number)
            size = size or shown.shape[1:]
            if shown.shape[1:] != size:
                raise DataError(
                    f"{self.tree.where}, data/{self.stimulus}/{number}.npy: shows {shown.shape[1:]} (channels, height, "
                    f"width), and trials before {size}; expected one size for all"
                )
            found = self._series("responses", number, len(shown))
            withheld, partly = _withheld(found, tier, self.static)
            own_mask |= partly
            if tier in clips_of:
                signatures[len(trials)] = _Signature.of(shown)
            trials.append(TrialFile(number, tier, len(shown), withheld))
        if not trials:
            raise DataError(
                f"{self.tree.where}: meta/trials/tiers.npy names no trial but of the tier '{LEFT_OUT}'"
            )
        return Scan(tuple(trials), self._clips(trials, signatures), own_mask)

    def _clips(self, trials: list[TrialFile], signatures: dict[int, "_Signature"]) -> tuple[str | None, ...]:
        """Trials that show one clip get the digest of the first of them; a codec may have moved a pixel by a level."""
        clip: list[str | None] = [None] * len(trials)
        for alike in _of_one_shape(signatures):
            coarse = np.stack([signatures[place].coarse for place in alike])
            high, low = coarse.max(axis=(1, 2)), coarse.min(axis=(1, 2))
            first: list[int] = []
            for k, place in enumerate(alike):
                known = np.array(first, int)
                # The range of a few pixels is less than that of all, so more of its levels are allowed.
                level = (np.maximum(high[known], high[k]) - np.minimum(low[known], low[k])) / _GREY_LEVELS
                near = np.abs(coarse[known] - coarse[k]).max(axis=2) <= _COARSE * level[:, None] + 1e-9
                likely = known[near.mean(axis=1) >= _CANDIDATE]
                same = (n for n in likely if self._show_one(trials, signatures, alike[n], place))
                original = next(same, None)
                if original is None:
                    first.append(k)
                clip[place] = signatures[place if original is None else alike[original]].digest
        return tuple(clip)

    def _show_one(
        self, trials: list[TrialFile], signatures: dict[int, "_Signature"], one: int, other: int
    ) -> bool:
        if signatures[one].digest == signatures[other].digest:
            return True
        return signatures[one].may_be(signatures[other]) and _are_one(
            self.shown(trials[one].number), self.shown(trials[other].number)
        )

    def _tiers(self) -> tuple[str, ...]:
        name = "meta/trials/tiers.npy"
        tiers = self.tree.array(name)
        where = f"{self.tree.where}, {name}"
        if tiers.dtype.kind == "S":
            tiers = np.char.decode(tiers, "utf-8", "replace")
        if tiers.ndim != 1 or tiers.dtype.kind != "U":
            raise DataError(
                f"{where}: is {tiers.dtype} of shape {tiers.shape}; expected a name for each trial"
            )
        unknown = Counter(str(tier) for tier in tiers if tier != LEFT_OUT and str(tier) not in TIERS)
        if unknown:
            tier, n = unknown.most_common(1)[0]
            raise DataError(
                f"{where}: {n} trials are of the tier '{tier}'; expected {', '.join(TIERS)}, {LEFT_OUT}"
            )
        beyond = [n for n in self.numbers(self.stimulus) if n >= len(tiers)]
        if beyond:
            raise DataError(
                f"{where}: names tiers of {len(tiers)} trials, and there is data/{self.stimulus}/{beyond[0]}.npy; "
                "expected one for each, from 0 on"
            )
        return tuple(str(tier) for tier in tiers)

    def _unit_ids(self) -> tuple[str, ...]:
        name = "meta/neurons/unit_ids.npy"
        ids = self.tree.array(name)
        where = f"{self.tree.where}, {name}"
        if ids.ndim != 1 or ids.dtype.kind not in "iuU":
            raise DataError(
                f"{where}: is {ids.dtype} of shape {ids.shape}; expected a number for each neuron"
            )
        unit_ids = tuple(str(i) for i in ids.tolist())
        twice = [unit for unit, n in Counter(unit_ids).items() if n > 1]
        if twice:
            raise DataError(
                f"{where}: unit id {twice[0]} appears more than once; expected one for each neuron"
            )
        return unit_ids

    def _n_bins(self, video: Shaped[np.ndarray, "height width time"], name: str) -> int:
        """Up to the first NaN of the first pixel."""
        if video.dtype.kind != "f":
            return video.shape[2]
        known: Bool[np.ndarray, " time"] = ~np.isnan(video[0, 0])
        n_bins = len(known) if known.all() else int(np.argmin(known))
        if not n_bins:
            raise DataError(f"{self.tree.where}, {name}: is NaN from the first frame on; expected a video")
        return n_bins

    def _series(self, folder: str, number: int, n_bins: int) -> Shaped[np.ndarray, "time rows"] | None:
        """A file of (rows, time), or of (rows,) for an image, as (time, rows); None where there is none."""
        name = f"data/{folder}/{number}.npy"
        if name not in self.tree.names:
            return None
        array = self._array(name)
        if self.static:
            return np.asarray(array)[None]
        if array.shape[1] < n_bins:
            raise DataError(
                f"{self.tree.where}, {name}: has {array.shape[1]} bins, and data/videos/{number}.npy {n_bins} frames; "
                "expected (rows, time) with at least as many"
            )
        return np.asarray(array[:, :n_bins]).T

    def _array(self, name: str) -> Shaped[np.ndarray, "..."]:
        array = self.tree.array(name)
        if self.static and array.ndim == 2 and 1 in array.shape:
            array = array.reshape(-1)
        expected, axes = (1, "(rows,)") if self.static else (2, "(rows, time)")
        if array.ndim != expected or array.dtype.kind not in "uif":
            raise DataError(
                f"{self.tree.where}, {name}: is {array.dtype} of shape {array.shape}; expected numbers {axes}"
            )
        return array


def _withheld(found: Shaped[np.ndarray, "time rows"] | None, tier: str, static: bool) -> tuple[bool, bool]:
    """Whether nothing was given, and whether only some units are NaN in some bin."""
    if found is None or not found.size:
        return True, False
    unknown = np.isnan(found) if found.dtype.kind == "f" else np.zeros(found.shape, bool)
    if unknown.all():
        return True, False
    # To one image of the training tiers a few units may all be silent; to seconds of video they are not.
    silent = not found[~unknown].any()
    if silent and not (static and tier in ("train", *VALIDATES)):
        return True, False
    return False, bool((unknown.any(axis=1) & ~unknown.all(axis=1)).any())


@dataclass(frozen=True)
class _Signature:
    """A few frames of a clip, to tell which may be one."""

    n_bins: int
    frames: Float32[np.ndarray, "sampled pixels"]
    digest: str

    @classmethod
    def of(cls, shown: Shaped[np.ndarray, "time channels height width"]) -> "_Signature":
        at: Int64[np.ndarray, " sampled"] = np.unique(
            np.linspace(0, len(shown) - 1, _SAMPLED).astype(np.int64)
        )
        values = np.ascontiguousarray(shown, dtype=np.float32)
        digest = hashlib.sha256(values.tobytes()).hexdigest()[:16]
        return cls(len(shown), values[at].reshape(len(at), -1), digest)

    @property
    def coarse(self) -> Float32[np.ndarray, "sampled some"]:
        """A few pixels of them."""
        return self.frames[:, :: max(self.frames.shape[1] // _PIXELS, 1)]

    def may_be(self, other: "_Signature") -> bool:
        level = _grey_level(self.frames, other.frames)
        return bool(np.mean(np.abs(self.frames - other.frames).max(axis=1) <= level) >= _CANDIDATE)


def _of_one_shape(signatures: dict[int, _Signature]) -> list[list[int]]:
    """Places of the signatures that can be compared."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, signature in signatures.items():
        alike.setdefault((signature.n_bins, *signature.frames.shape), []).append(place)
    return list(alike.values())


def _are_one(one: Shaped[np.ndarray, "time ..."], other: Shaped[np.ndarray, "time ..."]) -> bool:
    """Nearly all frames agree to within a grey level, and also those in which something changes."""
    a, b = (shown.astype(np.float32).reshape(len(shown), -1) for shown in (one, other))
    level = _grey_level(a, b)
    equal = np.abs(a - b).max(axis=1) <= level
    changed = np.maximum(np.abs(a - a[:1]).max(axis=1), np.abs(b - a[:1]).max(axis=1)) > level
    return bool(
        equal.mean() >= LEAST_EQUAL and (not changed.any() or equal[changed].mean() >= LEAST_CHANGED_EQUAL)
    )


def _grey_level(one: Float32[np.ndarray, "time pixels"], other: Float32[np.ndarray, "time pixels"]) -> float:
    """One step of 255 between the darkest and the brightest pixel of both: `prepare` holds repeats to the same."""
    high = max(float(one.max()), float(other.max()))
    return (high - min(float(one.min()), float(other.min()))) / _GREY_LEVELS
