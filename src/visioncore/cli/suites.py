"""The command that runs a suite."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from visioncore.cli.app import app, print_rich
from visioncore.errors import ConfigError, TrainingError


@app.command()
def benchmark(
    suite: Annotated[Path, typer.Argument(help="Suite YAML, as in experiments/benchmarks.")],
    out: Annotated[
        Path, typer.Option("--out", help="Where runs and pages go; the same command goes on there.")
    ],
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Train this model of the suite alone; may be repeated.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds instead of the suite's, such as 0,1,2.")] = None,
    list_only: Annotated[
        bool, typer.Option("--list", help="Train nothing: print what is done, and what remains.")
    ] = False,
) -> None:
    """Train the models of a suite under one budget, score them on test, and compare them."""
    from visioncore.benchmark import Benchmark, display, last_words, planned_runs, read_suite

    config = read_suite(suite)
    for name in only or ():
        if name not in config.models:
            raise ConfigError(f"--only {name}: expected a model of the suite: {', '.join(config.models)}")
    planned = planned_runs(config, suite.parent, out, _seeds(seeds))
    work = Benchmark(planned, config.reference_model)
    chosen = [run for run in planned if not only or run.entry in only]
    if list_only:
        print_rich(display.table(work, chosen))
        return
    with _ended_as_if_interrupted(), display.bars(work, chosen) as watch:
        failed = work.execute(chosen, watch)
    for data in dict.fromkeys(run.data for run in planned):
        if (page := out / data / "comparison.html").exists():
            typer.echo(str(page))
    if failed:
        reasons = "\n".join(f"  {run.name}: {last_words(run)} (all of it: {run.log})" for run in failed)
        raise TrainingError(
            f"{len(failed)} of {len(chosen)} runs failed; the same command tries them again\n{reasons}"
        )


def _seeds(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = [-1]
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds is {text!r}; expected different numbers from 0 on, such as 0,1,2")
    return seeds


@contextlib.contextmanager
def _ended_as_if_interrupted() -> Iterator[None]:
    """A benchmark that is told to end takes the training it started with it, as it does on Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
