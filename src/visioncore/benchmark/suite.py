"""The suite YAML, and the runs that it asks for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from visioncore.config import Config, Record, load_config
from visioncore.errors import ConfigError
from visioncore.provenance import RecordedExperiment
from visioncore.recording import Split
from visioncore.run_folder import SEED_FOLDER
from visioncore.training.experiment import Experiment, read_experiment

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_DECIDED_HERE = (
    *(
        "training.seed",
        "training.train_share",
        "training.length",
        "training.max_passes",
        "training.max_steps",
    ),
    "data",
)
"""Keys that a model of a suite may not set: they must be the same for all models, or are the suite's own."""

Share = Annotated[float, Field(gt=0.0, le=1.0)]


class SuiteModel(Config):
    """One model of a suite. Paths are relative to the suite's YAML."""

    model: str
    """Model YAML."""
    training: str | None = None
    """Training YAML."""
    linear: bool = True
    """False switches the model's linear path off."""
    set: tuple[str, ...] = ()
    """Overrides, as for `visioncore train --set`."""
    steps: PositiveInt | None = None
    """Optimiser steps of every run of it: as many as fill `minutes_per_run` on a machine where that was measured once.
    When left out, each run finds out by itself how many those minutes have room for."""

    @field_validator("set")
    @classmethod
    def _leaves_what_the_suite_decides(cls, overrides: tuple[str, ...]) -> tuple[str, ...]:
        for override in overrides:
            key = override.partition("=")[0].strip()
            if any(key == own or key.startswith(f"{own}.") for own in _DECIDED_HERE):
                raise ValueError(f"{key} is not a model's to set: it is the same for all models of a suite")
        return overrides

    @property
    def overrides(self) -> tuple[str, ...]:
        """All of them, the linear path's included."""
        return (*self.set, *(() if self.linear else ("model.linear={type: none}",)))


class RunSettings(Record):
    """What a run of a suite was begun with."""

    experiment: RecordedExperiment
    """Every setting of its training."""
    minutes_per_run: float | None


class SuiteConfig(Config):
    """The suite YAML: every model is trained on every recording, with every seed, under one budget."""

    data: dict[str, str] = Field(min_length=1)
    """A name for each recording, and its data YAML relative to the suite's."""
    models: dict[str, SuiteModel] = Field(min_length=1)
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1)
    data_shares: tuple[Share, ...] = Field(default=(1.0,), min_length=1)
    """Each model is trained on each of these shares of the training blocks."""
    minutes_per_run: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = None
    """Equal time. A number, or several to train each model for each of them. A model without `steps` is trained with
    `visioncore train --max-minutes`."""
    passes: PositiveFloat | None = None
    """Equal data: passes over the training bins, of the share that is used."""
    split: Literal["validation", "test"] = "test"
    """What the models are scored on: `validation` where the suite is there to choose between them."""
    common_units: bool = False
    """Compare on the units alone that all models have, where some hold units out of their training."""
    reference: str | None = None
    """The model that the others are held against; the first when left out."""

    @field_validator("minutes_per_run", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, minutes: Any) -> Any:
        return (minutes,) if isinstance(minutes, int | float) else minutes

    @model_validator(mode="after")
    def _is_sound(self) -> "SuiteConfig":
        for name in (*self.data, *self.models):
            if not _NAME.fullmatch(name) or SEED_FOLDER.fullmatch(name):
                raise ValueError(
                    f"'{name}' is no name for a folder; use letters, digits, '_', '.', '+' and '-', and not seed-N"
                )
        for values, what in (
            (self.seeds, "seeds"),
            (self.data_shares, "data_shares"),
            (self.minutes_per_run or (), "minutes_per_run"),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"{what} holds a value twice")
        if self.reference is not None and self.reference not in self.models:
            raise ValueError(
                f"the reference '{self.reference}' is none of the models: {', '.join(self.models)}"
            )
        names = [self.shown_name(name, *own) for name in self.models for own in self.conditions]
        if len(set(names)) < len(names):
            raise ValueError(f"two models would share the folder {max(names, key=names.count)}; rename one")
        return self

    @model_validator(mode="after")
    def _has_one_budget(self) -> "SuiteConfig":
        stated = [name for name, entry in self.models.items() if entry.steps is not None]
        if self.minutes_per_run is not None and self.passes is not None:
            raise ValueError("expected one budget: either minutes_per_run or passes")
        if self.minutes_per_run is None and self.passes is None and len(stated) < len(self.models):
            raise ValueError(
                "expected one budget: either minutes_per_run or passes, or the steps of every model"
            )
        if stated and self.passes is not None:
            raise ValueError(f"models.{stated[0]}.steps stands beside passes; give one of them")
        if stated and len(self.minutes_per_run or ()) > 1:
            raise ValueError(
                f"models.{stated[0]}.steps is one length, and minutes_per_run holds several; leave the steps out"
            )
        return self

    @property
    def reference_model(self) -> str | None:
        """The reference as the comparison calls it: trained on most data, for longest."""
        return None if self.reference is None else self.shown_name(self.reference, *self.conditions[0])

    @property
    def conditions(self) -> list[tuple[float, float | None]]:
        """Share of the data and minutes of training under which each model is trained; most of both come first."""
        minutes: list[float | None] = [*sorted(self.minutes_per_run or (), reverse=True)] or [None]
        return [(share, own) for share in sorted(self.data_shares, reverse=True) for own in minutes]

    def shown_name(self, name: str, share: float, minutes: float | None) -> str:
        """How the comparison calls a model under one of the conditions."""
        parts = [name] if share == 1 else [name, f"share-{share:g}"]
        if minutes is not None and len(self.minutes_per_run or ()) > 1:
            parts.append(f"{minutes:g}min")
        return "-".join(parts)


