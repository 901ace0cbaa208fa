"""The screen of an Experanto folder: what was shown, from when, and in which trials."""

import hashlib
import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from visioncore.config import parse_yaml
from visioncore.data.align import Frames, Intervals, Shown
from visioncore.data.sources.file_tree import FileTree
from visioncore.errors import ConfigError, DataError
from visioncore.recording import Split
from visioncore.spec import Columns

_SPLITS: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "oracle": "validation",
    "test": "test",
    "blank": "train",
    **{f"{when}_test_{what}": "test" for when in ("live", "final") for what in ("main", "bonus")},
    "final_test": "test",
}
"""Blanks train: a split of ours among trials that have their own would test on grey."""
_MODALITIES = ("image", "video", "blank", "invalid")
_LAYOUT = ("modality", "first_frame_idx", "num_frames", "image_size", "tier")


@dataclass(frozen=True)
class _ScreenTrial:
    """One numbered file of `screen/meta`."""

    name: str
    meta: dict[str, Any]
    modality: str
    first: int
    n_frames: int

    @property
    def data(self) -> str:
        return f"screen/data/{self.name}.npy"


class Screen:
    """Frames, trials and what is known of each.

    Raises:
        DataError: naming the file and field, what was found and what was expected.
    """

    def __init__(self, tree: FileTree, devices: dict[str, dict[str, Any]], where: str) -> None:
        self._tree, self._where = tree, f"{where}, screen"
        if devices["screen"]["modality"] != "screen":
            raise DataError(
                f"{self._where}, meta.yml: modality is '{devices['screen']['modality']}'; expected screen"
            )
        times = np.asarray(tree.array("screen/timestamps.npy"))
        self._trials = self._read_trials()
        self._require_all_frames(len(times))
        pictures = _TrialPictures(tree, self._trials, self._where)
        numbers = np.arange(len(times), dtype=np.int64)
        for trial in self._trials:
            if trial.modality == "invalid":
                numbers[trial.first : trial.first + trial.n_frames] = -1
        where_times = f"{self._where}/timestamps.npy"
        # Times are looked at before the ends of frames are derived from them.
        frames = Frames(times, numbers, pictures, where_times)
        self.frames = Frames(times, numbers, pictures, where_times, self._ends(frames.times_s))
        ids = self._repeated()
        self.shown = tuple(
            Shown(
                trial.first,
                trial.first + trial.n_frames,
                self._split(trial),
                ids.get(trial.name),
                None,
                trial.modality,
            )
            for trial in self._trials
        )
        self.invalid = self._invalid()
        self.columns = self._columns()

    def _read_trials(self) -> list[_ScreenTrial]:
        trials = []
        for name in sorted(self._tree.names):
            match = re.fullmatch(r"screen/meta/(\d{5})\.yml", name)
            if match is None:
                continue
            where = f"{self._where}/meta/{match[1]}.yml"
            try:
                meta = parse_yaml(self._tree.bytes(name).decode("utf-8"), where)
            except (ConfigError, UnicodeDecodeError) as error:
                raise DataError(str(error)) from None
            modality = meta.get("modality") if isinstance(meta, dict) else None
            if modality not in _MODALITIES:
                raise DataError(f"{where}: modality is {modality!r}; expected {', '.join(_MODALITIES)}")
            first, n = (
                meta.get("first_frame_idx"),
                meta.get("num_frames", 1) if modality in ("video", "invalid") else 1,
            )
            for key, value in (("first_frame_idx", first), ("num_frames", n)):
                if isinstance(value, bool) or not isinstance(value, int) or value < (key == "num_frames"):
                    raise DataError(f"{where}: {key} is {value!r}; expected a whole number")
            trials.append(_ScreenTrial(match[1], meta, modality, first, n))
        if not trials:
            raise DataError(
                f"{self._where}: has no trial; expected meta/00000.yml and on, names of five digits"
            )
        return trials

    def _require_all_frames(self, n_times: int) -> None:
        expected = 0
        for trial in self._trials:
            if trial.first != expected:
                raise DataError(
                    f"{self._where}/meta/{trial.name}.yml: first_frame_idx is {trial.first}; expected {expected}, "
                    "where the trial before ends (is a file of a trial missing?)"
                )
            expected += trial.n_frames
        if expected != n_times:
            raise DataError(
                f"{self._where}/timestamps.npy: has {n_times} timestamps, and the trials have {expected} frames; "
                "expected one for each"
            )

    def _ends(self, times_s: Float64[np.ndarray, " frames"]) -> Float64[np.ndarray, " frames"]:
        """A frame stays until the next one; the last one as long as others of its kind do."""
        steps = np.diff(times_s)
        last = self._trials[-1]
        if last.modality == "video" and last.n_frames > 1:
            like = steps[last.first :]
        else:
            like = np.array(
                [steps[t.first + t.n_frames - 1] for t in self._trials[:-1] if t.modality == last.modality]
            )
        if not len(like):
            like = steps
        if not len(like):
            raise DataError(
                f"{self._where}/timestamps.npy: has one timestamp; expected several, to tell how long they last"
            )
        return np.append(times_s[1:], times_s[-1] + float(np.median(like)))

    def _split(self, trial: _ScreenTrial) -> Split | None:
        tier = trial.meta.get("tier")
        if trial.modality in ("blank", "invalid"):
            return "train"
        if tier is None:
            return None
        if str(tier) not in _SPLITS:
            raise DataError(
                f"{self._where}/meta/{trial.name}.yml: tier is {tier!r}; expected {', '.join(_SPLITS)}, or none"
            )
        return _SPLITS[str(tier)]

    def _repeated(self) -> dict[str, str]:
        """By the trial's name, a digest of what it shows, for trials that show the same."""
        shown = [t for t in self._trials if t.modality in ("image", "video")]
        likely = {t.name: self._some_of(t) for t in shown}
        times = Counter(likely.values())
        digests = {
            t.name: hashlib.sha256(np.ascontiguousarray(self._tree.array(t.data)).tobytes()).hexdigest()[:16]
            for t in shown
            if times[likely[t.name]] > 1
        }
        repeats = Counter(digests.values())
        return {name: digest for name, digest in digests.items() if repeats[digest] > 1}

    def _some_of(self, trial: _ScreenTrial) -> str:
        """A digest of the shape and of a frame or two: equal where all is equal."""
        array = self._tree.array(trial.data)
        some = np.ascontiguousarray(array[:: max(len(array) - 1, 1)]) if array.ndim else np.asarray(array)
        return hashlib.sha256(repr((array.shape, array.dtype.str)).encode() + some.tobytes()).hexdigest()

    def _invalid(self) -> tuple[Intervals, ...]:
        """Trials that the experimenter has marked."""
        marked = [t for t in self._trials if t.meta.get("valid_trial") is False]
        if not marked:
            return ()
        times, stop = self.frames.times_s, self.frames.stop_s
        assert stop is not None
        begin = np.array([times[t.first] for t in marked])
        end = np.array([stop[t.first + t.n_frames - 1] for t in marked])
        return (Intervals(begin, end, f"{self._where}, valid_trial"),)

    def _columns(self) -> Columns:
        """Tier, number, and every plain value that trials have beside."""
        keys = dict.fromkeys(
            key
            for trial in self._trials
            for key, value in trial.meta.items()
            if key not in _LAYOUT and isinstance(value, str | int | float)
        )
        told: Columns = {
            "file": tuple(trial.name for trial in self._trials),
            "tier": tuple(str(trial.meta.get("tier", "")) for trial in self._trials),
        }
        for key in keys:
            values = (trial.meta.get(key) for trial in self._trials)
            told[key] = tuple(v if isinstance(v, str | int | float) else None for v in values)
        return told


