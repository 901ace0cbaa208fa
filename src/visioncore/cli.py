"""The command line. Printing happens here and nowhere else; heavy imports happen inside the commands."""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from visioncore.errors import VisionCoreError

app = typer.Typer(
    help="Digital twins of visual neurons: train, score honestly, look inside.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ModelFile = Annotated[Path, typer.Option("--model", help="Model YAML, as in experiments/model_configs.")]
DataFile = Annotated[Path, typer.Option("--data", help="Data YAML, as in experiments/data_configs.")]


@app.command()
def prepare(data: Annotated[Path, typer.Argument(help="Data YAML.")]) -> None:
    """Read the recordings that DATA describes, check them, and store them for training."""
    from visioncore.data import load_data_config
    from visioncore.data import prepare as prepare_store

    store = prepare_store(load_data_config(data), data.parent)
    typer.echo(str(store.path))
    for session in store.sessions.values():
        minutes = {
            split: sum(b.stop - b.start for b in session.blocks_in(split)) / store.spec.sampling_rate_hz / 60
            for split in ("train", "validation", "test")
        }
        parts = ", ".join(f"{split} {value:.1f} min" for split, value in minutes.items())
        typer.echo(f"  {session.id} ({session.subject}): {len(session.unit_ids)} units; {parts}")


@app.command()
def describe(
    model: Annotated[Path, typer.Argument(help="Model YAML.")],
    data: Annotated[Optional[Path], typer.Option("--data", help="Data YAML; the guide's sizes when left out.")] = None,
    clip_frames: Annotated[int, typer.Option(help="Frames of the clip that is walked through.", min=1)] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the shape after each stage, parameters, training cost, time span and staleness of a model."""
    from rich.console import Console
    from rich.table import Table

    from visioncore.config import load_config
    from visioncore.data import load_data_config
    from visioncore.data import prepare as prepare_store
    from visioncore.describe import describe as describe_model
    from visioncore.describe import guide_spec
    from visioncore.model import TwinConfig

    config = load_config(TwinConfig, model)
    spec = prepare_store(load_data_config(data), data.parent).spec if data else guide_spec(config)
    found = describe_model(config, spec, clip_frames)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
        return
    console = Console(highlight=False)
    table = Table("stage", "shape", "parameters")
    table.columns[2].justify = "right"
    for stage in found.stages:
        table.add_row(stage.stage, stage.shape, f"{stage.parameters:,}" if stage.parameters else "")
    table.add_row("total", "", f"{found.parameters:,}")
    console.print(table)
    console.print(
        f"training cost: {found.training_flops_per_clip / 1e9:,.1f} GFLOP per clip of {found.clip_frames} frames "
        "(counted, forward and backward)"
    )
    console.print(f"staleness: predictions rest on video up to {found.staleness_ms:.1f} ms old")
    for note in found.notes:
        console.print(note)
    for warning in found.warnings:
        console.print(f"[yellow]warning:[/yellow] {warning}")


@app.command()
def train(
    model: ModelFile,
    data: DataFile,
    out: Annotated[Path, typer.Option("--out", help="Run folder; the same command again resumes it.")],
    training: Annotated[Optional[Path], typer.Option("--training", help="Training YAML.")] = None,
    precision: Annotated[
        Optional[str], typer.Option("--precision", help="32-true, bf16-mixed, bf16-true or 16-mixed.")
    ] = None,
    override: Annotated[
        Optional[list[str]], typer.Option("--set", help="dotted.key=YAML value, such as training.max_epochs=5.")
    ] = None,
    max_minutes: Annotated[
        Optional[float], typer.Option("--max-minutes", help="Time a few steps, then train for as long as this.", min=0.1)
    ] = None,
) -> None:
    """Train a twin, or resume the run in --out."""
    from visioncore.training.experiment import read_experiment
    from visioncore.training.run import train as run

    overrides = [*(override or []), *([f"training.precision={precision}"] if precision else [])]
    twin = run(read_experiment(model, data, training, overrides), out, max_minutes)
    typer.echo(f"best twin: {twin}")


def main() -> Any:
    """Entry point: our errors are one clear message and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("visioncore").setLevel(logging.INFO)
    try:
        app()
    except VisionCoreError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
