"""The command line. Printing happens here and nowhere else; heavy imports happen inside the commands."""

import json
import logging
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from visioncore.errors import ConfigError, VisionCoreError

if TYPE_CHECKING:
    from visioncore.audit import AuditResult
    from visioncore.data import RecordingStore
    from visioncore.evaluation import Purpose, TestEvaluations
    from visioncore.model import Twin

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
    data: Annotated[
        Path | None, typer.Option("--data", help="Data YAML; the guide's sizes when left out.")
    ] = None,
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
    training: Annotated[Path | None, typer.Option("--training", help="Training YAML.")] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="32-true or bf16-mixed.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="dotted.key=YAML value, such as training.max_epochs=5.")
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            "--max-minutes",
            help="Time a few steps, then train for as long as this.",
            min=0.1,
            callback=_finite,
        ),
    ] = None,
) -> None:
    """Train a twin, or resume the run in --out."""
    from visioncore.training.experiment import read_experiment
    from visioncore.training.run import train as run

    overrides = [*(override or []), *([f"training.precision={precision}"] if precision else [])]
    twin = run(read_experiment(model, data, training, overrides), out, max_minutes)
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
) -> None:
    """Score a twin on data it never saw, and print the scores."""
    from visioncore.checkpoint import load_twin
    from visioncore.evaluation import evaluate as score

    for name, value, allowed in (
        ("split", split, ("train", "validation", "test")),
        ("behaviour", behaviour, ("recorded", "mean")),
    ):
        if value not in allowed:
            raise ConfigError(f"--{name} is {value!r}; expected {' | '.join(allowed)}")
    twin = load_twin(run)
    result = score(
        twin,
        _store(run, data),
        split=cast(Any, split),
        bin_ms=bin_ms,
        behaviour=cast(Any, behaviour),
    )
    counted = _count_test_evaluation(run, result.settings, "evaluate") if split == "test" else None
    if run.is_dir() and data is None and bin_ms is None and behaviour == "recorded":
        result.write_json(run / f"evaluation_{split}.json")
    if json_file:
        result.write_json(json_file)
    if table:
        result.write_table(table)
    _print_scores(result.to_json())
    if counted is not None:
        typer.echo(str(counted))


@app.command()
def audit(
    run: RunOrTwin,
    data: DataOfTwin = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all findings here.")] = None,
) -> None:
    """Look for leaks between splits, and for scores that survive a wrong stimulus; exit 1 if a check fails."""
    from visioncore.checkpoint import load_twin

    result = _audit(run, load_twin(run), _store(run, data), keep=data is None)
    if json_file:
        result.write_json(json_file)
    _print_audit(result)
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
    from visioncore.audit import AUDIT_FILE, load_audit
    from visioncore.checkpoint import load_twin
    from visioncore.evaluation import evaluate as score
    from visioncore.evaluation import load_evaluation
    from visioncore.report import write_report

    if not run.is_dir():
        raise ConfigError(f"{run}: no such run folder")
    twin, store = load_twin(run), _store(run, None)
    scores = run / "evaluation_test.json"
    result = load_evaluation(scores, twin, store) if scores.exists() else None
    if result is None:
        result = score(twin, store)
        _count_test_evaluation(run, result.settings, "report")
        result.write_json(scores)
    audited = load_audit(run / AUDIT_FILE, twin, store)
    if audited is None and with_audit:
        audited = _audit(run, twin, store, keep=True)
    typer.echo(str(write_report(twin, store, result, run)))
    if audited is not None and not audited.passed:
        typer.secho("warning: the audit found reasons not to believe the score", fg="yellow", err=True)


def _audit(run: Path, twin: "Twin", store: "RecordingStore", keep: bool) -> "AuditResult":
    """Audit a twin, count that as an evaluation of the test split, and keep it in the run folder."""
    from visioncore.audit import AUDIT_FILE
    from visioncore.audit import audit as find

    result = find(twin, store)
    digests = {name: result.settings[name] for name in ("twin_digest", "data_fingerprint")}
    counted = _count_test_evaluation(run, digests, "audit")
    if counted is not None:
        result = result.with_evaluations(counted)
    if run.is_dir() and keep:
        result.write_json(run / AUDIT_FILE)
    return result


