"""What a search found, as plain facts: for its page, and for `search_found.json`."""

from collections import Counter
from statistics import mean, stdev
from typing import Any

from pydantic import Field

from visioncore.config import Record, dump_config, dump_yaml
from visioncore.files import write_record, write_text
from visioncore.search.space import as_flow, departures, files_of, names
from visioncore.search.study import Study, Trial
from visioncore.search.worker import Search, best_of, confirmations
from visioncore.training.experiment import read_experiment


class Departure(Record):
    """A key in which the best trial differs from the start."""

    key: str
    start: Any = None
    best: Any = None
    worth: float | None = None
    """Of the best, less the best with this key put back; the mean over seeds. None where it was not confirmed."""
    spread: float | None = None
    """Standard deviation of that difference over seeds; None with one."""
    n_seeds: int = 0


class Found(Record):
    """The state of a search."""

    objective: str
    searched: dict[str, int]
    """How many trials ended how."""
    confirmed: dict[str, int]
    n_looks: int
    """How often a validation score of a training was looked at."""
    best_trial: int | None = None
    best_value: float | None = None
    best: dict[str, Any] = Field(default_factory=dict)
    departures: tuple[Departure, ...] = ()
    lead: float | None = None
    """Of the best over the start with other seeds than the search's: its own value is the luckiest of many."""
    lead_spread: float | None = None
    importances: dict[str, float] = Field(default_factory=dict)


def found(study: Study, search: Search) -> Found:
    """What stands in the trials."""
    trials, confirmed = study.trials(), study.confirmations()
    best = best_of(trials)
    looks = sum(len(trial.curve) for trial in (*trials, *confirmed))
    told = Found(
        objective=search.config.objective,
        searched=dict(Counter(trial.state for trial in trials)),
        confirmed=dict(Counter(trial.state for trial in confirmed)),
        n_looks=looks + sum(trial.value is not None for trial in (*trials, *confirmed)),
        importances=study.importances(),
    )
    if best is None:
        return told
    departed = departures(search.config, search.base, best.chosen)
    lead = _differences("best", "start", study, search)
    return told.model_copy(
        update={
            "best_trial": best.number,
            "best_value": best.value,
            "best": dict(best.chosen),
            "departures": tuple(_departure(key, pair, study, search) for key, pair in departed.items()),
            "lead": mean(lead) if lead else None,
            "lead_spread": stdev(lead) if len(lead) > 1 else None,
        }
    )


def _departure(key: str, pair: tuple[Any, Any], study: Study, search: Search) -> Departure:
    differences = _differences("best", f"best without {key}", study, search)
    return Departure(
        key=key,
        start=pair[0],
        best=pair[1],
        worth=mean(differences) if differences else None,
        spread=stdev(differences) if len(differences) > 1 else None,
        n_seeds=len(differences),
    )


def _differences(one: str, other: str, study: Study, search: Search) -> list[float]:
    """Of the confirmed trainings of the same seed, whose values are both there; of what is confirmed now alone."""
    asked = {what.role: what for what in confirmations(study, search)}
    values = {
        trial.role: trial.value
        for trial in study.confirmations()
        if trial.value is not None
        and trial.role in asked
        and as_flow(dict(asked[trial.role].chosen)) == as_flow(dict(trial.chosen))
    }
    seeds = sorted({what.seed for what in asked.values()})
    pairs = [(values.get(f"{one}, seed {seed}"), values.get(f"{other}, seed {seed}")) for seed in seeds]
    return [a - b for a, b in pairs if a is not None and b is not None]


def write_found(study: Study, search: Search) -> Found:
    """Write `search_found.json`, `trials.json`, and the best trial's model and training YAML."""
    told = found(study, search)
    write_record(search.out / "search_found.json", told.to_json())
    rows = [_row(trial) for trial in (*study.trials(), *study.confirmations())]
    write_record(search.out / "trials.json", {"trials": rows})
    if told.best_trial is not None:
        # Without the length and the held-out units of a trial.
        chosen = (f"{key}={as_flow(value)}" for key, value in told.best.items())
        files = files_of(search.config, search.base)
        experiment = read_experiment(*files, [*search.config.set, *chosen])
        for name, config in (("model", experiment.model), ("training", experiment.training)):
            heading = f"# The best of the search, trial {told.best_trial}; every setting.\n"
            write_text(search.out / "best" / f"{name}.yaml", heading + dump_yaml(dump_config(config)))
    return told


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "role": trial.role,
        "state": trial.state,
        "value": trial.value,
        "seed": trial.seed,
        "reason": trial.reason,
        "chosen": dict(trial.chosen),
        "curve": {str(tenth): score for tenth, score in trial.curve.items()},
    }


def short(search: Search) -> dict[str, str]:
    """How tables and figures call the dimensions."""
    return names(tuple(search.config.space))
