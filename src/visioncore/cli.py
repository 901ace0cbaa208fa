"""The command line. Printing happens here and nowhere else; heavy imports happen inside the commands."""

import contextlib
import json
import logging
import math
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from visioncore.errors import ConfigError, TrainingError, VisionCoreError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from visioncore.data import DataConfig, RecordingStore

app = typer.Typer(
    help="Digital twins of visual neurons: train, score honestly, look inside.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _finite(value: float | None) -> float | None:
    """A check of options: `nan` and `inf` are floats, but neither is a length of time."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


@app.command()
def prepare(data: Annotated[Path, typer.Argument(help="Data YAML.")]) -> None:
    """Read the recordings that DATA describes, check them, and store them for training."""
    from visioncore.data import load_data_config
    from visioncore.data import prepare as prepare_store
    from visioncore.data.splits import SPLITS
    from visioncore.data.usability import usable_minutes

    store = prepare_store(load_data_config(data), data.parent)
    typer.echo(str(store.path))
    for session in store.sessions.values():
        minutes = {split: usable_minutes(store, session, split) for split in SPLITS}
        parts = ", ".join(f"{split} {left:.2g} of {all_:.2g}" for split, (all_, left) in minutes.items())
        typer.echo(
            f"  {session.id} ({session.subject}): {len(session.unit_ids)} units; minutes after burn-in: {parts}"
        )


@app.command()
def describe(
    model: Annotated[Path, typer.Argument(help="Model YAML.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Data YAML; the guide's sizes when left out.")
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option("--training", help="Training YAML, for the memory; clips as long as --clip-frames."),
    ] = None,
    clip_frames: Annotated[int, typer.Option(help="Frames of the clip that is walked through.", min=1)] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the shape after each stage, parameters, cost and memory of training, time span and staleness of a model."""
    from rich.console import Console

    from visioncore import tables
    from visioncore.config import load_config
    from visioncore.data import load_data_config
    from visioncore.data import prepare as prepare_store
    from visioncore.describe import describe as describe_model
    from visioncore.describe import guide_spec, memory_of
    from visioncore.model import TwinConfig
    from visioncore.training.experiment import TrainingConfig

    config = load_config(TwinConfig, model)
    store = prepare_store(load_data_config(data), data.parent) if data else None
    spec = guide_spec(config) if store is None else store.spec
    found = describe_model(config, spec, clip_frames)
    recipe = load_config(TrainingConfig, training) if training else TrainingConfig()
    recipe = recipe.model_copy(update={"clip_frames": clip_frames})
    memory = memory_of(config, spec, recipe, 0 if store is None else store.cached_bytes)
    if as_json:
        typer.echo(json.dumps({**found.as_json(), "memory": memory.as_json()}, indent=2))
        return
    console = Console(highlight=False)
    table = tables.table("stage", "shape", "parameters")
    table.columns[2].justify = "right"
    for stage in found.stages:
        table.add_row(stage.stage, stage.shape, f"{stage.parameters:,}" if stage.parameters else "")
    table.add_row("total", "", f"{found.parameters:,}")
    console.print(table)
    console.print(
        f"training cost: {found.training_flops_per_clip / 1e9:,.1f} GFLOP per clip of {found.clip_frames} frames "
        "(counted, forward and backward)"
    )
    console.print(f"memory of training, {recipe.batch_size} clips at a time: {memory}")
    console.print(f"staleness: predictions rest on video up to {found.staleness_ms:.1f} ms old")
    for note in found.notes:
        console.print(note)
    for warning in found.warnings:
        console.print(f"[yellow]warning:[/yellow] {warning}")


@app.command()
def train(
    model: Annotated[Path, typer.Option("--model", help="Model YAML, as in experiments/model_configs.")],
    data: Annotated[Path, typer.Option("--data", help="Data YAML, as in experiments/data_configs.")],
    out: Annotated[Path, typer.Option("--out", help="Run folder; the same command again resumes it.")],
    training: Annotated[Path | None, typer.Option("--training", help="Training YAML.")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="32-true or bf16-mixed.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="dotted.key=YAML value, such as training.batch_size=8.")
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            "--max-minutes",
            help="Find the pace in a short rehearsal, then train for as long as this.",
            min=0.1,
            callback=_finite,
        ),
    ] = None,
) -> None:
    """Train a twin, or resume the run in --out."""
    from visioncore.training.experiment import read_experiment
    from visioncore.training.run import train as run

    overrides = [*(override or []), *([f"training.machine.precision={precision}"] if precision else [])]
    experiment = read_experiment(model, data, training, overrides)
    twin = run(experiment, out, max_minutes)
    typer.echo(f"best twin: {twin}")


RunOrTwin = Annotated[Path, typer.Argument(metavar="RUN|TWIN", help="A run folder or a .safetensors file.")]
DataOfTwin = Annotated[
    Path | None, typer.Option("--data", help="Data YAML; what the run was trained on when left out.")
]


