"""The score of the Sensorium 2023 competition, and the files that are sent to it.

Its numbers compare with its boards, and with nothing else: see docs/scores.md.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Real

from visioncore.config import Record
from visioncore.data import DataConfig, RecordingStore
from visioncore.data.sources.sensorium import SensoriumSource
from visioncore.data.splits import Block
from visioncore.data.store import SessionStore
from visioncore.errors import ConfigError, DataError
from visioncore.evaluation.of_run import count_test_evaluation
from visioncore.evaluation.prediction import (
    Behaviour,
    BlockPrediction,
    BlockPredictor,
    check_fit,
    require_recorded,
)
from visioncore.files import write_text
from visioncore.parquet import require_parquet
from visioncore.predictor import Predictor
from visioncore.recording import Split

FIRST_FRAME, STOP_FRAME = 50, 300
"""What is scored of each trial; a trial that is no longer than the first contributes nothing."""
EPSILON = 1e-8
"""Added to each standard deviation."""
LEAST_STD = 0.01
"""Of the mean standard deviation: smaller ones count as that."""


def precision_of(std: Real[np.ndarray, "frames units"]) -> Float64[np.ndarray, "frames units"]:
    """What the competition multiplies responses by, from their published standard deviation per frame and unit."""
    known = np.nan_to_num(std.astype(np.float64))
    least = LEAST_STD * float(np.nanmean(std))
    return 1 / np.where(known > least, known, least)


@dataclass
class ChallengeSums:
    """Sums over trials and frames, of which single-trial correlations are made: nothing is kept of a trial."""

    static: bool = False
    """Images have no frames to leave out."""
    skip_last: int = 0
    """Frames left out at the end of each trial: a winner of 2023 scored itself with 1."""
    _sums: list[np.ndarray] = field(default_factory=list)

    def frames(self, n_bins: int) -> slice:
        """Which frames of a trial are scored."""
        if self.static:
            return slice(0, n_bins)
        stop = max(min(n_bins, STOP_FRAME) - self.skip_last, 0)
        return slice(min(FIRST_FRAME, stop), stop)

    def add(
        self,
        prediction: Real[np.ndarray, "time units"],
        recorded: Real[np.ndarray, "time units"],
        valid: Bool[np.ndarray, "time units"] | None = None,
        precision: Float64[np.ndarray, "frames units"] | None = None,
    ) -> None:
        """One trial, from its first frame on. Both are scaled where the precision per frame is given."""
        some = self.frames(len(recorded))
        x, y = recorded[some].astype(np.float64), prediction[some].astype(np.float64)
        if precision is not None:
            scale = _rows(precision, some, len(x))
            x, y = x * scale, y * scale
        counts = np.ones(x.shape, bool) if valid is None else valid[some]
        x, y = np.where(counts, x, 0.0), np.where(counts, y, 0.0)
        sums = [counts.sum(0).astype(np.float64), *(v.sum(0) for v in (x, y, x * x, y * y, x * y))]
        self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)] if self._sums else sums

    @property
    def n_bins(self) -> int:
        """Of the unit that has most."""
        return int(self._sums[0].max(initial=0)) if self._sums else 0

    @property
    def correlation(self) -> Float64[np.ndarray, " units"]:
        """Pearson's, over all trials and frames together; 0 where it is not defined."""
        if not self._sums:
            return np.zeros(0)
        n, x, y, xx, yy, xy = self._sums
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_x, mean_y = x / n, y / n
            std_x, std_y = (
                np.sqrt(np.maximum(squares / n - mean**2, 0))
                for squares, mean in ((xx, mean_x), (yy, mean_y))
            )
            found = (xy / n - mean_x * mean_y) / ((std_x + EPSILON) * (std_y + EPSILON))
        return np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)


def sensorium_correlation(
    predictions: Iterable[Real[np.ndarray, "_ units"]],
    recorded: Iterable[Real[np.ndarray, "_ units"]],
    valid: Iterable[Bool[np.ndarray, "_ units"] | None] | None = None,
    std: Real[np.ndarray, "frames units"] | None = None,
) -> Float64[np.ndarray, " units"]:
    """The single-trial correlation of each unit, as the Sensorium 2023 competition has it.

    The first 50 frames of each trial are left out, and what lies beyond frame 300. Frames of all trials together,
    standard deviations of the population (ddof 0) plus 1e-8; not defined is 0.

    Args:
        std: published standard deviations per frame and unit; responses and predictions are divided by them.
    """
    sums = ChallengeSums()
    predictions, recorded = list(predictions), list(recorded)
    masks = [None] * len(recorded) if valid is None else list(valid)
    for one, other, mask in zip(predictions, recorded, masks, strict=True):
        sums.add(one, other, mask, None if std is None else precision_of(std))
    return sums.correlation


