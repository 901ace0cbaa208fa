"""The trials that all workers of a search share, kept by Optuna in a journal file or a database.

Only this module and `optuna_extra` know Optuna. Values of choices are kept as JSON, since it takes no lists.
"""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from visioncore.errors import ConfigError
from visioncore.search.optuna_extra import require_optuna
from visioncore.search.space import Choice, FloatRange, SearchConfig, as_flow

ALIVE_S = 20.0
"""How often a worker says that it still works on its trial."""
DEAD_S = 120.0
"""Without such a word from another machine, its worker counts as killed."""
FIRST_TENTH = 3
"""At which a trial may first be stopped. Before that its score is still that of the estimates which it began with: the
same in all trials but for noise. And little would be saved, since its start takes longer than a tenth.
"""
State = Literal["running", "finished", "stopped", "failed", "abandoned"]


@dataclass(frozen=True)
class Trial:
    """One training of a search, as it stands."""

    number: int
    state: State
    chosen: Mapping[str, Any]
    """By key of the experiment."""
    value: float | None
    """The objective; None where the trial did not finish."""
    curve: Mapping[int, float] = field(default_factory=dict)
    """Validation score by tenth of the trial's length."""
    role: str = "search"
    """What it is for: the search, or the name of what it confirms."""
    seed: int | None = None
    """Of the training, where it is another than the training YAML's."""
    folder: int = 0
    """The number of the trial whose run folder it goes on with: its own, or that of one that was killed."""
    reason: str | None = None
    """Why it failed."""


@dataclass(frozen=True)
class Confirmation:
    """A training that tells how sure one can be of what the search found."""

    role: str
    chosen: Mapping[str, Any]
    seed: int


