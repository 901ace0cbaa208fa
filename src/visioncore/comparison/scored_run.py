"""The runs of a comparison: what each brings, and whether they may be held against each other."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from pydantic import Field

from visioncore.config import AsWritten, Record, differing_keys, dump_config
from visioncore.data import DataConfig
from visioncore.data.store import RecordingStore
from visioncore.errors import ConfigError, DataError
from visioncore.evaluation import EvaluationResult, SessionSums, evaluate
from visioncore.metrics import Sums
from visioncore.predictor import Predictor
from visioncore.recording import Split

_WHERE_AND_HOW = {"store", "cache", "balance"}
"""Settings of data that change nothing of what is scored."""
_SAME = {
    "split": "evaluate all on one split",
    "bin_ms": "scores compare at one bin width only",
    "burn_in_s": "evaluate all with one burn-in",
    "rate_floor": "the versions of VisionCore that scored them differ; evaluate again",
    "null": "the versions of VisionCore that scored them differ; evaluate again",
}
"""Settings of an evaluation that all runs must share, and what a difference means."""


class ModelSettings(Record):
    """Everything that makes a model but the recording, the share of it and the seed; of what is no twin, its name."""

    model: AsWritten = Field(default_factory=dict)
    """The parts of the experiment that make it this one, see `training/identity.py`; `training` likewise."""
    training: AsWritten = Field(default_factory=dict)
    balance: str | None = None
    minutes: float | None = None
    """How long the run was to take, where that was asked for."""


@dataclass(frozen=True)
class ScoredRun:
    """One trained model with its evaluation and its cost. Runs that share `model` are seeds of one model."""

    model: str
    where: str
    """The run folder, or the file of predictions, to name it in messages."""
    seed: int
    data: DataConfig | None
    """Its recording; None where that is not known, as of what is no twin."""
    config: ModelSettings
    """The same for all seeds of a model."""
    train_share: float
    """Of the training data, what it was trained on."""
    result: EvaluationResult = field(repr=False)
    parameters: int | None
    """None where they are not known, as of what is no twin."""
    training_flops: float | None
    """Counted, forward and backward, over all clips of the training; None where it is not known."""
    wall_s: float | None
    """Seconds of initialisation and training; None where they were not recorded."""

    @classmethod
    def of(
        cls,
        name: str,
        twin: Predictor,
        store: RecordingStore,
        split: Split = "test",
        *,
        where: str | None = None,
        seed: int = 0,
        data: DataConfig | None = None,
    ) -> "ScoredRun":
        """Anything that predicts, scored for a comparison; nothing is known of its training.

        Args:
            where: what messages call it; its name when left out.
            data: the recording, where its settings are known.
        """
        return cls(
            model=name,
            where=where or name,
            seed=seed,
            data=data,
            config=ModelSettings(model={"name": name}),
            train_share=1.0,
            result=evaluate(twin, store, split=split),
            parameters=None,
            training_flops=None,
            wall_s=None,
        )


def by_model(runs: Sequence[ScoredRun]) -> dict[str, list[ScoredRun]]:
    """The runs of each model, models in the order given and seeds in their own.

    Raises:
        ConfigError: runs of one name differ in more than the seed, or share it.
    """
    models: dict[str, list[ScoredRun]] = {}
    for run in runs:
        models.setdefault(run.model, []).append(run)
    for name, seeds in models.items():
        first = seeds[0]
        for run in seeds[1:]:
            remedy = f"give them names of their own: NAME={run.where}"
            different = sorted(differing_keys(first.config.to_json(), run.config.to_json()))
            if different := different + ["train_share"] * (run.train_share != first.train_share):
                raise ConfigError(
                    f"{first.where} and {run.where} are both called '{name}', as seeds of one model are, but differ "
                    f"in {', '.join(different[:5])}; {remedy}"
                )
        seeds.sort(key=lambda run: run.seed)
        for one, other in pairwise(seeds):
            if one.seed == other.seed:
                raise ConfigError(
                    f"{one.where} and {other.where} are both called '{name}' and have the same seed ({one.seed}); "
                    f"give them names of their own: NAME={other.where}"
                )
    return models


def aligned(runs: Sequence[ScoredRun]) -> list[list[SessionSums]]:
    """Each run's sums with sessions, rows and units in the order of the first run, matched by their ids.

    Raises:
        DataError: a run was scored under other conditions, on other units or on other bins.
    """
    first = runs[0]
    for run in runs:
        if not run.result.sums:
            raise DataError(f"{run.where}: its evaluation holds no sums to compare; evaluate it again")
        _require_same_recording(run, first)
        for name, meaning in _SAME.items():
            found, expected = getattr(run.result.settings, name), getattr(first.result.settings, name)
            if found != expected:
                raise DataError(
                    f"{run.where}: {name} is {found}, but {first.where} has {expected}: {meaning}"
                )
    return [_like(run, first) for run in runs]


def on_common_units(runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    """The runs, scored on the units alone that all of them have: models that were trained on some of the units and on
    more of them are compared on the same ones.

    Raises:
        DataError: the runs have no unit in common.
    """
    every = [{(sums.session, unit) for sums in run.result.sums for unit in sums.unit_ids} for run in runs]
    common = set.intersection(*every) if every else set()
    if runs and not common:
        raise DataError(
            f"{', '.join(run.where for run in runs)}: have no unit in common, so nothing to compare"
        )
    return [replace(run, result=_of_units(run.result, common)) for run in runs]


def _of_units(result: EvaluationResult, units: Collection[tuple[str, str]]) -> EvaluationResult:
    narrowed = []
    for sums in result.sums:
        columns = [k for k, unit in enumerate(sums.unit_ids) if (sums.session, unit) in units]
        model, ceiling = (
            None if some is None else some.map(lambda a, columns=columns: a[:, columns])  # type: ignore[misc]
            for some in (sums.model, sums.ceiling)
        )
        if columns and model is not None:
            ids = tuple(sums.unit_ids[k] for k in columns)
            narrowed.append(replace(sums, unit_ids=ids, model=model, ceiling=ceiling))
    rows = tuple(row for row in result.units if (row.session, row.unit_id) in units)
    settings = result.settings.model_copy(update={"n_sessions": len(narrowed)})
    return result.model_copy(update={"settings": settings, "sums": tuple(narrowed), "units": rows})


def _require_same_recording(run: ScoredRun, first: ScoredRun) -> None:
    found, expected = (own.result.settings.data_fingerprint for own in (run, first))
    if found == expected:
        return
    if different := _different_data(first, run):
        why = f"they differ in data.{', data.'.join(different[:5])}; compare runs on one recording, cut in one way"
    else:
        why = (
            "their settings agree, so the files have changed since one of them was scored, or it was scored by "
            "another version of VisionCore; evaluate it again"
        )
    raise DataError(f"{run.where} and {first.where} were scored on different data: {why}")


def _different_data(first: ScoredRun, run: ScoredRun) -> list[str]:
    """The settings in which two recordings differ, as far as both are known."""
    if first.data is None or run.data is None:
        return []
    one, other = (dump_config(data) for data in (first.data, run.data))
    return sorted(key for key in differing_keys(one, other) if key.partition(".")[0] not in _WHERE_AND_HOW)


def _like(run: ScoredRun, first: ScoredRun) -> list[SessionSums]:
    mine = {sums.session: sums for sums in run.result.sums}
    theirs = {sums.session: sums for sums in first.result.sums}
    _require_same_ids(run, first, "session", set(mine), set(theirs))
    ordered = []
    for name, expected in theirs.items():
        found = mine[name]
        _require_same_ids(run, first, f"session '{name}': unit", set(found.unit_ids), set(expected.unit_ids))
        _require_same_ids(
            run, first, f"session '{name}': stretch of time", set(found.keys), set(expected.keys)
        )
        row = {key: i for i, key in enumerate(found.keys)}
        column = {unit: i for i, unit in enumerate(found.unit_ids)}
        take = np.ix_([row[key] for key in expected.keys], [column[unit] for unit in expected.unit_ids])
        model = found.model.map(lambda a, take=take: a[take])  # type: ignore[misc]
        _require_same_bins(run, first, expected, model)
        ceiling = found.ceiling.map(lambda a, take=take: a[take]) if found.ceiling else None  # type: ignore[misc]
        ordered.append(SessionSums(name, expected.unit_ids, expected.keys, expected.kinds, model, ceiling))
    return ordered


def _require_same_ids(run: ScoredRun, first: ScoredRun, what: str, mine: set[str], theirs: set[str]) -> None:
    for extra, holder, lacking in ((theirs - mine, first, run), (mine - theirs, run, first)):
        if extra:
            shown = ", ".join(sorted(extra)[:5])
            raise DataError(
                f"{lacking.where} was not scored on {what}{'s' if len(extra) > 1 else ''} {shown}, "
                f"which {holder.where} was; compare twins of the same units"
            )


def _require_same_bins(run: ScoredRun, first: ScoredRun, expected: SessionSums, found: Sums) -> None:
    different = (found.bins != expected.model.bins) | (found.spikes != expected.model.spikes)
    if different.any():
        row, unit = (int(i[0]) for i in np.nonzero(different))
        raise DataError(
            f"{run.where} was scored on {found.bins[row, unit]:.0f} bins of unit {expected.unit_ids[unit]} in "
            f"session '{expected.session}' ({expected.keys[row]}), but {first.where} on "
            f"{expected.model.bins[row, unit]:.0f}: a burn_in_s shorter than a twin's stride leaves it fewer bins "
            "than others; prepare the data with a longer one"
        )