class TierScore(Record):
    """The score on the trials of one tier."""

    tier: str
    all_neurons: float
    """Mean over the neurons of all mice, as the competition's code has it."""
    mean_of_mice: float
    """Mean over mice of their means."""
    mice: dict[str, float]
    n_units: int
    n_frames: int
    """Scored frames of all mice."""


class ChallengeScore(Record):
    """The competition's score on every tier of a split."""

    metric: str = "sensorium"
    split: Split
    per_frame_std: bool
    """Whether responses and predictions were divided by the published standard deviation of each frame."""
    images: bool = False
    """Whether trials are single images, which are scored whole."""
    behaviour: Behaviour
    skip_last: int = 0
    tiers: tuple[TierScore, ...]

    def settings(self) -> dict[str, Any]:
        """How it was scored."""
        return {key: value for key, value in self.to_json().items() if key != "tiers"}


@dataclass(frozen=True)
class Mouse:
    """What the competition's files say of a mouse beyond its recording."""

    directory: str
    precision: Float64[np.ndarray, "frames units"]


def mice_of(config: DataConfig, base_dir: Path) -> dict[str, Mouse]:
    """The mice of a data YAML, by session, from their own files.

    Raises:
        DataError: no session is one, or its statistics are missing.
    """
    sources = [located.build(base_dir) for located in config.recordings]
    found = {
        session: Mouse(source.directory(session), precision_of(source.response_std(session)))
        for source in sources
        if isinstance(source, SensoriumSource)
        for session in source.session_ids()
    }
    if not found:
        raise DataError(
            "no session is a mouse of the Sensorium competitions (type: sensorium), whose files have the spread of "
            "each frame; --metric sensorium-unscaled does without"
        )
    return found


def challenge_score(
    twin: Predictor,
    store: RecordingStore,
    *,
    split: Split = "test",
    mice: Mapping[str, Mouse] | None = None,
    behaviour: Behaviour = "recorded",
    skip_last: int = 0,
) -> ChallengeScore:
    """The competition's score of a twin on every tier of a split.

    Args:
        mice: with them, responses are divided by the published standard deviation of each frame, as on the boards.

    Raises:
        DataError: nothing of the split can be scored.
    """
    require_recorded(twin, behaviour)
    store = check_fit(twin, store)
    static = store.spec.sampling.rate_hz is None
    found: dict[str, dict[str, ChallengeSums]] = {}
    for session, tier, trial, _ in _predicted(twin, store, split, behaviour):
        sums = found.setdefault(tier, {}).setdefault(session.id, ChallengeSums(static, skip_last))
        precision = mice[session.id].precision if mice and session.id in mice else None
        sums.add(trial.prediction, trial.recorded, trial.valid, precision)
    tiers = tuple(scored for tier, sums in found.items() if (scored := _of_tier(tier, sums)) is not None)
    if not tiers:
        what = "image" if static else "frame"
        which = "those" if static else f"from {FIRST_FRAME} to {STOP_FRAME} of each trial,"
        raise DataError(
            f"{store.path}: the {split} split has no {what} that the competition scores ({which} with responses); "
            "choose another split"
        )
    return ChallengeScore(
        metric="sensorium",
        split=split,
        per_frame_std=bool(mice),
        images=static,
        behaviour=behaviour,
        skip_last=skip_last,
        tiers=tiers,
    )


def _of_tier(tier: str, sums: Mapping[str, ChallengeSums]) -> TierScore | None:
    """None where all its responses are withheld."""
    scored = {session: own for session, own in sums.items() if own.n_bins}
    if not scored:
        return None
    units = {session: own.correlation for session, own in scored.items()}
    means = {session: float(values.mean()) for session, values in units.items()}
    return TierScore(
        tier=tier,
        all_neurons=float(np.concatenate(list(units.values())).mean()),
        mean_of_mice=float(np.mean(list(means.values()))),
        mice=means,
        n_units=sum(len(values) for values in units.values()),
        n_frames=sum(own.n_bins for own in scored.values()),
    )


