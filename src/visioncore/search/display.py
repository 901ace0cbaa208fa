"""What a worker of a search shows while it works."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from visioncore.search.space import SearchConfig
from visioncore.search.study import Study
from visioncore.search.training import Watched
from visioncore.search.worker import best_of


@contextlib.contextmanager
def bars(config: SearchConfig) -> Iterator[Callable[[Study, Watched | None], None]]:
    """A line for all trials, and one for that of this worker."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:g} of {task.total:g} {task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        everything = shown.add_task("trials", total=config.trials, note="")
        own = shown.add_task("this one", total=100, note="%")

        def watch(study: Study, told: Watched | None) -> None:
            if told is not None:
                score = "" if told.score is None else f", {told.score:.3f} on validation"
                note = f"% of trial {told.number}{score}"
                shown.update(own, completed=round(100 * told.fraction), note=note)
                return
            trials = [trial for trial in study.trials() if trial.state != "abandoned"]
            done = sum(trial.state != "running" for trial in trials)
            best = best_of(trials)
            confirmed = sum(trial.state == "finished" for trial in study.confirmations())
            note = "" if best is None else f", best {best.value:.4f} (trial {best.number})"
            note += f", {confirmed} confirmed" if confirmed else ""
            shown.update(everything, completed=done, note=note)

        yield watch