@dataclass(frozen=True)
class PlannedRun:
    """One training of a suite and where it goes."""

    data: str
    entry: str
    """The model's name in the suite."""
    model: str
    """The model's name in the comparison: with its share of the data, where that is not all of it, and with its
    minutes, where the suite has several."""
    seed: int
    folder: Path
    """OUT/data/model/seed-N; beside it stand the log and the record of the same name."""
    minutes: float | None
    """How long it is to take."""
    steps: int | None
    """How many steps that is, where the suite says so."""
    arguments: tuple[str, ...] = field(repr=False)
    """Of `visioncore train`: what is trained."""
    experiment: Experiment = field(repr=False)
    split: Split = "test"

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.data}/{self.model}/seed-{self.seed}"

    @property
    def train_arguments(self) -> tuple[str, ...]:
        """Of `visioncore train`: with where to, and for how long."""
        by_the_clock = self.minutes is not None and self.steps is None
        budget = ("--max-minutes", repr(self.minutes)) if by_the_clock else ()
        return (*self.arguments, "--out", str(self.folder), *budget)

    @property
    def log(self) -> Path:
        """What training and evaluation print."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def record(self) -> Path:
        """What the run was begun with, and how it went."""
        return self.folder.with_name(f"{self.folder.name}.json")

    def settings(self) -> RunSettings:
        """What must not change between two starts of a benchmark."""
        return RunSettings(experiment=self.experiment.resolved(), minutes_per_run=self.minutes)


def read_suite(path: Path) -> SuiteConfig:
    """Read and validate a suite YAML.

    Raises:
        ConfigError: naming file, key and the nearest valid key.
    """
    return load_config(SuiteConfig, path)


def planned_runs(
    suite: SuiteConfig, base: Path, out: Path, seeds: Sequence[int] | None = None
) -> list[PlannedRun]:
    """Every run of a suite whose paths start at `base`; all models with the first seed come first.

    Raises:
        ConfigError: naming the run, and the file and key that are wrong.
    """
    return [
        _planned(suite, name, share, minutes, data, seed, base, out)
        for seed in (suite.seeds if seeds is None else seeds)
        for data in suite.data
        for share, minutes in suite.conditions
        for name in suite.models
    ]


def _planned(
    suite: SuiteConfig,
    name: str,
    share: float,
    minutes: float | None,
    data: str,
    seed: int,
    base: Path,
    out: Path,
) -> PlannedRun:
    entry = suite.models[name]
    overrides = [*entry.overrides, f"training.seed={seed}", f"training.train_share={share!r}"]
    if suite.passes is not None:
        overrides.append(f"training.length={{type: passes, params: {{number: {suite.passes!r}}}}}")
    if entry.steps is not None:
        overrides.append(f"training.length={{type: steps, params: {{number: {entry.steps}}}}}")
    model, recording = base / entry.model, base / suite.data[data]
    training = None if entry.training is None else base / entry.training
    shown = suite.shown_name(name, share, minutes)
    folder = out / data / shown / f"seed-{seed}"
    try:
        experiment = read_experiment(model, recording, training, overrides)
    except ConfigError as error:
        raise ConfigError(f"model '{name}' of the suite: {error}") from None
    arguments = ["--model", str(model), "--data", str(recording)]
    arguments += [] if training is None else ["--training", str(training)]
    arguments += [part for override in overrides for part in ("--set", override)]
    return PlannedRun(
        data=data,
        entry=name,
        model=shown,
        seed=seed,
        folder=folder,
        minutes=minutes,
        steps=entry.steps,
        arguments=tuple(arguments),
        experiment=experiment,
        split=suite.split,
    )