def write_submission(
    twin: Predictor, store: RecordingStore, mice: Mapping[str, Mouse], out: Path, split: Split = "test"
) -> tuple[Path, ...]:
    """Write a file for each tier of the split: a row per trial, predictions in the units that the boards score.

    Args:
        out: a folder, for files by the names of the competition's README; or a file, whose name may hold `{tier}`.

    Raises:
        ConfigError: pyarrow is missing, or one file is named for several tiers.
        DataError: a session is no mouse of the competition.
    """
    pyarrow = require_parquet("a submission")
    store = check_fit(twin, store)
    missing = [session for session in store.sessions if session not in mice]
    if missing:
        raise DataError(f"session '{missing[0]}' is no mouse of the Sensorium competitions (type: sensorium)")
    schema = pyarrow.schema(
        [
            ("mouse", pyarrow.string()),
            ("trial_indices", pyarrow.int64()),
            ("prediction", pyarrow.list_(pyarrow.list_(pyarrow.float32()))),
            ("neuron_ids", pyarrow.list_(pyarrow.int64())),
        ]
    )
    named = {tier: _named(out, tier) for tier in _tiers_of(store, split)}
    if len(set(named.values())) < len(named):
        raise ConfigError(
            f"{out}: names one file for the tiers {', '.join(named)}; give a folder, or {{tier}} in its name"
        )
    partly = {path: path.with_name(f".{path.name}.part") for path in named.values()}
    for path in named.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    writers: dict[Path, Any] = {}
    try:
        for path in named.values():
            writers[path] = pyarrow.parquet.ParquetWriter(partly[path], schema, compression="brotli")
        for session, tier, trial, number in _predicted(twin, store, split, "recorded"):
            row = _row(session, mice[session.id], trial, number)
            writers[named[tier]].write_table(pyarrow.Table.from_pylist([row], schema=schema))
        for path, writer in writers.items():
            writer.close()
            partly[path].replace(path)
    finally:
        for path, writer in writers.items():
            writer.close()
            partly[path].unlink(missing_ok=True)
    return tuple(named.values())


@dataclass(frozen=True)
class ChallengeOfRun:
    """The competition's score of a run folder's twin, counted where it is of the test split, and its files."""

    run: Path
    twin: Predictor
    store: RecordingStore
    config: DataConfig
    base_dir: Path
    split: Split = "test"

    def score(self, scaled: bool, behaviour: Behaviour, json_file: Path | None = None) -> ChallengeScore:
        """The score; `scaled` by the published spread of each frame, as on the boards."""
        mice = mice_of(self.config, self.base_dir) if scaled else None
        score = challenge_score(self.twin, self.store, split=self.split, mice=mice, behaviour=behaviour)
        if self.split == "test":
            digests = self.twin.digest, self.store.fingerprint
            count_test_evaluation(self.run, *digests, score.settings(), "evaluate")
        if json_file is not None:
            write_text(json_file, json.dumps(score.to_json(), indent=1, allow_nan=False))
        return score

    def write(self, out: Path) -> str:
        """Write what is sent to the competition; gives the names of the files, one a line."""
        mice = mice_of(self.config, self.base_dir)
        return "\n".join(map(str, write_submission(self.twin, self.store, mice, out, self.split)))


def _row(session: SessionStore, mouse: Mouse, trial: BlockPrediction, number: int) -> dict[str, Any]:
    some = ChallengeSums(session.sampling.rate_hz is None).frames(len(trial.prediction))
    scaled = trial.prediction[some] * _rows(mouse.precision, some, some.stop - some.start)
    return {
        "mouse": mouse.directory,
        "trial_indices": number,
        "prediction": scaled.astype(np.float32).T.tolist(),
        "neuron_ids": [int(unit) for unit in session.unit_ids],
    }


def _rows(
    precision: Float64[np.ndarray, "frames units"], some: slice, n_bins: int
) -> Float64[np.ndarray, "time units"]:
    """Of these frames; of images, the one row that there is."""
    if len(precision) == 1:
        return np.repeat(precision, n_bins, axis=0)
    if len(precision) < some.stop:
        raise DataError(
            f"meta/statistics/responses/all/std.npy has {len(precision)} frames, and a trial is scored up to "
            f"{some.stop}; expected as many"
        )
    return precision[some]


def _named(out: Path, tier: str) -> Path:
    if "{tier}" in out.name:
        return out.with_name(out.name.replace("{tier}", tier))
    if out.suffix:
        return out
    return out / f"predictions_{re.sub('_test', '', tier)}.parquet.brotli"


def _tiers_of(store: RecordingStore, split: Split) -> Sequence[str]:
    return sorted(
        {_tier(session, block) for session in store.sessions.values() for block in session.blocks_in(split)}
    )


def _predicted(
    twin: Predictor, store: RecordingStore, split: Split, behaviour: Behaviour
) -> Iterator[tuple[SessionStore, str, BlockPrediction, int]]:
    """Every trial of a split from its first frame on, its tier, and the number of its files."""
    for session in store.sessions.values():
        predict = BlockPredictor(twin, session, behaviour=behaviour)
        numbers = dict(
            zip(
                (trial.start for trial in session.trials), session.trial_columns.get("file", ()), strict=False
            )
        )
        for block in session.blocks_in(split):
            yield session, _tier(session, block), predict(block), int(str(numbers.get(block.start, -1)))


def _tier(session: SessionStore, block: Block) -> str:
    """The published tier of a trial; the split where there is none."""
    for trial, tier in zip(session.trials, session.trial_columns.get("tier", ()), strict=False):
        if trial.start == block.start:
            return str(tier)
    return block.split
