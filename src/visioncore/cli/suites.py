"""The command that runs a suite."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from visioncore.cli.app import app, finite, print_rich
from visioncore.errors import ConfigError, TrainingError


@app.command()
def benchmark(
    out: Annotated[
        Path, typer.Option("--out", help="Where runs and pages go; the same command goes on there.")
    ],
    suite: Annotated[Path | None, typer.Argument(help="Suite YAML, as in experiments/benchmarks.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Instead of SUITE: ViViT and its rivals, as `suggest` has them for this data YAML."
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", help="With --data: how long each trains.", min=0.1, callback=finite)
    ] = 8.0,
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

    if suite is not None and data is not None:
        raise ConfigError("give a suite YAML or --data, not both")
    path = suite if suite is not None else _suggested_suite(data, minutes, out)
    config = read_suite(path)
    for name in only or ():
        if name not in config.models:
            raise ConfigError(f"--only {name}: expected a model of the suite: {', '.join(config.models)}")
    planned = planned_runs(config, path.parent, out, _seeds(seeds))
    work = Benchmark(planned, config.reference_model, common_units=config.common_units)
    chosen = [run for run in planned if not only or run.entry in only]
    if list_only:
        print_rich(display.table(work, chosen))
        return
    with _ended_as_if_interrupted(), display.bars(work, chosen) as watch:
        failed = work.execute(chosen, watch)
    for recording in dict.fromkeys(run.data for run in planned):
        if (page := out / recording / "comparison.html").exists():
            typer.echo(str(page))
    if failed:
        reasons = "\n".join(f"  {run.name}: {last_words(run)} (all of it: {run.log})" for run in failed)
        raise TrainingError(
            f"{len(failed)} of {len(chosen)} runs failed; the same command tries them again\n{reasons}"
        )


def _suggested_suite(data: Path | None, minutes: float, out: Path) -> Path:
    """A suite of what `suggest` has for these data, kept in `out`; the one that is there goes on."""
    from visioncore.data import load_data_config, prepare
    from visioncore.data.inspection.written import as_yaml
    from visioncore.files import write_text
    from visioncore.training.suggestion import CORES, suggest

    if data is None:
        raise ConfigError("give a suite YAML, or --data for the models as suggested for these data")
    folder = out / "suggested"
    suite = folder / "suite.yaml"
    content = {
        "data": {data.stem: os.path.relpath(data, folder)},
        "models": {core: {"model": f"{core}.yaml", "training": f"{core}_training.yaml"} for core in CORES},
        "seeds": [0],
        "minutes_per_run": minutes,
        "reference": "vivit",
    }
    text = as_yaml(content, {}, f"ViViT and its rivals, as suggested for {data.name}.")
    if suite.exists():
        if suite.read_text(encoding="utf-8") != text:
            raise ConfigError(f"{suite}: is of other data or minutes; give another --out, or remove {out}")
        return suite
    config = load_data_config(data)
    store = prepare(config, data.parent)
    window_s = None
    for core in CORES:
        found = suggest(store, config, data.parent, minutes, core, rehearse=False, window_s=window_s)
        window_s = found.window_s
        heading = f"Suggested for {data.name} by `visioncore benchmark`."
        write_text(folder / f"{core}.yaml", as_yaml(found.model.content, found.model.comments, heading))
        write_text(
            folder / f"{core}_training.yaml",
            as_yaml(found.training.content, found.training.comments, heading),
        )
    write_text(suite, text)
    return suite


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


@app.command()
def search(
    space: Annotated[Path, typer.Argument(metavar="SPACE", help="Search YAML, as in experiments/search.")],
    out: Annotated[
        Path,
        typer.Option("--out", help="Where trials and the page go; the same command goes on there, or helps."),
    ],
    storage: Annotated[
        str | None,
        typer.Option(
            help="URL of a database for workers on several machines; a journal in --out when left out."
        ),
    ] = None,
    page_only: Annotated[bool, typer.Option("--page", help="Train nothing: write the page anew.")] = False,
) -> None:
    """Search settings of an experiment with Optuna. Started several times, its workers share the trials."""
    from visioncore.search import Search, Study, read_space, write_page
    from visioncore.search import work as carry_on
    from visioncore.search.display import bars

    config = read_space(space)
    what = Search(config, space.parent, out, storage)
    if page_only:
        study = Study(config, out, storage)
    else:
        with _ended_as_if_interrupted(), bars(config) as watch:
            study = carry_on(what, watch)
    typer.echo(str(write_page(study, what)))
