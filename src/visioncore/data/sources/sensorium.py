"""Mice of the Sensorium competitions, as they are handed out: 2023 (video) and 2022 (images), each a folder or a zip.

Trials stand on bins already (frames of the film at 30 Hz; one bin for an image, which has no rate), so they are read as
they are, one trial's file at a time.
"""

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64, Shaped
from pydantic import Field, PositiveFloat

from visioncore.config import ComponentConfig
from visioncore.data.sources.clocked import ClockedSessionConfig, settings_without_places
from visioncore.data.sources.file_tree import open_tree
from visioncore.data.sources.missing import without_codes
from visioncore.data.sources.sensorium_trials import (
    KINDS,
    LEFT_OUT,
    PUBLIC_VALIDATION,
    TIERS,
    VALIDATES,
    MouseFiles,
    Scan,
    Tiers,
)
from visioncore.errors import DataError
from visioncore.recording import RecordingSource, SessionRecording, Signal, Split, Trial
from visioncore.spec import Columns, Sampling, SessionSpec

VIDEO_HZ = 30.0
MARKER = "meta/trials/tiers.npy"
LICENCE = (
    "the mice of the Sensorium competitions are published under CC BY-NC-ND: ask their authors before you publish, and "
    "hand on neither stores nor weights made from them"
)
_STIMULUS_IDS = ("frame_image_id", "colorframeprojector_image_id", "video_ids")
_NAMES = {
    ("behavior", 2): ("pupil_size", "running"),
    ("behavior", 3): ("pupil_size", "pupil_change", "running"),
    ("pupil_center", 2): ("pupil_x", "pupil_y"),
}
_KEPT_BYTES = 2**28

_logger = logging.getLogger(__name__)


class SensoriumConfig(ComponentConfig):
    """Mice of the Sensorium competitions."""

    type: Literal["sensorium"] = "sensorium"
    sampling_rate_hz: PositiveFloat | None = None
    """Frames per second of the videos; 30 when left out. Images have none."""
    tiers: Tiers = "published"
    """`published`: the competition's tiers. `public`: where its test tiers are withheld, `oracle` is the test split and
    validation is drawn from the training clips; live and final trials are predicted, and count in no score."""
    sessions: tuple["SensoriumSessionConfig", ...] = Field(min_length=1)

    def build(self, base_dir: Path) -> "SensoriumSource":
        """The source; `base_dir` is the folder of the YAML, from which paths count."""
        return SensoriumSource(self, base_dir)


class SensoriumSessionConfig(ClockedSessionConfig):
    """One mouse."""

    path: str = Field(min_length=1)
    """Its folder or zip, as published."""


