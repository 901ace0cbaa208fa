"""Commands about recordings: download, inspect, suggest, prepare."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visioncore.cli.app import app, finite
from visioncore.errors import ConfigError
from visioncore.remote import RemotePath, placed

if TYPE_CHECKING:
    from visioncore.data import RecordingStore


@app.command()
def prepare(
    data: Annotated[Path, typer.Argument(help="Data YAML.")],
    workers: Annotated[int, typer.Option(help="How many sessions are prepared at once.", min=1)] = 1,
) -> None:
    """Read the recordings that DATA describes, check them, and store them for training."""
    from visioncore.data import load_data_config
    from visioncore.data import prepare as prepare_store
    from visioncore.data.splits import SPLITS
    from visioncore.data.usability import usable_minutes

    store = prepare_store(load_data_config(data), data.parent, workers)
    typer.echo(str(store.path))
    for session in store.sessions.values():
        minutes = {split: usable_minutes(store, session, split) for split in SPLITS}
        parts = ", ".join(f"{split} {left:.2g} of {all_:.2g}" for split, (all_, left) in minutes.items())
        typer.echo(
            f"  {session.id} ({session.subject}): {len(session.unit_ids)} units; minutes after burn-in: {parts}"
        )


@app.command()
def inspect(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FILE|FOLDER|STORE",
            help="Files of a lab, a data YAML, or what was prepared (also a URL).",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the proposed data YAML here, not to the screen.")
    ] = None,
    page: Annotated[Path, typer.Option("--page", help="Where the page with the pictures goes.")] = Path(
        "inspection.html"
    ),
) -> None:
    """Look into files before they are prepared, and propose a data YAML; or into what was prepared.

    The proposed YAML goes to stdout, all else to stderr. Of a data YAML or a store there is a page about its quality.
    """
    path = placed(Path(), place)
    if isinstance(path, RemotePath):
        from visioncore.data import RecordingStore

        _quality(RecordingStore(path), page, out)
        return
    if path.suffix in (".yaml", ".yml") and path.is_file():
        from visioncore.data import load_data_config
        from visioncore.data import prepare as prepare_store

        _quality(prepare_store(load_data_config(path), path.parent), page, out)
        return
    if path.suffix == ".json" and path.is_file():
        from visioncore.data import RecordingStore

        _quality(RecordingStore(path), page, out)
        return
    from visioncore.data.inspection.formats import inspect as look_into
    from visioncore.data.inspection.written import as_yaml
    from visioncore.files import write_text
    from visioncore.report.inspection_page import write_inspection

    found = look_into(path.resolve())
    typer.echo(f"{path}: {found.format}", err=True)
    for item in found.listed:
        shape = "" if item.shape is None else " × ".join(map(str, item.shape))
        typer.echo(
            "  " + "  ".join(part for part in (item.name, shape, item.dtype, item.note) if part), err=True
        )
    for note in found.notes:
        typer.secho(f"note: {note}", fg="yellow", err=True)
    proposal, base = (
        dict(found.proposal),
        os.path.relpath(found.base, (out or Path("data.yaml")).resolve().parent),
    )
    if base != ".":
        proposal = {"type": proposal.pop("type"), "base": base, **proposal}
    comments = {**found.comments, "base": "the folder that paths count from"}
    yaml = as_yaml(proposal, comments, f"Proposed by `visioncore inspect {path}`.")
    typer.echo(f"page: {write_inspection(found, yaml, page)}", err=True)
    if out is None:
        typer.echo(yaml, nl=False)
    else:
        write_text(out, yaml)
        typer.echo(f"data YAML: {out}", err=True)


@app.command()
def suggest(
    data: Annotated[Path, typer.Argument(help="Data YAML.")],
    minutes: Annotated[
        float, typer.Option(help="How long training may take.", min=0.1, callback=finite)
    ] = 8.0,
    model: Annotated[str, typer.Option("--model", help="vivit, resnet, x3d or ln.")] = "vivit",
    out: Annotated[Path, typer.Option("--out", help="Folder for model.yaml and training.yaml.")] = Path("."),
) -> None:
    """Write a model and a training made for DATA, with the reason of each choice; takes a minute."""
    from visioncore.data import load_data_config
    from visioncore.data import prepare as prepare_store
    from visioncore.data.inspection.written import as_yaml
    from visioncore.files import write_text
    from visioncore.training.quiet import quiet_lightning
    from visioncore.training.suggestion import CORES
    from visioncore.training.suggestion import suggest as suggest_for

    core = next((name for name in CORES if name == model), None)
    if core is None:
        raise ConfigError(f"--model is {model!r}; expected {' | '.join(CORES)}")
    config = load_data_config(data)
    store = prepare_store(config, data.parent)
    with quiet_lightning():
        found = suggest_for(store, config, data.parent, minutes, core)
    heading = f"Suggested for {data.name} by `visioncore suggest`, {minutes:g} minutes of training."
    for name, suggested in (("model", found.model), ("training", found.training)):
        write_text(out / f"{name}.yaml", as_yaml(suggested.content, suggested.comments, heading))
    for note in found.notes:
        typer.echo(note, err=True)
    typer.echo(
        f"visioncore train --model {out / 'model.yaml'} --data {data} --training {out / 'training.yaml'} --out RUN"
    )


@app.command()
def download(
    what: Annotated[str, typer.Argument(help="sensorium2023, sensorium2023/MOUSE or dandi:ID/PATH.")],
    out: Annotated[Path, typer.Option("--out", help="Folder that it goes to.")] = Path("recordings"),
    yes: Annotated[bool, typer.Option("--yes", help="The licence is accepted.")] = False,
) -> None:
    """Fetch a public recording: its licence first, then the file, with a checksum; goes on where it was interrupted."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from visioncore.data.download import download as fetch
    from visioncore.data.download import remotes

    files = remotes(what)
    for licence in dict.fromkeys(file.licence for file in files):
        typer.echo(f"licence: {licence}", err=True)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("say with --yes that you accept the licence; nothing was downloaded")
        typer.confirm(
            f"Download {len(files)} file{'s' if len(files) > 1 else ''} to {out}?", abort=True, err=True
        )
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    for file in files:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(file.name, total=None)

            def show(n: int, of: int | None, task: TaskID = task, bar: Progress = bar) -> None:
                bar.update(task, completed=n, total=of)

            path = fetch(file, out, show)
        typer.echo(str(path))


def _quality(store: "RecordingStore", page: Path, out: Path | None) -> None:
    from visioncore.report.inspection_page import write_quality

    if out is not None:
        raise ConfigError(
            "--out is for the YAML that is proposed for files of a lab; this is prepared, and has one"
        )
    for note in write_quality(store, page):
        typer.secho(f"note: {note}", fg="yellow", err=True)
    typer.echo(f"page: {page}", err=True)
