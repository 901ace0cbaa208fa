"""The search YAML: what is searched, over which keys of an experiment, for how long, and by what it is judged."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from visioncore.config import AsWritten, Config, dump_config, load_config
from visioncore.errors import ConfigError
from visioncore.training.experiment import Experiment, read_experiment

_DECIDED_HERE = ("data", "training.seed", "training.length", "training.held_out_units", "training.machine")
"""Keys that no dimension may have: they are the same for all trials, or the search's own."""


class _Dimension(Config):
    when: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Searched only where these other dimensions have one of these values; else the key keeps the start's."""


class IntRange(_Dimension):
    """Whole numbers from `low` to `high`, both included."""

    type: Literal["int"]
    low: int
    high: int
    step: PositiveInt = 1
    log: bool = False
    """Drawn evenly on a logarithmic scale; then without steps."""

    @model_validator(mode="after")
    def _is_a_range(self) -> "IntRange":
        _require_range(self.low, self.high, self.log, self.step != 1)
        return self

    @property
    def extremes(self) -> tuple[int, ...]:
        """Values that the schema must take."""
        return (self.low, self.high - (self.high - self.low) % self.step)


class FloatRange(_Dimension):
    """Numbers from `low` to `high`, both included."""

    type: Literal["float"]
    low: float
    high: float
    step: PositiveFloat | None = None
    log: bool = False
    """Drawn evenly on a logarithmic scale; then without steps."""

    @model_validator(mode="after")
    def _is_a_range(self) -> "FloatRange":
        _require_range(self.low, self.high, self.log, self.step is not None)
        return self

    @property
    def extremes(self) -> tuple[float, ...]:
        """Values that the schema must take."""
        return (self.low, self.high)