class SensoriumSource(RecordingSource):
    """A `RecordingSource` over folders and zips of the competitions."""

    def __init__(self, config: SensoriumConfig, base_dir: Path) -> None:
        self._config, self._base_dir = config, base_dir
        self._sessions: dict[str, SensoriumSessionConfig] = {}
        for session in config.sessions:
            if session.id in self._sessions:
                raise DataError(
                    f"session id '{session.id}' appears more than once; give every session its own"
                )
            self._sessions[session.id] = session
        self._mice: dict[str, MouseFiles] = {}

    def sampling(self) -> Sampling:
        """The frame size of the first trial of the first mouse."""
        mouse = self.mouse(next(iter(self._sessions)))
        if mouse.static and self._config.sampling_rate_hz is not None:
            raise DataError(
                f"{mouse.tree.where}: holds images, which have no rate; leave sampling_rate_hz out of the YAML"
            )
        first = next((n for n in mouse.numbers(mouse.stimulus) if mouse.tiers[n] != LEFT_OUT), None)
        if first is None:
            raise DataError(f"{mouse.tree.where}: has no trial but of the tier '{LEFT_OUT}'")
        _, channels, height, width = mouse.shown(first).shape
        rate_hz = None if mouse.static else self._config.sampling_rate_hz or VIDEO_HZ
        return Sampling(channels=channels, height=height, width=width, rate_hz=rate_hz)

    def session_ids(self) -> tuple[str, ...]:
        """In the order of the YAML."""
        return tuple(self._sessions)

    def fingerprint(self, session_id: str) -> str:
        """Digest of the settings and of the files in `data` and `meta`."""
        settings = settings_without_places(self._config, self._sessions[session_id], ["path"])
        files = self.mouse(session_id).tree.fingerprint(lambda name: name.startswith(("data/", "meta/")))
        return hashlib.sha256(json.dumps([settings, files], sort_keys=True).encode()).hexdigest()

    def check(self) -> None:
        """Say what the licence asks for, once when mice are prepared; refuse videos beside images."""
        kinds = {self.mouse(session).stimulus: session for session in self._sessions}
        if len(kinds) > 1:
            told = " and ".join(f"{kind} ('{session}')" for kind, session in sorted(kinds.items()))
            raise DataError(
                f"the sessions hold {told}; these have no clock in common: make a recording of each"
            )
        _logger.warning(LICENCE)

    def session(self, session_id: str) -> SessionRecording:
        """One mouse, its trials read one at a time.

        Raises:
            DataError: naming the file, what was found and what was expected.
        """
        return SensoriumRecording(self._sessions[session_id], self.mouse(session_id), self._config.tiers)

    def directory(self, session_id: str) -> str:
        """What the competition calls a mouse."""
        name = Path(self._sessions[session_id].path).name
        return name.removesuffix(".zip")

    def response_std(self, session_id: str) -> Float64[np.ndarray, "frames units"]:
        """The published spread of every unit's responses, for each frame of a trial; of images, one row.

        Raises:
            DataError: the file is missing, or has another shape.
        """
        mouse, name = self.mouse(session_id), "meta/statistics/responses/all/std.npy"
        std = np.asarray(mouse.tree.array(name), np.float64)
        std = std[:, None] if std.ndim == 1 else std
        if std.ndim != 2 or len(std) != len(mouse.unit_ids):
            raise DataError(
                f"{mouse.tree.where}, {name}: has shape {std.shape}; expected ({len(mouse.unit_ids)} neurons, frames)"
            )
        return std.T

    def mouse(self, session_id: str) -> MouseFiles:
        """The files of a session."""
        if session_id not in self._mice:
            path = self._base_dir / self._sessions[session_id].path
            self._mice[session_id] = MouseFiles(open_tree(path, MARKER))
        return self._mice[session_id]