class Study:
    """One worker's view of a search, under OUT or at a database.

    Args:
        entropy: what tells this worker from others, beside the search's seed.

    Raises:
        ConfigError: Optuna is not installed, or the database cannot be reached.
    """

    def __init__(
        self, config: SearchConfig, out: Path, storage: str | None, entropy: Sequence[int] = ()
    ) -> None:
        optuna = self._optuna = require_optuna()
        self.config = config
        name = out.resolve().name
        try:
            if storage is None:
                from optuna.storages.journal import JournalFileBackend

                out.mkdir(parents=True, exist_ok=True)
                kept: Any = optuna.storages.JournalStorage(JournalFileBackend(str(out / "journal.log")))
            else:
                kept = optuna.storages.RDBStorage(storage)
            self._searched, self._confirmed = (
                optuna.create_study(
                    storage=kept,
                    study_name=f"{name}{suffix}",
                    direction="maximize",
                    load_if_exists=True,
                    pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=FIRST_TENTH)
                    if config.stop_early and not suffix
                    else optuna.pruners.NopPruner(),
                )
                for suffix in ("", "-confirmed")
            )
            self._searched.sampler = self._sampler([*entropy, len(self._searched.get_trials(deepcopy=False))])
        except (OSError, ImportError, optuna.exceptions.OptunaError, *_database_errors()) as error:
            where = out / "journal.log" if storage is None else _without_password(storage)
            raise ConfigError(
                f"{where}: the search's trials cannot be kept there ({str(error).splitlines()[0]}); expected a "
                "folder to write into, or a database URL such as postgresql+psycopg://user@host/name"
            ) from None

    def _sampler(self, entropy: Sequence[int]) -> Any:
        # Workers that began with one seed would draw the same random trials, and so would one that begins again.
        seed = int(np.random.SeedSequence([self.config.seed, *entropy]).generate_state(1)[0])
        return self._optuna.samplers.TPESampler(
            n_startup_trials=10, multivariate=True, group=True, constant_liar=True, seed=seed
        )

    # --- What there is --------------------------------------------------------------------------------------------

    def trials(self) -> list[Trial]:
        """Those of the search, in order; surplus ones, which never trained, are left out."""
        return self._read(self._searched)

    def confirmations(self) -> list[Trial]:
        """Those of the confirmation, in order."""
        return self._read(self._confirmed)

    def _read(self, study: Any) -> list[Trial]:
        found = []
        for kept in study.get_trials(deepcopy=False):
            notes = kept.user_attrs
            state = self._state(kept)
            if state is None or "surplus" in notes:
                continue
            found.append(
                Trial(
                    number=kept.number,
                    state=state,
                    chosen=json.loads(notes.get("chosen", "{}")),
                    value=kept.value if state == "finished" else None,
                    curve=dict(kept.intermediate_values),
                    role=notes.get("role", "search"),
                    seed=notes.get("seed"),
                    folder=notes.get("continues", kept.number),
                    reason=notes.get("reason"),
                )
            )
        return found

    def _state(self, kept: Any) -> State | None:
        """In our words; None for one that waits."""
        states = self._optuna.trial.TrialState
        if kept.state == states.PRUNED:
            return "failed" if "reason" in kept.user_attrs else "stopped"
        named: dict[Any, State] = {
            states.RUNNING: "running",
            states.COMPLETE: "finished",
            states.FAIL: "abandoned",
        }
        return named.get(kept.state)

    def importances(self) -> dict[str, float]:
        """How much of the spread of the objective each dimension accounts for; empty with few finished trials."""
        finished = [trial for trial in self.trials() if trial.state == "finished"]
        if len(finished) < 8 or len({trial.value for trial in finished}) < 2:
            return {}
        try:
            return dict(self._optuna.importance.get_param_importances(self._searched))
        except (ValueError, RuntimeError):  # no dimension that all finished trials have
            return {}

    # --- Work -----------------------------------------------------------------------------------------------------

    def enqueue(self, chosen: Mapping[str, Any]) -> None:
        """Have this point tried next, unless it has been or will be."""
        self._searched.enqueue_trial(self._as_parameters(chosen), skip_if_exists=True)

    def begin(self) -> "Work | None":
        """The next trial of the search, for this worker alone; None where another has taken the last one."""
        trial = self._searched.ask()
        chosen: dict[str, Any] = {}
        for key in self.config.order:
            if self.config.is_searched(key, chosen):
                chosen[key] = self._suggested(trial, key)
        self._sign(trial, chosen=json.dumps(chosen))
        before = [
            other for other in self.trials() if other.state != "abandoned" and other.number < trial.number
        ]
        return self._work(self._searched, trial, chosen, surplus=len(before) >= self.config.trials)

    def confirm(self, what: Confirmation) -> "Work | None":
        """A training of the confirmation, for this worker alone; None where another has taken it."""
        trial = self._confirmed.ask()
        self._sign(trial, chosen=json.dumps(dict(what.chosen)), role=what.role, seed=what.seed)
        before = [
            other
            for other in self.confirmations()
            if other.role == what.role and other.number < trial.number and other.state != "abandoned"
        ]
        return self._work(self._confirmed, trial, dict(what.chosen), surplus=bool(before))

    def _sign(self, trial: Any, **notes: Any) -> None:
        for key, value in {**notes, "host": socket.gethostname(), "process": _process(os.getpid())}.items():
            trial.set_user_attr(key, value)
        trial.set_user_attr("alive_at", time.time())

    def _work(self, study: Any, trial: Any, chosen: dict[str, Any], *, surplus: bool) -> "Work | None":
        if surplus:
            trial.set_user_attr("surplus", True)
            study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
            return None
        notes = trial.user_attrs
        return Work(self, study, trial, chosen, notes.get("seed"), notes.get("continues", trial.number))

    def give_up_abandoned(self) -> list[int]:
        """End trials whose worker was killed, and have each begun again where it was; their numbers are returned."""
        states = self._optuna.trial.TrialState
        given_up = []
        for study in (self._searched, self._confirmed):
            for kept in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
                notes = kept.user_attrs
                if _is_alive(notes, kept.datetime_start):
                    continue
                try:
                    study.tell(kept.number, state=states.FAIL)
                except (self._optuna.exceptions.UpdateFinishedTrialError, ValueError):
                    continue  # another worker was quicker
                given_up.append(kept.number)
                if study is self._searched and "chosen" in notes:
                    chosen = json.loads(notes["chosen"])
                    goes_on = {"continues": notes.get("continues", kept.number)}
                    study.enqueue_trial(self._as_parameters(chosen), user_attrs=goes_on)
        return given_up

    # --- Values as Optuna has them --------------------------------------------------------------------------------

    def _suggested(self, trial: Any, key: str) -> Any:
        dimension = self.config.space[key]
        if isinstance(dimension, Choice):
            return json.loads(trial.suggest_categorical(key, [*map(as_flow, dimension.values)]))
        if isinstance(dimension, FloatRange):
            found = trial.suggest_float(
                key, dimension.low, dimension.high, step=dimension.step, log=dimension.log
            )
            # As people would write it: three steps of 0.1 are 0.3, not 0.30000000000000004.
            return float(f"{found:.12g}")
        return trial.suggest_int(key, dimension.low, dimension.high, step=dimension.step, log=dimension.log)

    def _as_parameters(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: as_flow(value) if isinstance(self.config.space[key], Choice) else value
            for key, value in chosen.items()
        }


