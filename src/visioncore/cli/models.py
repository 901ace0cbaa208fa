"""Commands that make twins: describe, train, transfer, ensemble, recipes."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from visioncore.cli.app import app, finite, one_voice
from visioncore.errors import ConfigError

MaxMinutes = Annotated[
    float | None,
    typer.Option(
        "--max-minutes",
        help="Find the pace in a short rehearsal, then train for as long as this.",
        min=0.1,
        callback=finite,
    ),
]


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
    from visioncore.training.memory import Recorded

    config = load_config(TwinConfig, model)
    store = prepare_store(load_data_config(data), data.parent) if data else None
    spec = guide_spec(config) if store is None else store.spec
    found = describe_model(config, spec, clip_frames)
    recipe = load_config(TrainingConfig, training) if training else TrainingConfig()
    recipe = recipe.model_copy(update={"clip_frames": clip_frames})
    memory = (
        memory_of(config, spec, recipe)
        if store is None
        else memory_of(config, spec, recipe, store.cached_bytes, Recorded.of(store))
    )
    if as_json:
        typer.echo(json.dumps({**found.to_json(), "memory": memory.to_json()}, indent=2))
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
    max_minutes: MaxMinutes = None,
    slurm: Annotated[
        bool,
        typer.Option(
            "--slurm", help="Print a job for Slurm with this command, to edit and submit; train nothing."
        ),
    ] = False,
) -> None:
    """Train a twin, or resume the run in --out."""
    from visioncore.training.experiment import read_experiment
    from visioncore.training.run import train as run

    overrides = [*(override or []), *([f"training.machine.precision={precision}"] if precision else [])]
    experiment = read_experiment(model, data, training, overrides)
    if slurm:
        from visioncore.cli.slurm import sbatch_script

        typed = [argument for argument in sys.argv[1:] if argument != "--slurm"]
        typer.echo(sbatch_script(typed, experiment.training, out, max_minutes), nl=False)
        return
    with one_voice() as is_first:
        twin = run(experiment, out, max_minutes)
    if is_first:
        typer.echo(f"best twin: {twin}")


@app.command()
def transfer(
    twin: Annotated[Path, typer.Argument(metavar="RUN|TWIN", help="The twin whose trunk is the start.")],
    data: Annotated[Path, typer.Option("--data", help="Data YAML of the new sessions.")],
    out: Annotated[Path, typer.Option("--out", help="Run folder; the same command again resumes it.")],
    trained: Annotated[
        str,
        typer.Option(
            "--train",
            help="heads: they are appended to the twin, whose own predictions stay as they are. modulator, or "
            "last_blocks: part of the trunk too, for a twin of the new sessions alone.",
        ),
    ] = "heads",
    match: Annotated[
        Path | None,
        typer.Option(
            "--match",
            help="CSV: session, unit_id, matched_session, matched_unit_id. Such units start as they were.",
        ),
    ] = None,
    leave_out_behaviour: Annotated[
        bool,
        typer.Option("--leave-out-behaviour", help="Leave out signals that the trunk was not built for."),
    ] = False,
    training: Annotated[
        Path | None, typer.Option("--training", help="Training YAML; the recipe transfer.yaml when left out.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="training.key=YAML value, such as training.batch_size=8."),
    ] = None,
    max_minutes: MaxMinutes = None,
) -> None:
    """Fit new units on a twin's trunk, and append them to it."""
    from visioncore.training.experiment import read_transfer
    from visioncore.training.run import train as run
    from visioncore.training.transfer import TransferConfig

    allowed = ("heads", "modulator", "last_blocks")
    if trained not in allowed:
        raise ConfigError(f"--train is {trained!r}; expected {' | '.join(allowed)}")
    config = TransferConfig(
        twin=str(twin),
        train=cast(Any, trained),
        match=None if match is None else str(match),
        leave_out_behaviour=leave_out_behaviour,
    )
    with one_voice() as is_first:
        path = run(read_transfer(config, data, training, override or []), out, max_minutes)
    kept = "with the new sessions" if trained == "heads" else "of the new sessions alone"
    if is_first:
        typer.echo(f"best twin, {kept}: {path}")


@app.command()
def ensemble(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders of twins of the same units.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="A new folder; evaluate, compare and report take it like a run.")
    ],
) -> None:
    """Join twins that differ in seed, recipe or fold: they predict the mean of their rates, and how far they differ."""
    from visioncore.training.ensemble import join

    file, has_data = join(runs, out)
    typer.echo(f"ensemble of {len(runs)} twins: {file}")
    if not has_data:
        typer.echo(
            "its members were trained on different divisions of their recordings, so it has no test split of its own; "
            "evaluate it with --data on bins that none of them saw"
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
