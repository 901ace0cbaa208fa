"""Commands that look inside a twin: look, tune."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visioncore.cli.app import app, print_rich, store_of
from visioncore.cli.scores import DataOfTwin, RunOrTwin
from visioncore.errors import ConfigError

if TYPE_CHECKING:
    from visioncore.data import RecordingStore
    from visioncore.predictor import Predictor

Units = Annotated[
    list[str] | None,
    typer.Option("--units", help="UNIT, SESSION:UNIT or SESSION:, may be repeated; all when left out."),
]
Behaviours = Annotated[
    list[str] | None,
    typer.Option(
        "--behaviour",
        metavar="NAME=VALUE",
        help="A behavioural signal's raw value, may be repeated; others stand at their training mean.",
    ),
]
OutFolder = Annotated[
    Path | None, typer.Option("--out", help="Write files here; into RUN/analysis when left out.")
]


@app.command()
def look(
    run: RunOrTwin,
    units: Units = None,
    behaviour: Behaviours = None,
    data: DataOfTwin = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="receptive_fields, attention or representation; may be repeated. All when left out."
        ),
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option(
            "--with", help="A second run or twin of the same units, to hold the representation against."
        ),
    ] = None,
    moment: Annotated[
        str | None,
        typer.Option(
            metavar="SESSION:BIN", help="Draw attention at this bin, not at those of the highest rates."
        ),
    ] = None,
    out: OutFolder = None,
) -> None:
    """Find how a twin sees: receptive fields, attention maps with checks, and what its population represents."""
    from visioncore.checkpoint import load_predictor
    from visioncore.evaluation import check_fit
    from visioncore.lab import PARTS, Rig
    from visioncore.lab import look as look_at

    assumed = _behaviour(behaviour or ())
    folder = _folder(run, out)
    predictor = load_predictor(run)
    store = _recording(run, data, predictor)
    if store is not None:
        store = check_fit(predictor, store)
    rig = Rig.of(predictor, store, units or (), assumed)
    notes: list[str] = []
    with _bars("") as told:
        for analysis in look_at(
            rig,
            store,
            only or PARTS,
            other=None if other is None else load_predictor(other),
            at=None if moment is None else _moment(moment),
            say=lambda what, share: told(what, round(100 * share), 100),
            note=notes.append,
        ):
            typer.echo(f"{analysis.title}: {analysis.write(folder)}")
            for sentence in analysis.sentences():
                typer.echo(f"  {sentence}")
    for note in notes:
        typer.echo(note)


@app.command()
def tune(
    run: RunOrTwin,
    units: Units = None,
    behaviour: Behaviours = None,
    data: DataOfTwin = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all indices here.")] = None,
    table: Annotated[
        Path | None, typer.Option("--table", help="Write a CSV with a row per unit here.")
    ] = None,
    out: OutFolder = None,
) -> None:
    """Show a twin what a lab shows to find tuning: gratings of every direction and frequency, and more."""
    from visioncore import tables
    from visioncore.checkpoint import load_predictor
    from visioncore.evaluation import count_test_evaluation
    from visioncore.files import write_csv, write_record
    from visioncore.lab import Rig
    from visioncore.lab import tune as battery

    assumed = _behaviour(behaviour or ())
    folder = _folder(run, out)
    predictor = load_predictor(run)
    store = _recording(run, data, predictor)
    rig = Rig.of(predictor, store, units or (), assumed)
    with _bars("Showing ") as told:
        found = battery(rig, store, told=told)
    path = found.write(folder)
    if json_file:
        write_record(json_file, found.to_json())
    if table:
        write_csv(table, found.rows())
    print_rich(tables.tuning(found))
    if store is not None and found.recorded is not None and "test" in found.recorded.splits:
        counted = count_test_evaluation(run, predictor.digest, store.fingerprint, None, "tune")
        if counted is not None:
            typer.echo(str(counted))
    typer.echo(str(path))


def _behaviour(given: Sequence[str]) -> dict[str, float]:
    """Raw values of signals by their names.

    Raises:
        ConfigError: one is not spelt NAME=VALUE.
    """
    found: dict[str, float] = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            equals = ""
        if not name or not equals or found[name] - found[name] != 0:
            raise ConfigError(f"--behaviour {text}: expected NAME=VALUE with a number, such as speed=0")
    return found


def _moment(given: str) -> tuple[str, int]:
    """A session and one of its bins.

    Raises:
        ConfigError: it is not spelt SESSION:BIN.
    """
    session, colon, at = given.rpartition(":")
    if not session or not colon or not at.isdecimal():
        raise ConfigError(f"--moment {given}: expected SESSION:BIN, such as A1:20500")
    return session, int(at)


def _folder(run: Path, out: Path | None) -> Path:
    from visioncore.hub import is_on_hub
    from visioncore.run_folder import RunFolder

    if out is None and is_on_hub(run):
        raise ConfigError(f"{run} has no folder on this machine: say with --out where files go")
    return out or RunFolder.of(run).analysis


def _recording(run: Path, data: Path | None, predictor: "Predictor") -> "RecordingStore | None":
    """What the user names, or what the run was trained on; None for a twin's file alone."""
    from visioncore.evaluation import require_scale_of
    from visioncore.hub import is_on_hub
    from visioncore.run_folder import RunFolder

    if data is None and (is_on_hub(run) or not RunFolder.of(run).experiment.exists()):
        return None
    store = store_of(run, data)
    if data is not None:
        require_scale_of(predictor, store)
    return store


@contextlib.contextmanager
def _bars(doing: str) -> Iterator[Callable[[str, int, int], None]]:
    """A line for each thing that is done, while it is."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks = {}

        def told(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(f"{doing}{what}", total=of)
            bar.update(tasks[what], completed=done, total=of)

        yield told