def _count_test_evaluation(
    run: Path, settings: dict[str, Any], purpose: "Purpose"
) -> "TestEvaluations | None":
    """The one place that counts: whatever looks at the test split of a run folder's twin comes through here."""
    from visioncore.evaluation import record_test_evaluation
    from visioncore.training.experiment import EXPERIMENT_FILE

    folder = run if run.is_dir() else run.parent
    if not (folder / EXPERIMENT_FILE).exists():
        return None
    told = {key: value for key, value in settings.items() if key not in ("twin_digest", "data_fingerprint")}
    return record_test_evaluation(
        folder, settings["twin_digest"], settings["data_fingerprint"], told, purpose
    )


def _store(run: Path, data: Path | None) -> "RecordingStore":
    """The data that a run was trained on, or those that the user names."""
    from visioncore.data import load_data_config
    from visioncore.data import prepare as prepare_store
    from visioncore.training.experiment import recorded_data

    if data is not None:
        return prepare_store(load_data_config(data), data.parent)
    folder = run if run.is_dir() else run.parent
    return prepare_store(*recorded_data(folder))


def _print_scores(scores: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    settings = scores["settings"]
    counts = settings["response_kind"] == "counts"
    table = Table(
        "", *(["bits/spike", "95 % interval", "of ceiling"] if counts else []), "correlation", "units"
    )
    rows = [("overall", scores["overall"])]
    rows += [(f"session {name}", section) for name, section in scores["sessions"].items()]
    rows += [(name, section) for name, section in scores["by_kind"].items()]
    rows += [(name, section) for name, section in scores.get("by_class", {}).items()]
    for name, section in rows:
        cells = []
        if counts:
            bits = section["bits_per_spike"]
            low_high = bits["ci95"]
            share = section["fraction_of_ceiling"]
            cells += [
                _number(bits["mean"], "{:.3f}"),
                "" if low_high is None else f"{low_high[0]:.3f} to {low_high[1]:.3f}",
                _number(share, "{:.1%}"),
            ]
        table.add_row(
            name, *cells, _number(section["correlation"]["mean"], "{:.3f}"), str(section["n_units"])
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{settings['split']} split, bins of {settings['bin_ms']:.2f} ms, the first {settings['burn_in_s']:g} s of "
        f"every block left out; null: {settings['null']}; causal"
    )


def _print_audit(result: "AuditResult") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    colours = {"pass": "green", "note": "yellow", "fail": "red"}
    table = Table("check", "", "finding", "what to do")
    for finding in result.findings:
        colour = colours[finding.level]
        told = (escape(text) for text in (finding.sentence, finding.remedy))
        table.add_row(finding.check, f"[{colour}]{finding.level}[/]", *told)
    console.print(table)
    counts = result.settings["response_kind"] == "counts"
    names = ["correlation", *(["bits_per_spike", "recalibrated_bits_per_spike"] if counts else [])]
    labels = {"correlation": "correlation", "bits_per_spike": "bits/spike"}
    scores = Table(
        "test split", "", *(label for n in names for label in (labels.get(n, "recalibrated"), "95 %"))
    )
    for line in result.controls:
        cells = []
        for name in names:
            low_high = line[name]["ci95"]
            cells += [
                _number(line[name]["mean"], "{:.3f}"),
                "" if low_high is None else f"{low_high[0]:.3f} to {low_high[1]:.3f}",
            ]
        scores.add_row(line["name"], line["role"], *cells)
    console.print(scores)
    ran, of = result.settings["audited_test_blocks"], result.settings["test_blocks"]
    console.print(
        f"controls on {ran} of {of} test blocks; recalibrated: rate' = a + b rate fitted on the scored counts"
    )


def _number(value: float | None, form: str) -> str:
    return "not defined" if value is None else form.format(value)


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
