"""What a worker of a search does until all is done: begin trials, carry them out, and confirm what was found."""

import contextlib
import fcntl
import itertools
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visioncore.config import differing_keys, read_yaml
from visioncore.errors import ConfigError
from visioncore.files import write_record
from visioncore.search.space import SearchConfig, departures, experiment_of, recorded, start_values
from visioncore.search.study import Confirmation, Study, Trial
from visioncore.search.training import Watched, carry_out

WAIT_S = 1.0
"""Between looks at trials that other workers have."""


@dataclass(frozen=True)
class Search:
    """A search YAML, and where its trials go."""

    config: SearchConfig
    base: Path
    """Where the YAML's paths start."""
    out: Path
    storage: str | None
    """A database's URL; a journal in `out` when left out."""


def begin(search: Search) -> None:
    """Record what is searched, or make sure that what was recorded is the same.

    Raises:
        ConfigError: it is another search.
    """
    record = search.out / "search.json"
    start = experiment_of(search.config, search.base, {})
    own = recorded(search.config, start)
    if not record.exists():
        if search.out.exists() and any(not path.name.startswith(".") for path in search.out.iterdir()):
            raise ConfigError(f"{search.out} exists and holds no search of ours; choose another --out")
        write_record(record, own)
        return
    if different := sorted(differing_keys(read_yaml(record), own)):
        raise ConfigError(
            f"{search.out} holds another search (different: {', '.join(different[:5])}); choose another --out, or "
            "bring the old settings back (trials and confirm_seeds may change)"
        )


def work(search: Search, watch: Callable[[Study, Watched | None], None]) -> Study:
    """Carry out trials until the search is over, with other workers or alone; then what confirms it."""
    begin(search)
    with _place_among_workers(search.out) as place:
        entropy = [place] + ([zlib.crc32(socket.gethostname().encode())] if search.storage else [])
        study = Study(search.config, search.out, search.storage, entropy)
        point = start_values(search.config, search.base)
        if point is not None:
            study.enqueue(point)
        while _one_more(study, search, watch):
            watch(study, None)
        while (what := _to_confirm(study, search)) is not None:
            if what is _WAIT:
                time.sleep(WAIT_S)
                study.give_up_abandoned()
                continue
            assert isinstance(what, Confirmation)
            mine = study.confirm(what)
            if mine is not None:
                carry_out(
                    mine, search.config, search.base, search.out, lambda told: watch(study, told), early=False
                )
            watch(study, None)
    return study


def _one_more(study: Study, search: Search, watch: Callable[[Study, Watched | None], None]) -> bool:
    """Carry out a trial of the search, or wait for those of others; False when the search is over."""
    study.give_up_abandoned()
    counted = [trial for trial in study.trials() if trial.state != "abandoned"]
    if len(counted) >= search.config.trials:
        if not any(trial.state == "running" for trial in counted):
            return False
        time.sleep(WAIT_S)
        return True
    mine = study.begin()
    if mine is not None:
        early = search.config.stop_early
        carry_out(mine, search.config, search.base, search.out, lambda told: watch(study, told), early=early)
    return True


_WAIT = object()


def confirmations(study: Study, search: Search) -> list[Confirmation]:
    """The trainings that tell how sure one can be: seeds of the start and of the best, and of the best with each of its
    departures put back.
    """
    best = best_of(study.trials())
    if best is None:
        return []
    start = experiment_of(search.config, search.base, {})
    departed = departures(search.config, search.base, best.chosen)
    if not departed:
        return []
    settings: dict[str, Mapping[str, Any]] = {"start": {}, "best": best.chosen}
    for key in departed:
        settings[f"best without {key}"] = put_back(search.config, best.chosen, key)
    first = start.training.seed + 1
    return [
        Confirmation(role=f"{role}, seed {seed}", chosen=chosen, seed=seed)
        for seed in range(first, first + search.config.confirm_seeds)
        for role, chosen in settings.items()
    ]


def put_back(config: SearchConfig, chosen: Mapping[str, Any], key: str) -> dict[str, Any]:
    """What was chosen without this key, and without what depends on it."""
    kept: dict[str, Any] = {}
    for other in config.order:
        if other != key and other in chosen and all(k in kept for k in config.space[other].when):
            kept[other] = chosen[other]
    return kept


def best_of(trials: list[Trial]) -> Trial | None:
    """The finished trial with the best objective; the first of several."""
    finished = [trial for trial in trials if trial.value is not None]
    return max(finished, key=lambda trial: trial.value or 0.0, default=None)


def _to_confirm(study: Study, search: Search) -> object:
    done = [trial for trial in study.confirmations() if trial.state != "abandoned"]
    taken = {trial.role for trial in done}
    for what in confirmations(study, search):
        if what.role not in taken:
            return what
    return _WAIT if any(trial.state == "running" for trial in done) else None


@contextlib.contextmanager
def _place_among_workers(out: Path) -> Iterator[int]:
    """The lowest number that no other worker on this machine has."""
    (out / ".workers").mkdir(parents=True, exist_ok=True)
    for place in itertools.count():
        with (out / ".workers" / str(place)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield place
            return
