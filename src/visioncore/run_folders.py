"""What run folders tell: their data, their scores, what they cost, and what their models are called."""

import csv
import re
from pathlib import Path

from visioncore.audit import AUDIT_FILE, AuditResult, AuditSettings, audit
from visioncore.checkpoint import load_twin
from visioncore.comparison import ScoredRun
from visioncore.config import build_config, dump_config
from visioncore.data import RecordingStore, prepare
from visioncore.describe import describe
from visioncore.errors import CheckpointError, ConfigError, DataError
from visioncore.evaluation import (
    EvaluationResult,
    EvaluationSettings,
    Purpose,
    TestEvaluations,
    evaluate,
    load_evaluation,
    record_test_evaluation,
)
from visioncore.model import Twin
from visioncore.provenance import Epoch
from visioncore.recording import Split
from visioncore.training.experiment import EXPERIMENT_FILE, TrainingConfig, recorded_data
from visioncore.training.identity import identity
from visioncore.training.plan import PLAN_FILE, read_plan

WHERE_AND_HOW = {"store", "cache", "balance"}
"""Settings of data that change nothing of what is scored."""
SEED_FOLDER = re.compile(r"seed-\d+")


def evaluation_of(
    run_dir: Path, twin: Twin, store: RecordingStore, *, with_sums: bool, split: Split = "test"
) -> EvaluationResult:
    """The run's scores on a split: those that stand in its folder where they fit, else measured and written."""
    found = load_evaluation(run_dir / f"evaluation_{split}.json", twin, store)
    if found is not None and (found.sums or not with_sums):
        return found
    result = evaluate(twin, store, split=split)
    if split == "test":
        count_test_evaluation(run_dir, result.settings, "report")
    result.write_to(run_dir)
    return result


def audit_of(run: Path, twin: Twin, store: RecordingStore, *, keep: bool) -> AuditResult:
    """Audit a twin, count that as an evaluation of the test split, and keep it in the run folder."""
    result = audit(twin, store)
    counted = count_test_evaluation(run, result.settings, "audit")
    if counted is not None:
        result = result.with_evaluations(counted)
    if run.is_dir() and keep:
        result.write_json(run / AUDIT_FILE)
    return result


def count_test_evaluation(
    run: Path, settings: EvaluationSettings | AuditSettings, purpose: Purpose
) -> TestEvaluations | None:
    """The one place that counts: whatever looks at the test split of a run folder's twin comes through here."""
    folder = run if run.is_dir() else run.parent
    if not (folder / EXPERIMENT_FILE).exists():
        return None
    told = settings.to_json() if isinstance(settings, EvaluationSettings) else {}
    told = {key: value for key, value in told.items() if key not in ("twin_digest", "data_fingerprint")}
    return record_test_evaluation(folder, settings.twin_digest, settings.data_fingerprint, told, purpose)


def model_name(run_dir: Path) -> str:
    """What a run is called unless the user says otherwise: its folder, or the one around a folder `seed-N`."""
    folder = run_dir.resolve()
    return folder.parent.name if SEED_FOLDER.fullmatch(folder.name) else folder.name


def named_run(argument: str) -> tuple[str, Path]:
    """The model's name and the run folder that RUN or NAME=RUN means."""
    # A folder whose name holds '=' is itself.
    name, equals, path = argument.partition("=")
    if not equals or Path(argument).is_dir():
        return model_name(Path(argument)), Path(argument)
    if not name:
        raise ConfigError(f"'{argument}': expected RUN or NAME=RUN")
    return name, Path(path)


def read_run(name: str, run_dir: Path, split: Split = "test") -> ScoredRun:
    """The run as a comparison needs it, scored first where its folder holds no evaluation that fits.

    Raises:
        ConfigError: the folder does not exist, or holds no experiment.
        CheckpointError: its twin is missing or does not say how it was trained.
    """
    if not run_dir.is_dir():
        raise ConfigError(f"{run_dir}: no such run folder")
    twin = load_twin(run_dir)
    data, base = recorded_data(run_dir)
    store = prepare(data, base)
    made = twin.provenance.experiment
    if made is None:
        raise CheckpointError(
            f"{run_dir}: its twin does not say how it was trained; expected one that `train` made"
        )
    training = build_config(TrainingConfig, made.training.to_json(), f"{run_dir} (training)")
    steps, wall_s = training_so_far(run_dir / "logs" / "metrics.csv")
    flops = None
    if steps is not None:
        cost = describe(twin.config, twin.spec, training.clip_frames).training_flops_per_clip
        flops = float(cost) * training.clips_per_step * steps
    same = identity(made.to_json())
    return ScoredRun(
        model=name,
        where=str(run_dir),
        seed=training.seed,
        data={key: value for key, value in dump_config(data).items() if key not in WHERE_AND_HOW},
        config={
            "model": same["model"],
            "training": {
                key: value for key, value in same["training"].items() if key not in ("seed", "train_share")
            },
            "balance": made.data.balance,
            "minutes": None if (plan := read_plan(run_dir / PLAN_FILE)) is None else plan.minutes,
        },
        train_share=training.train_share,
        result=evaluation_of(run_dir, twin, store, with_sums=True, split=split),
        parameters=sum(p.numel() for p in twin.parameters()),
        training_flops=flops,
        wall_s=None if wall_s is None else wall_s + twin.provenance.initialise_s,
    )


def training_so_far(path: Path) -> tuple[int | None, float | None]:
    """Optimiser steps and seconds, as the last row of a run's history has them."""
    if not path.exists():
        return None, None
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        if not rows:
            return None, None
        newest = Epoch.from_row(rows[-1])
        return newest.step, newest.seconds
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path}: is no history of a training ({type(error).__name__}: {error}). Delete it, or train again"
        ) from None