class Work:
    """A trial that this worker has: it tells how it goes, and in the end what came of it."""

    def __init__(
        self, owner: Study, study: Any, trial: Any, chosen: dict[str, Any], seed: int | None, folder: int
    ) -> None:
        self._owner, self._study, self._trial = owner, study, trial
        self.chosen, self.seed, self.folder = chosen, seed, folder
        self._told_at = time.monotonic()

    @property
    def number(self) -> int:
        """Of the trial."""
        return int(self._trial.number)

    def still_alive(self) -> None:
        """To be called often."""
        if time.monotonic() - self._told_at > ALIVE_S:
            self._trial.set_user_attr("alive_at", time.time())
            self._told_at = time.monotonic()

    def report(self, tenth: int, score: float) -> bool:
        """Tell a validation score after so many tenths of the trial's length; whether to stop here."""
        self._trial.report(score, tenth)
        return bool(self._trial.should_prune())

    def finish(self, value: float) -> None:
        """It has an objective."""
        self._study.tell(self._trial, value)

    def stop(self) -> None:
        """It was not worth going on with."""
        self._study.tell(self._trial, state=self._owner._optuna.trial.TrialState.PRUNED)

    def fail(self, reason: str) -> None:
        """It came to nothing; the search goes on, and elsewhere: the sampler takes no heed of trials that failed in its
        own sense, and would come back.
        """
        self._trial.set_user_attr("reason", reason)
        self.stop()

    def abandon(self) -> None:
        """This worker ends before the trial does; the next one goes on with it."""
        self._trial.set_user_attr("process", "ended")


def _process(pid: int) -> str:
    """Names a process of this machine for good: a number is used again, but not with the same time of its start."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return f"{pid}"
    return f"{pid} {fields[19]}"


def _is_alive(notes: Mapping[str, Any], begun: datetime | None) -> bool:
    if notes.get("process") == "ended":
        return False
    if notes.get("host") == socket.gethostname() and "process" in notes:
        pid = str(notes["process"]).split()[0]
        if Path("/proc/self/stat").exists():
            return Path(f"/proc/{pid}").exists() and _process(int(pid)) == notes["process"]
    # A trial that has just been asked for is not yet signed.
    last = notes.get("alive_at", begun.timestamp() if begun else 0.0)
    return time.time() - float(last) < DEAD_S


def _database_errors() -> tuple[type[Exception], ...]:
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    return (SQLAlchemyError, ArgumentError)


def _without_password(url: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url.rpartition("@")[2]
