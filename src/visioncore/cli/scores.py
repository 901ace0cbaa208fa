"""Commands about what a twin is worth: evaluate, audit, report, compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from visioncore.cli.app import app, data_of, finite, print_rich, store_of
from visioncore.errors import ConfigError

if TYPE_CHECKING:
    from visioncore.comparison.matched import MatchedUnit
    from visioncore.data import RecordingStore
    from visioncore.predictor import Predictor

RunOrTwin = Annotated[Path, typer.Argument(metavar="RUN|TWIN", help="A run folder or a .safetensors file.")]
DataOfTwin = Annotated[
    Path | None, typer.Option("--data", help="Data YAML; what the run was trained on when left out.")
]


@app.command()
def evaluate(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN|TWIN]", help="A run folder or a .safetensors file.")
    ] = None,
    data: DataOfTwin = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="In place of a twin: an NPZ of what any model predicted of --data."),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    bin_ms: Annotated[
        float | None,
        typer.Option(help="Score coarser bins: counts summed, traces averaged.", callback=finite),
    ] = None,
    behaviour: Annotated[str, typer.Option(help="recorded, or mean: the training data's mean.")] = "recorded",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all scores here.")] = None,
    table: Annotated[
        Path | None, typer.Option("--table", help="Write a CSV with a row per unit here.")
    ] = None,
    held_out_units: Annotated[
        bool,
        typer.Option(
            "--held-out-units",
            help="Fit heads for the units that were held out from RUN's training on its trunk, and score them.",
        ),
    ] = False,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            help="How long to fit --held-out-units; by the recipe transfer.yaml when left out.",
            callback=finite,
        ),
    ] = None,
    export_predictions: Annotated[
        Path | None, typer.Option(help="Write what the twin predicts of the split into this NPZ.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="sensorium, or sensorium-unscaled: that competition's score instead.")
    ] = None,
    submission: Annotated[
        Path | None, typer.Option(help="Write that competition's files into this folder.")
    ] = None,
) -> None:
    """Score a twin, or what any model predicted, on data it never saw, and print the scores."""
    from visioncore import tables
    from visioncore.comparison.matched import matched_units
    from visioncore.evaluation import count_evaluation, learned_views
    from visioncore.evaluation import evaluate as score
    from visioncore.evaluation import export_predictions as export
    from visioncore.evaluation.sensorium import ChallengeOfRun

    _require_choices(split, behaviour, metric)
    if held_out_units or max_minutes is not None:
        run = _heads_of_held_out_units(run, held_out_units, max_minutes, elsewhere=data or predictions)
    twin, store, run = _predictor_of(run, predictions, data, export=export_predictions is not None)
    if export_predictions is not None:
        export(export_predictions, twin, store, cast(Any, split), cast(Any, behaviour))
    if metric is not None or submission is not None:
        of_run = ChallengeOfRun(run, twin, store, *data_of(run, data), split=cast(Any, split))
        if submission is not None:
            return typer.echo(of_run.write(submission))
        scaled = metric == "sensorium"
        return print_rich(tables.challenge(of_run.score(scaled, cast(Any, behaviour), json_file)))
    result = score(
        twin,
        store,
        split=cast(Any, split),
        bin_ms=bin_ms,
        behaviour=cast(Any, behaviour),
    )
    counted = count_evaluation(run, result.settings, "evaluate") if split == "test" else None
    kept = run.is_dir() and data is None and bin_ms is None and behaviour == "recorded"
    if kept:
        result.write_to(run)
    if json_file:
        result.write_json(json_file)
    if table:
        result.write_table(table)
    print_rich(tables.scores(result))
    for view in learned_views(twin, store, cast(Any, split)):
        typer.echo(str(view))
    if counted is not None:
        typer.echo(str(counted))
        _show_matched_units(run, matched_units(twin, result) if kept else ())


def _heads_of_held_out_units(
    run: Path | None, asked: bool, max_minutes: float | None, elsewhere: Path | None
) -> Path:
    from visioncore.training.held_out_heads import fit_held_out_units

    if not asked:
        raise ConfigError("--max-minutes is for --held-out-units: nothing else is fitted here")
    if run is None or elsewhere is not None:
        raise ConfigError(
            "--held-out-units are of a run folder and its own recording: name RUN, and no other data"
        )
    return fit_held_out_units(run, max_minutes)


def _require_choices(split: str, behaviour: str, metric: str | None) -> None:
    for name, value, allowed in (
        ("split", split, ("train", "validation", "test")),
        ("behaviour", behaviour, ("recorded", "mean")),
        ("metric", metric, (None, "sensorium", "sensorium-unscaled")),
    ):
        if value not in allowed:
            raise ConfigError(f"--{name} is {value!r}; expected {' | '.join(filter(None, allowed))}")


def _predictor_of(
    run: Path | None, predictions: Path | None, data: Path | None, *, export: bool
) -> "tuple[Predictor, RecordingStore, Path]":
    """What is scored, on what, and where it lies."""
    from visioncore.checkpoint import load_predictor
    from visioncore.evaluation import KeptPredictions, require_scale_of

    if predictions is None:
        if run is None:
            raise ConfigError("nothing to score: name a run folder or a twin, or --predictions")
        predictor, store = load_predictor(run), store_of(run, data)
        if data is not None:
            require_scale_of(predictor, store)
        return predictor, store, run
    if export:
        raise ConfigError("--export-predictions writes a twin's, and --predictions are in a file already")
    if run is not None or data is None:
        raise ConfigError(
            "--predictions stand in place of RUN, and --data says what they are of: give both of them alone"
        )
    store = store_of(predictions, data)
    return KeptPredictions(predictions, store), store, predictions


def _show_matched_units(run: Path, units: "Sequence[MatchedUnit]") -> None:
    from visioncore import tables
    from visioncore.files import write_csv
    from visioncore.run_folder import RunFolder

    if units:
        file = RunFolder(run).matched_units
        write_csv(file, [unit.to_json() for unit in units])
        print_rich(tables.matched(units, str(file)))


@app.command()
def audit(
    run: RunOrTwin,
    data: DataOfTwin = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all findings here.")] = None,
) -> None:
    """Look for leaks between splits, and for scores that survive a wrong stimulus; exit 1 if a check fails."""
    from visioncore import tables
    from visioncore.audit import audit_of
    from visioncore.checkpoint import load_predictor
    from visioncore.evaluation import require_scale_of

    twin, store = load_predictor(run), store_of(run, data)
    if data is not None:
        require_scale_of(twin, store)
    result = audit_of(run, twin, store, keep=data is None)
    if json_file:
        result.write_json(json_file)
    print_rich(tables.audit(result))
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
    from visioncore.checkpoint import load_predictor
    from visioncore.evaluation import evaluation_of
    from visioncore.report import write_report
    from visioncore.run_folder import RunFolder

    folder = RunFolder(run)
    folder.require()
    twin, store = load_predictor(run), store_of(run, None)
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
        typer.Argument(
            metavar="RUN...",
            help="Run folders, or an NPZ of what any model predicted; or NAME=RUN. Runs of one name are its seeds.",
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Write page, tables and figures here.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="The model that the others are held against; the first when left out.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Data YAML for NPZ files; the first run's recording when left out."),
    ] = None,
    common_units: Annotated[
        bool,
        typer.Option("--common-units", help="Compare on the units that all runs have; else they must agree."),
    ] = False,
) -> None:
    """Hold models against each other on the same units and bins, with paired intervals."""
    from visioncore import tables
    from visioncore.comparison import compare as compare_runs
    from visioncore.comparison import read_runs
    from visioncore.data import load_data_config
    from visioncore.report import write_comparison

    of_files = None if data is None else (load_data_config(data), data.parent)
    comparison = compare_runs(read_runs(runs, of_files), reference, common_units=common_units)
    print_rich(tables.comparison(comparison))
    if out is not None:
        typer.echo(str(write_comparison(comparison, out, title=out.resolve().name)))


@app.command()
def embed(
    run: RunOrTwin,
    out: Annotated[Path, typer.Option("--out", help="The table: a name that ends in .parquet or .csv.")],
) -> None:
    """Write what a twin knows of every unit: where it looks, its weights on the core's features, its scores."""
    from visioncore.checkpoint import load_twin
    from visioncore.embedding import embed as rows_of
    from visioncore.embedding import write_embedding

    rows = rows_of(load_twin(run), run)
    write_embedding(out, rows)
    typer.echo(f"{len(rows)} units, {len(rows[0])} columns: {out}")