class Choice(_Dimension):
    """One of several values of any kind: numbers, words, lists, whole parts of a model."""

    type: Literal["choice"]
    values: Annotated[tuple[Any, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _differ(self) -> "Choice":
        if len({as_flow(value) for value in self.values}) < len(self.values):
            raise ValueError("'values' holds a value twice")
        return self

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that the schema must take."""
        return self.values


Dimension = Annotated[IntRange | FloatRange | Choice, Field(discriminator="type")]


def _require_range(low: float, high: float, log: bool, has_step: bool) -> None:
    if low >= high:
        raise ValueError(f"low is {low:g} and high {high:g}; low must be less")
    if log and low <= 0:
        raise ValueError(f"low is {low:g}, and a logarithmic range begins above 0")
    if log and has_step:
        raise ValueError("a logarithmic range has no step; leave one of the two out")


class SearchConfig(Config):
    """The search YAML. Paths are relative to it."""

    model: str
    data: str
    training: str | None = None
    set: tuple[str, ...] = ()
    """Overrides of every trial, as for `visioncore train --set`."""
    space: dict[str, Dimension] = Field(min_length=1)
    """By key of the experiment, such as `model.convnet.params.embedding_dim`."""
    trials: PositiveInt = 50
    """Of the search; those that were stopped early or failed count too."""
    steps_per_trial: PositiveInt | None = None
    minutes_per_trial: PositiveFloat | None = None
    """One of the two: every trial is trained for as long."""
    epochs_per_trial: PositiveInt = 10
    """How often a trial is validated when it has `steps_per_trial`; after each it may be stopped."""
    objective: Literal["held_out_units", "validation"] = "held_out_units"
    """What a trial is worth on the validation split: to units whose heads alone are fitted, on its trunk as it is; or
    the validation score of its training."""
    held_out_units: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of the units, with the objective `held_out_units`."""
    stop_early: bool = True
    """Stop a trial whose validation score is below the median of those before it at the same point."""
    seed: NonNegativeInt = 0
    """Of the sampler; trainings have that of the training YAML."""
    confirm_seeds: NonNegativeInt = 2
    """Trainings with other seeds of the start and of the best, when the search is over; and so many of the best with
    each of its departures put back. With 0 none."""

    @model_validator(mode="after")
    def _is_sound(self) -> "SearchConfig":
        if (self.steps_per_trial is None) == (self.minutes_per_trial is None):
            raise ValueError("expected one length: steps_per_trial or minutes_per_trial")
        for key, dimension in self.space.items():
            for own in _DECIDED_HERE:
                if key == own or key.startswith(f"{own}."):
                    raise ValueError(f"'{key}' cannot be searched: it is the same for all trials")
            for other, values in dimension.when.items():
                if other not in self.space or other == key:
                    raise ValueError(
                        f"'{key}' depends on '{other}', which is no other dimension of the space"
                    )
                for value in values:
                    if not _holds(self.space[other], value):
                        raise ValueError(f"'{key}' depends on '{other}' being {value!r}, which it never is")
        self.order  # noqa: B018 -- raises where dimensions depend on each other in a circle
        return self

    @property
    def order(self) -> tuple[str, ...]:
        """The dimensions, each after those that it depends on."""
        done: list[str] = []
        while len(done) < len(self.space):
            ready = [key for key, own in self.space.items() if key not in done and set(own.when) <= set(done)]
            if not ready:
                raise ValueError("dimensions depend on each other in a circle")
            done += ready
        return tuple(done)

    def is_searched(self, key: str, chosen: Mapping[str, Any]) -> bool:
        """Whether a dimension exists, given what was chosen for those that it depends on."""
        return all(
            other in chosen and as_flow(chosen[other]) in map(as_flow, values)
            for other, values in self.space[key].when.items()
        )


def _holds(dimension: IntRange | FloatRange | Choice, value: Any) -> bool:
    if isinstance(dimension, Choice):
        return as_flow(value) in map(as_flow, dimension.values)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not dimension.low <= value <= dimension.high
    ):
        return False
    return isinstance(dimension, FloatRange) or (value - dimension.low) % dimension.step == 0


def read_space(path: Path) -> SearchConfig:
    """Read a search YAML and check every value of its space against the schema, one key at a time.

    Raises:
        ConfigError: naming file, key and what is wrong with it.
    """
    config = load_config(SearchConfig, path)
    start = experiment_of(config, path.parent, {})
    for key, dimension in config.space.items():
        for value in dimension.extremes:
            # What a dimension depends on has one of the values that it asks for.
            chosen = {other: values[0] for other, values in dimension.when.items()}
            try:
                experiment_of(config, path.parent, {**chosen, key: value})
            except ConfigError as error:
                raise ConfigError(f"{path}: 'space.{key}' cannot be {value!r}: {error}") from None
    missing = object()
    for key in config.space:
        if value_at(start.resolved().to_json(), key, missing) is missing and not config.space[key].when:
            raise ConfigError(f"{path}: 'space.{key}': the experiment has no such key")
    return config


def experiment_of(
    config: SearchConfig, base: Path, chosen: Mapping[str, Any], seed: int | None = None
) -> Experiment:
    """The experiment of a trial."""
    return read_experiment(*files_of(config, base), overrides_of(config, chosen, seed))


def files_of(config: SearchConfig, base: Path) -> tuple[Path, Path, Path | None]:
    """Model, data and training YAML."""
    training = None if config.training is None else base / config.training
    return base / config.model, base / config.data, training


def overrides_of(config: SearchConfig, chosen: Mapping[str, Any], seed: int | None = None) -> list[str]:
    """As `visioncore train --set` takes them: those of every trial, what was chosen, and the search's own."""
    own: dict[str, Any] = dict(chosen)
    if config.objective == "held_out_units":
        own["training.held_out_units"] = config.held_out_units
    if config.steps_per_trial is not None:
        own["training.length"] = {"type": "steps", "params": {"number": config.steps_per_trial}}
        own["training.steps_per_epoch"] = max(config.steps_per_trial // config.epochs_per_trial, 1)
    if seed is not None:
        own["training.seed"] = seed
    return [*config.set, *(f"{key}={as_flow(value)}" for key, value in own.items())]


def as_flow(value: Any) -> str:
    """A value as YAML on one line, for `--set`, and to tell whether two are the same; JSON is YAML 1.2."""
    return json.dumps(value, sort_keys=True)


def value_at(raw: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """What stands at a dotted key."""
    found: Any = raw
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return default
        found = found[part]
    return found


def departures(config: SearchConfig, base: Path, chosen: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Of the keys that were chosen, those that differ from the start: its value, and the chosen one."""
    start = experiment_of(config, base, {}).resolved().to_json()
    own = experiment_of(config, base, chosen).resolved().to_json()
    return {
        key: (value_at(start, key), value)
        for key, value in chosen.items()
        if value_at(start, key) != value_at(own, key)
    }


def recorded(config: SearchConfig, experiment: Experiment) -> AsWritten:
    """What two starts of one search must have in common."""
    kept = {
        key: value for key, value in dump_config(config).items() if key not in ("trials", "confirm_seeds")
    }
    return {**kept, "start": experiment.resolved().to_json()}


def start_values(config: SearchConfig, base: Path) -> dict[str, Any] | None:
    """The start as a point of the space; None where it lies outside."""
    start = experiment_of(config, base, {}).resolved().to_json()
    chosen: dict[str, Any] = {}
    for key in config.order:
        if not config.is_searched(key, chosen):
            continue
        dimension, value = config.space[key], value_at(start, key)
        if isinstance(dimension, Choice):
            # A whole part of a model may leave its defaults out.
            alike = (
                own
                for own in dimension.values
                if value_at(experiment_of(config, base, {key: own}).resolved().to_json(), key) == value
            )
            value = next(alike, None)
        if not _holds(dimension, value):
            return None
        chosen[key] = value
    return chosen


def names(keys: Sequence[str]) -> dict[str, str]:
    """A short name for each key: its last part, or as many parts as tell it from the others."""
    short: dict[str, str] = {}
    for key in keys:
        parts = [part for part in key.split(".") if part != "params"]
        for n in range(1, len(parts) + 1):
            name = ".".join(parts[-n:])
            if (
                sum(".".join([p for p in other.split(".") if p != "params"][-n:]) == name for other in keys)
                == 1
            ):
                break
        short[key] = name
    return short