@app.command()
def evaluate(
    run: RunOrTwin,
    data: DataOfTwin = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    bin_ms: Annotated[
        float | None,
        typer.Option(help="Score coarser bins: counts summed, traces averaged.", callback=_finite),
    ] = None,
    behaviour: Annotated[str, typer.Option(help="recorded, or mean: the training data's mean.")] = "recorded",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all scores here.")] = None,
    table: Annotated[
        Path | None, typer.Option("--table", help="Write a CSV with a row per unit here.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="sensorium, or sensorium-unscaled: that competition's score instead.")
    ] = None,
    submission: Annotated[
        Path | None, typer.Option(help="Write that competition's files into this folder.")
    ] = None,
) -> None:
    """Score a twin on data it never saw, and print the scores."""
    from visioncore import tables
    from visioncore.checkpoint import load_twin
    from visioncore.evaluation import count_evaluation, require_scale_of
    from visioncore.evaluation import evaluate as score
    from visioncore.evaluation.sensorium import ChallengeOfRun

    for name, value, allowed in (
        ("split", split, ("train", "validation", "test")),
        ("behaviour", behaviour, ("recorded", "mean")),
        ("metric", metric, (None, "sensorium", "sensorium-unscaled")),
    ):
        if value not in allowed:
            raise ConfigError(f"--{name} is {value!r}; expected {' | '.join(filter(None, allowed))}")
    twin, store = load_twin(run), _store(run, data)
    if data is not None:
        require_scale_of(twin, store)
    if metric is not None or submission is not None:
        of_run = ChallengeOfRun(run, twin, store, *_data(run, data), split=cast(Any, split))
        if submission is not None:
            return typer.echo(of_run.write(submission))
        scaled = metric == "sensorium"
        return _print(tables.challenge(of_run.score(scaled, cast(Any, behaviour), json_file)))
    result = score(
        twin,
        store,
        split=cast(Any, split),
        bin_ms=bin_ms,
        behaviour=cast(Any, behaviour),
    )
    counted = count_evaluation(run, result.settings, "evaluate") if split == "test" else None
    if run.is_dir() and data is None and bin_ms is None and behaviour == "recorded":
        result.write_to(run)
    if json_file:
        result.write_json(json_file)
    if table:
        result.write_table(table)
    _print(tables.scores(result))
    if counted is not None:
        typer.echo(str(counted))


@app.command()
def audit(
    run: RunOrTwin,
    data: DataOfTwin = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all findings here.")] = None,
) -> None:
    """Look for leaks between splits, and for scores that survive a wrong stimulus; exit 1 if a check fails."""
    from visioncore import tables
    from visioncore.audit import audit_of
    from visioncore.checkpoint import load_twin
    from visioncore.evaluation import require_scale_of

    twin, store = load_twin(run), _store(run, data)
    if data is not None:
        require_scale_of(twin, store)
    result = audit_of(run, twin, store, keep=data is None)
    if json_file:
        result.write_json(json_file)
    _print(tables.audit(result))
    if not result.passed:
        raise typer.Exit(1)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    with_audit: Annotated[
        bool,
        typer.Option("--audit/--no-audit", help="Run the audit first, where RUN holds none of this twin."),
    ] = True,
) -> None:
    """Write RUN/report.html: one page, to open in any browser, that needs no network."""
    from visioncore.audit import audit_of, load_audit
    from visioncore.checkpoint import load_twin
    from visioncore.evaluation import evaluation_of
    from visioncore.report import write_report
    from visioncore.run_folder import RunFolder

    folder = RunFolder(run)
    folder.require()
    twin, store = load_twin(run), _store(run, None)
    result = evaluation_of(run, twin, store, with_sums=False)
    audited = load_audit(folder.audit, twin, store)
    if audited is None and with_audit:
        audited = audit_of(run, twin, store, keep=True)
    typer.echo(str(write_report(twin, store, result, run)))
    if audited is not None and not audited.passed:
        typer.secho("warning: the audit found reasons not to believe the score", fg="yellow", err=True)


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Run folders, or NAME=RUN; runs of one name are its seeds."),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Write page, tables and figures here.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="The model that the others are held against; the first when left out.")
    ] = None,
) -> None:
    """Hold models against each other on the same units and bins, with paired intervals."""
    from visioncore import tables
    from visioncore.comparison import compare as compare_runs
    from visioncore.comparison import named_run, read_run
    from visioncore.report import write_comparison

    comparison = compare_runs([read_run(*named_run(run)) for run in runs], reference)
    _print(tables.comparison(comparison))
    if out is not None:
        typer.echo(str(write_comparison(comparison, out, title=out.resolve().name)))


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
        _print(display.table(work, chosen))
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


@app.command()
def recipes(
    copy: Annotated[
        Path | None, typer.Option("--copy", help="Copy all of them into this folder, to change them there.")
    ] = None,
) -> None:
    """List the shipped YAMLs of models, data, training and benchmarks, or copy them."""
    from visioncore.recipes import copy_recipes, recipes

    if copy is not None:
        typer.echo(f"{len(copy_recipes(copy))} files copied to {copy}")
        return
    for kind, files in recipes().items():
        typer.echo(f"{files[0].parent if files else kind}:")
        for file in files:
            typer.echo(f"  {file.name}")


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


def _store(run: Path, data: Path | None) -> "RecordingStore":
    """The data that a run was trained on, or those that the user names."""
    from visioncore.data import prepare as prepare_store

    return prepare_store(*_data(run, data))


def _data(run: Path, data: Path | None) -> tuple["DataConfig", Path]:
    from visioncore.data import load_data_config
    from visioncore.run_folder import RunFolder
    from visioncore.training.experiment import recorded_data

    if data is not None:
        return load_data_config(data), data.parent
    return recorded_data(RunFolder.of(run).path)


def _print(what: "RenderableType") -> None:
    from rich.console import Console

    Console(highlight=False).print(what)


def main() -> Any:
    """Entry point: our errors, and files that cannot be read or written, are one clear message and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("visioncore").setLevel(logging.INFO)
    try:
        app()
    except (VisionCoreError, OSError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