class _TrialPictures:
    """`Pictures` that lie in a file for each trial, numbered through; one file is open at a time."""

    def __init__(self, tree: FileTree, trials: list[_ScreenTrial], where: str) -> None:
        self._tree, self._trials, self._where = tree, trials, where
        self._firsts = [trial.first for trial in trials]
        drawn = next((t for t in trials if t.modality in ("image", "video")), None)
        if drawn is None:
            raise DataError(f"{where}: has no trial with an image or a video")
        first = self._frames(drawn)
        self._shape: tuple[int, int, int] = (first.shape[1], first.shape[2], first.shape[3])
        self._dtype = self._common_dtype(trials)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        """uint8 where all is, else float32."""
        return self._dtype

    def read(self, numbers: Int64[np.ndarray, " some"]) -> Shaped[np.ndarray, "some channels height width"]:
        """Pictures by number."""
        pictures = np.empty((len(numbers), *self._shape), self._dtype)
        owner = np.array([bisect_right(self._firsts, int(n)) - 1 for n in numbers], np.int64)
        for k in np.unique(owner):
            rows, trial = owner == k, self._trials[int(k)]
            if trial.modality in ("blank", "invalid"):
                pictures[rows] = _grey(trial)
                continue
            frames = self._frames(trial)
            if frames.shape[1:] != self._shape:
                raise DataError(
                    f"{self._where}/data/{trial.name}.npy: pictures have shape {frames.shape[1:]}, those before "
                    f"{self._shape} (channels, height, width); expected one size for all"
                )
            pictures[rows] = frames[numbers[rows] - trial.first]
        return pictures

    def _frames(self, trial: _ScreenTrial) -> Shaped[np.ndarray, "frames channels height width"]:
        """A trial's file, with channels before rows."""
        array = self._tree.array(trial.data)
        where = f"{self._where}/data/{trial.name}.npy"
        if array.dtype.kind not in "uif":
            raise DataError(f"{where}: is {array.dtype}; expected numbers")
        size = tuple(trial.meta.get("image_size") or ())[:2]
        if array.ndim == 2 or (trial.modality == "image" and array.shape[0] != 1):
            array = array[None]
        if array.ndim == 3:
            array = array[..., None]
        if array.ndim != 4 or len(array) != trial.n_frames or (size and array.shape[1:3] != size):
            raise DataError(
                f"{where}: has shape {self._tree.array(trial.data).shape}; by meta/{trial.name}.yml expected "
                f"{trial.n_frames} frames of {' x '.join(map(str, size)) or 'some size'} pixels"
            )
        return np.moveaxis(array, 3, 1)

    def _common_dtype(self, trials: list[_ScreenTrial]) -> np.dtype:
        drawn = (t for t in trials if t.modality in ("image", "video"))
        bytes_ = all(self._tree.array(t.data).dtype == np.uint8 for t in drawn)
        grey = [_grey(t) for t in trials if t.modality == "blank"]
        whole = all(0 <= value <= 255 and value == round(value) for value in grey)
        return np.dtype(np.uint8 if bytes_ and whole else np.float32)


def _grey(trial: _ScreenTrial) -> float:
    value = trial.meta.get("interleave_value", 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"screen/meta/{trial.name}.yml: interleave_value is {value!r}; expected a grey value")
    return float(value)
