"""What a benchmark shows while it runs, and what of it is left: for the command line to print."""

import contextlib
import math
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column
from rich.text import Text

from visioncore.benchmark.execution import Benchmark, RunProgress, Watch
from visioncore.benchmark.suite import PlannedRun
from visioncore.tables import table as fitting_table

BAR_WIDTH = 10
"""Leaves room for names, which go on in the next line where they are long."""


@contextlib.contextmanager
def bars(work: Benchmark, chosen: Sequence[PlannedRun]) -> Iterator[Watch]:
    """A line per run, and one for all that remains."""
    states = {run.folder: work.progress(run) for run in chosen}
    name, note = (
        TextColumn(f"{{task.{what}}}", markup=False, table_column=Column(overflow="fold"))
        for what in ("description", "fields[note]")
    )
    columns = (name, BarColumn(bar_width=BAR_WIDTH), TextColumn("{task.percentage:>3.0f} %"), note)
    with Progress(*columns, console=Console(stderr=True)) as shown:
        everything = shown.add_task("all runs", total=len(chosen), note="")
        lines = {
            run.folder: shown.add_task(run.name, total=1.0, note=_note(state))
            for run, state in zip(chosen, states.values(), strict=True)
        }

        def show(run: PlannedRun, state: RunProgress) -> None:
            states[run.folder] = state
            shown.update(lines[run.folder], completed=state.fraction, note=_note(state))
            done = sum(state.state in ("finished", "failed") for state in states.values())
            shown.update(everything, completed=done, note=_all_that_remains(list(states.values())))

        for run in chosen:
            show(run, states[run.folder])
        yield show


def table(work: Benchmark, chosen: Sequence[PlannedRun]) -> RenderableType:
    """A line per run: its state, and the time that it still needs."""
    rows = fitting_table("recording", "model", "seed", "state", "time needed")
    states = [work.progress(run) for run in chosen]
    for run, state in zip(chosen, states, strict=True):
        begun = f"begun ({state.fraction:.0%})" if state.state == "begun" else state.state
        rows.add_row(Text(run.data), Text(run.model), str(run.seed), begun, _duration(state.remaining_s))
    done = sum(state.state == "finished" for state in states)
    summary = f"{done} of {len(chosen)} runs finished; {_all_that_remains(states)}"
    return Group(rows, summary)


def _note(state: RunProgress) -> str:
    if state.state in ("finished", "failed"):
        return state.state
    return f"{state.state}, {_duration(state.remaining_s)} left"


def _all_that_remains(states: list[RunProgress]) -> str:
    left = [state.remaining_s for state in states if state.state not in ("finished", "failed")]
    known = [seconds for seconds in left if seconds is not None]
    if not left:
        return "nothing left"
    unknown = f", and {len(left) - len(known)} runs of unknown length" if len(known) < len(left) else ""
    return f"{_duration(sum(known)) if known else 'time not known'} left{unknown if known else ''}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "time not known"
    if seconds == 0:
        return "none"
    minutes = seconds / 60
    return f"about {minutes / 60:.1f} h" if minutes >= 90 else f"about {math.ceil(minutes)} min"