class SensoriumRecording:
    """A `SessionRecording` of one mouse."""

    def __init__(self, config: SensoriumSessionConfig, mouse: MouseFiles, tiers: Tiers) -> None:
        self._mouse, self._tiers, self.missing = mouse, tiers, config.missing
        self._columns = {folder: mouse.behaviour_columns(folder) for folder in ("behavior", "pupil_center")}
        names = tuple(
            name
            for folder, n in self._columns.items()
            for name in _NAMES.get((folder, n), tuple(f"{folder}_{k}" for k in range(n)))
        )
        self.spec = SessionSpec(
            id=config.id,
            subject=config.subject,
            unit_ids=mouse.unit_ids,
            units=_units(mouse),
            response_kind="trace",
            behaviour_names=names,
            geometry=config.geometry,
        )
        self.unit_truth: Mapping[str, Sequence[Any]] = {}
        self._kept_bytes = 0
        self._kept: dict[tuple[str, int], Shaped[np.ndarray, "time ..."]] = {}
        self.scan: Scan = self._scan()
        self.trial_columns: Columns = self._read_trial_columns()
        self.trials: tuple[Trial, ...] = self._read_trials()
        self._say_what_is_withheld()

    @property
    def alignment(self) -> None:
        """Bins are the format's own."""

    def _scan(self) -> Scan:
        """What the files show when each is read once. Training videos are unique, as far as the competition says."""
        if any(f"meta/trials/{name}.npy" in self._mouse.tree.names for name in _STIMULUS_IDS):
            return self._mouse.scan(())
        compared = set(TIERS)
        if not self._mouse.static and self._tiers == "published":
            compared.discard("train")
        return self._mouse.scan(sorted(compared))

    def _read_trials(self) -> tuple[Trial, ...]:
        """One after the other in the order of their numbers."""
        starts = np.concatenate([[0], np.cumsum([trial.n_bins for trial in self.scan.trials])]).tolist()
        splits, ids, kinds = self._splits(), self._stimulus_ids(), self._kinds()
        return tuple(
            Trial(starts[k], starts[k + 1], splits[k], ids[k], None, kinds[k]) for k in range(len(splits))
        )

    def _read_trial_columns(self) -> Columns:
        """The number of a trial's files, its tier, and what else `meta/trials` has of it."""
        trials = self.scan.trials
        told: Columns = {
            "file": tuple(trial.number for trial in trials),
            "tier": tuple(trial.tier for trial in trials),
        }
        for name in sorted(self._mouse.tree.names):
            key = name.removeprefix("meta/trials/").removesuffix(".npy")
            if name != f"meta/trials/{key}.npy" or name == MARKER or "/" in key:
                continue
            values = self._mouse.table(name, len(self._mouse.tiers))
            if values is not None:
                told[key] = _plain(values[[trial.number for trial in trials]])
        return told

    @property
    def n_bins(self) -> int:
        """Of all trials."""
        return self.trials[-1].stop

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Which signals there are."""
        behaviour: tuple[Signal, ...] = ("behaviour",) if self.spec.behaviour_names else ()
        return ("video", "responses", "valid", *behaviour)

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal."""
        parts = []
        for place, trial in enumerate(self.trials):
            if trial.start < stop and trial.stop > start:
                own = self._of_trial(signal, place)
                parts.append(own[max(start - trial.start, 0) : stop - trial.start])
        if not parts:
            return self._of_trial(signal, 0)[:0]
        return np.concatenate(parts)

    def where(self, signal: Signal) -> str:
        """The session, and the folder that a signal is from."""
        folder = {"video": self._mouse.stimulus, "behaviour": "behavior", "valid": "responses"}.get(
            signal, signal
        )
        return f"session '{self.spec.id}' ({self._mouse.tree.where}), data/{folder}, {signal}"

    def close(self) -> None:
        """Let go of files and of what was kept of them."""
        self._kept.clear()
        self._mouse.tree.close()

    def _of_trial(self, signal: Signal, place: int) -> Shaped[np.ndarray, "time ..."]:
        key = (signal, place)
        if key not in self._kept:
            read = self._read_trial(signal, place)
            self._kept_bytes += read.nbytes
            if self._kept_bytes > _KEPT_BYTES:
                self._kept.clear()
                self._kept_bytes = read.nbytes
            self._kept[key] = read
        return self._kept[key]

    def _read_trial(self, signal: Signal, place: int) -> Shaped[np.ndarray, "time ..."]:
        trial, codes = self.scan.trials[place], self.missing or ()
        if signal == "video":
            shown = self._mouse.shown(trial.number)[: trial.n_bins]
            return np.ascontiguousarray(shown if shown.dtype == np.uint8 else shown.astype(np.float32))
        if signal == "responses":
            return without_codes(self._mouse.responses(trial), codes)
        if signal == "behaviour":
            parts = [self._mouse.behaviour(folder, trial, n) for folder, n in self._columns.items() if n]
            return without_codes(np.concatenate(parts, axis=1), codes)
        return self._valid(place)

    def _valid(self, place: int) -> Bool[np.ndarray, "time valid_units"]:
        trial = self.scan.trials[place]
        own_mask = self.scan.own_mask or bool(self.missing)
        shape = (trial.n_bins, len(self.spec.unit_ids) if own_mask else 1)
        if trial.withheld or (
            self._tiers == "public" and self.trials[place].split == "test" and not self._is_oracle(place)
        ):
            return np.zeros(shape, bool)
        known = np.isfinite(self._of_trial("responses", place))
        valid = known if own_mask else known.all(axis=1, keepdims=True)
        if self.spec.behaviour_names:
            valid = valid & np.isfinite(self._of_trial("behaviour", place)).all(axis=1, keepdims=True)
        return valid

    def _is_oracle(self, place: int) -> bool:
        return self.scan.trials[place].tier in VALIDATES

    def _splits(self) -> list[Split]:
        published = [TIERS[trial.tier][0] for trial in self.scan.trials]
        if self._tiers == "published":
            return published
        splits: list[Split] = ["test" if split == "validation" else split for split in published]
        ids = self._stimulus_ids(with_training=True)
        clips = sorted({ids[k] or "" for k, split in enumerate(splits) if split == "train"})
        # By digest of the clip, so that mice that saw the same clips are divided alike.
        clips.sort(key=lambda clip: hashlib.sha256(clip.encode()).hexdigest())
        chosen = set(clips[: math.ceil(PUBLIC_VALIDATION * len(clips))])
        return ["validation" if s == "train" and ids[k] in chosen else s for k, s in enumerate(splits)]

    def _stimulus_ids(self, *, with_training: bool = False) -> list[str | None]:
        """By the ids that a mouse has for its pictures or clips; else by what is shown, where something is repeated."""
        trials, columns = self.scan.trials, self.trial_columns
        for name in _STIMULUS_IDS:
            if name in columns:
                values = columns[name]
                return [None if isinstance(v, int) and v < 0 else str(v) for v in values]
        clips = self.scan.clip
        times = {clip: clips.count(clip) for clip in set(clips)}
        return [
            clip if with_training or trial.tier != "train" or times[clip] > 1 else None
            for clip, trial in zip(clips, trials, strict=True)
        ]

    def _kinds(self) -> list[str]:
        usual = "image" if self._mouse.static else "video"
        told = self.trial_columns.get("stimulus_ids")
        joined = self.trial_columns.get("trial_idx")
        kinds = []
        for place, trial in enumerate(self.scan.trials):
            kind = TIERS[trial.tier][1] or usual
            number = None if told is None else told[place]
            if isinstance(number, int) and 0 <= number < len(KINDS):
                kind = KINDS[number]
            elif joined is not None and not self._mouse.static and "--" in str(joined[place]):
                kind = "flashed image"
            kinds.append(kind)
        return kinds

    def _say_what_is_withheld(self) -> None:
        where, trials = f"session '{self.spec.id}' ({self._mouse.tree.where})", self.scan.trials
        none = sum(tier == LEFT_OUT for tier in self._mouse.tiers)
        if none:
            _logger.warning("%s: %d trials of the tier '%s' are left out", where, none, LEFT_OUT)
        withheld = [trial for trial in trials if trial.withheld]
        if not withheld:
            return
        tiers = ", ".join(sorted({trial.tier for trial in withheld}))
        remedy = ""
        tested = [trial for trial in trials if TIERS[trial.tier][0] == "test"]
        if self._tiers == "published" and all(trial.withheld for trial in tested):
            remedy = "; nothing is left to test on: set `tiers: public`, which tests on the trials of oracle"
        _logger.warning(
            "%s: responses of %d of %d trials are withheld (%s): they count in nothing%s",
            where,
            len(withheld),
            len(trials),
            tiers,
            remedy,
        )


def _units(mouse: MouseFiles) -> Columns:
    """What `meta/neurons` has of each neuron."""
    columns: Columns = {}
    n_units = len(mouse.unit_ids)
    for name in sorted(mouse.tree.names):
        key = name.removeprefix("meta/neurons/").removesuffix(".npy")
        if name != f"meta/neurons/{key}.npy" or key == "unit_ids":
            continue
        if key == "cell_motor_coordinates":
            places = mouse.tree.array(name)
            if places.shape != (n_units, 3):
                raise DataError(
                    f"{mouse.tree.where}, {name}: has shape {places.shape}; expected ({n_units} neurons, 3)"
                )
            columns |= {f"{axis}_um": _plain(places[:, k]) for k, axis in enumerate("xyz")}
        elif (values := mouse.table(name, n_units)) is not None:
            columns[key] = _plain(values)
    return columns


def _plain(values: Shaped[np.ndarray, " rows"]) -> tuple[Any, ...]:
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    return tuple(None if isinstance(v, float) and not math.isfinite(v) else v for v in values.tolist())
