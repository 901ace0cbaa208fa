"""Run folders and files of predictions as a comparison needs them: what they are called, their data, their scores,
what they cost.
"""

from collections.abc import Sequence
from pathlib import Path

from visioncore.checkpoint import load_predictor
from visioncore.comparison.scored_run import ModelSettings, ScoredRun
from visioncore.config import build_config
from visioncore.data import DataConfig, prepare
from visioncore.describe import describe
from visioncore.errors import CheckpointError, ConfigError
from visioncore.evaluation import KeptPredictions, evaluation_of
from visioncore.model import Ensemble
from visioncore.recording import Split
from visioncore.run_folder import RunFolder
from visioncore.training.experiment import TrainingConfig, recorded_data
from visioncore.training.identity import identity
from visioncore.training.plan import read_plan


def named_run(argument: str) -> tuple[str, Path]:
    """The model's name and the run folder, or file of predictions, that RUN or NAME=RUN means."""
    # A folder or file whose name holds '=' is itself.
    name, equals, path = argument.partition("=")
    if not equals or Path(argument).exists():
        run = Path(argument)
        return run.stem if _is_of_predictions(run) else RunFolder(run).model_name, run
    if not name:
        raise ConfigError(f"'{argument}': expected RUN or NAME=RUN")
    return name, Path(path)


def read_runs(runs: Sequence[str], data: tuple[DataConfig, Path] | None = None) -> list[ScoredRun]:
    """What each RUN or NAME=RUN means, scored.

    Args:
        data: what files of predictions are scored on, and the folder that its paths count from; the recording of the
            first run folder when left out.

    Raises:
        ConfigError: there is a file of predictions, and nothing says what it is to be scored on.
    """
    named = [named_run(run) for run in runs]
    folders = [path for _, path in named if not _is_of_predictions(path)]
    if len(folders) < len(named):
        if data is None and not folders:
            raise ConfigError(
                "files of predictions alone do not say what they are scored on; add a run folder, or --data"
            )
        of_files = data or recorded_data(folders[0])
    elif data is not None:
        raise ConfigError(
            "--data is for files of predictions, and there is none: run folders know their data"
        )
    return [
        _read_predictions(name, path, of_files) if _is_of_predictions(path) else read_run(name, path)
        for name, path in named
    ]


def _is_of_predictions(path: Path) -> bool:
    return path.suffix == ".npz" and not path.is_dir()


def _read_predictions(name: str, path: Path, data: tuple[DataConfig, Path]) -> ScoredRun:
    store = prepare(*data)
    kept = KeptPredictions(path, store)
    return ScoredRun.of(name, kept, store, where=str(path), seed=kept.header.seed, data=data[0])


def read_run(name: str, run_dir: Path, split: Split = "test") -> ScoredRun:
    """The run as a comparison needs it, scored first where its folder holds no evaluation that fits.

    Raises:
        ConfigError: the folder does not exist, or holds no experiment.
        CheckpointError: its twin is missing or does not say how it was trained.
    """
    folder = RunFolder(run_dir)
    folder.require()
    twin = load_predictor(run_dir)
    data, base = recorded_data(run_dir)
    store = prepare(data, base)
    if isinstance(twin, Ensemble):
        return ScoredRun(
            model=name,
            where=str(run_dir),
            seed=0,
            data=data,
            config=ModelSettings(model={"members": [member.digest for member in twin.members]}),
            train_share=1.0,
            result=evaluation_of(run_dir, twin, store, with_sums=True, split=split),
            parameters=sum(p.numel() for member in twin.members for p in member.parameters()),
            training_flops=None,
            wall_s=None,
        )
    made = twin.provenance.experiment
    if made is None:
        raise CheckpointError(
            f"{run_dir}: its twin does not say how it was trained; expected one that `train` made"
        )
    training = build_config(TrainingConfig, made.training.to_json(), f"{run_dir} (training)")
    steps, wall_s = folder.training_so_far()
    flops = None
    if steps is not None:
        cost = describe(twin.config, twin.spec, training.clip_frames).training_flops_per_clip
        flops = float(cost) * training.clips_per_step * steps
    same = identity(made)
    return ScoredRun(
        model=name,
        where=str(run_dir),
        seed=training.seed,
        data=data,
        config=ModelSettings(
            model=same.model,
            training={
                key: value for key, value in same.training.items() if key not in ("seed", "train_share")
            },
            balance=made.data.balance,
            minutes=None if (plan := read_plan(folder.plan)) is None else plan.minutes,
        ),
        train_share=training.train_share,
        result=evaluation_of(run_dir, twin, store, with_sums=True, split=split),
        parameters=sum(p.numel() for p in twin.parameters()),
        training_flops=flops,
        wall_s=None if wall_s is None else wall_s + twin.provenance.initialise_s,
    )
