"""`train`: from an experiment to a run folder. Wiring only.

RUN/experiment.yaml     every setting, resolved
RUN/plan.json           how many steps; written once, and put right once where the clock decides (`clock.py`)
RUN/twin.safetensors    the best twin by validation so far
RUN/last.ckpt           where to resume
RUN/logs/               metrics.csv, TensorBoard
"""

import copy
import logging
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.console import Console
from rich.progress import Progress

from visioncore.checkpoint import load_pretrained_core, replace_durably
from visioncore.config import dump_yaml, read_yaml
from visioncore.data import RecordingStore, clip_length, prepare
from visioncore.errors import ConfigError
from visioncore.model import Twin, TwinConfig
from visioncore.model.linear import LowRankLinearConfig
from visioncore.training.clock import Clock
from visioncore.training.coverage import require_predicted_bins
from visioncore.training.enough import Enough, patience
from visioncore.training.experiment import EXPERIMENT_FILE, Experiment, TrainingConfig
from visioncore.training.identity import differences
from visioncore.training.initialise import initialise
from visioncore.training.launch import require_processes_as_set
from visioncore.training.lit_twin import LitTwin
from visioncore.training.optim import shortened_warmup
from visioncore.training.plan import (
    PLAN_FILE,
    PLAN_VERSION,
    Pace,
    Plan,
    plan_for_minutes,
    plan_for_passes,
    plan_for_steps,
    read_plan,
    rehearsal_s,
    write_plan,
)
from visioncore.training.rehearsal import Rehearsal
from visioncore.training.resumption import LAST, read_checkpoint, stopped_early
from visioncore.training.saving import Saving
from visioncore.training.trainer import build_trainer, memory_advice, quiet_lightning, watching
from visioncore.training.window import with_window_from_data

logger = logging.getLogger(__name__)


def train(experiment: Experiment, run_dir: Path, max_minutes: float | None = None) -> Path:
    """Train, or go on training, the twin of `run_dir`; returns the path of the best twin.

    Args:
        max_minutes: how long; else the experiment says how many epochs, passes or steps.

    Raises:
        ConfigError: the run folder holds another experiment, configs and data disagree, or srun, torchrun or MPI
            started another number of processes than the settings say.
        CheckpointError: the point to resume from is damaged, or not one that a run wrote.
        TrainingError: the loss is not finite, or memory ran out; the last good checkpoint stays.
    """
    config = experiment.training
    require_processes_as_set(config)
    last = run_dir / LAST
    plan = _own_plan(run_dir)
    _claim(run_dir, experiment)
    store = prepare(experiment.data, experiment.data_dir).with_train_share(config.train_share)
    resumed = read_checkpoint(last) if last.exists() else None
    model = _with_window(experiment, store, plan)
    torch.manual_seed(config.seed)
    twin = model.build(store.spec)
    require_predicted_bins(twin, store)
    if plan is not None:
        _require_same_data(plan, store, run_dir)
        # The same clips per step may be dealt out otherwise than when the run began.
        plan = plan.model_copy(update={"batches_per_step": config.accumulate_grad_batches})
        if max_minutes is not None:
            logger.info(
                "%s was planned before: %d steps; --max-minutes changes nothing", run_dir, plan.max_steps
            )
    if resumed is not None and stopped_early(resumed):
        logger.info("%s had stopped early; nothing is left to do", run_dir)
        return run_dir / "twin.safetensors"
    started = time.perf_counter()
    if resumed is None:
        if config.pretrained_core is not None:
            load_pretrained_core(twin, Path(config.pretrained_core))
        initialise(twin, store, config.initialise)
    saving = Saving(experiment, store, run_dir, initialise_s=time.perf_counter() - started)

    with quiet_lightning(), memory_advice():
        if plan is None:
            plan = _plan(experiment, store, model)
            if max_minutes is not None:
                pace = _rehearsed(twin, experiment, store, plan, rehearsal_s(max_minutes))
                plan = plan_for_minutes(plan, max_minutes, pace)
            else:
                plan = _of_its_length(plan, config, store)
            write_plan(run_dir / PLAN_FILE, plan)
        if (warmup := shortened_warmup(config.warmup_steps, plan.scheduled_steps)) < config.warmup_steps:
            logger.info("warm-up of %d steps, not %d: a tenth of the run", warmup, config.warmup_steps)
        module = LitTwin(twin, config, plan, store, experiment.data.balance)
        callbacks = [
            RichProgressBar(),
            *watching(config),
            *_enough(config, plan, store),
            Clock(run_dir / PLAN_FILE),
            saving,
        ]
        _fit(build_trainer(config, plan, run_dir, callbacks), module, last if resumed else None)
    return run_dir / "twin.safetensors"


def _claim(run_dir: Path, experiment: Experiment) -> None:
    """Record the experiment, or make sure that the folder was made by the same one."""
    path = run_dir / EXPERIMENT_FILE
    resolved = experiment.resolved()
    # Another process of the same run may have made the folder, and be about to record the experiment.
    ours = f".{EXPERIMENT_FILE}."
    foreign = run_dir.exists() and any(not p.name.startswith(ours) for p in run_dir.iterdir())
    if foreign and not path.exists():
        raise ConfigError(f"{run_dir} exists and is no run folder of ours; choose another --out")
    if not path.exists():
        run_dir.mkdir(parents=True, exist_ok=True)
        partial = run_dir / f"{ours}{socket.gethostname()}.{os.getpid()}.partial"
        data_dir = os.path.relpath(experiment.data_dir, run_dir)
        partial.write_text(dump_yaml({"data_dir": data_dir, **resolved}), encoding="utf-8")
        replace_durably(partial, path)
    recorded = {key: value for key, value in read_yaml(path).items() if key != "data_dir"}
    if different := list(differences(recorded, resolved)):
        raise ConfigError(
            f"{run_dir} holds another experiment (different: {', '.join(different[:5])}); choose another --out, "
            "or run the same command as before to resume"
        )


def _with_window(experiment: Experiment, store: RecordingStore, plan: Plan | None) -> TwinConfig:
    """The model with its linear path's window: as the YAML says, as the run began, or from the data."""
    if plan is not None and plan.window_s is not None:
        return experiment.model.with_window(plan.window_s)
    return with_window_from_data(experiment.model, store, experiment.training.initialise)


def _plan(experiment: Experiment, store: RecordingStore, model: TwinConfig) -> Plan:
    """Of `max_epochs`, which steps, passes or minutes may then change."""
    config = experiment.training
    window_s = model.linear.window_s if isinstance(model.linear, LowRankLinearConfig) else "auto"
    return Plan(
        version=PLAN_VERSION,
        epochs=config.max_epochs,
        steps_per_epoch=config.steps_per_epoch or max(int(_steps_per_pass(config, store)), 1),
        batches_per_step=config.accumulate_grad_batches,
        data_fingerprint=store.fingerprint,
        window_s=window_s if model != experiment.model and window_s != "auto" else None,
    )


def _of_its_length(plan: Plan, config: TrainingConfig, store: RecordingStore) -> Plan:
    """The plan, as long as the config says where no clock decides."""
    if config.max_steps is not None:
        return plan_for_steps(plan, config.max_steps)
    if config.max_passes is not None:
        return plan_for_passes(plan, config.max_passes, _steps_per_pass(config, store))
    return plan


def _steps_per_pass(config: TrainingConfig, store: RecordingStore) -> float:
    return _train_bins(store) / (clip_length(store, config.clip_frames) * config.clips_per_step)


def _train_bins(store: RecordingStore) -> int:
    return sum(b.stop - b.start for s in store.sessions.values() for b in s.blocks_in("train"))


def _enough(config: TrainingConfig, plan: Plan, store: RecordingStore) -> list[Callback]:
    steps_per_pass = _steps_per_pass(config, store)
    validations = patience(config, plan.steps_per_epoch, steps_per_pass)
    minutes = _train_bins(store) / store.spec.rate_hz / 60
    return [] if validations is None else [Enough(validations, steps_per_pass, minutes)]


def _own_plan(run_dir: Path) -> Plan | None:
    """The plan of a run that this version has begun; None where none has."""
    plan = read_plan(run_dir / PLAN_FILE)
    if plan is not None and plan.version != PLAN_VERSION:
        raise ConfigError(
            f"{run_dir} was begun with an older version of VisionCore, which named recordings and tensors otherwise, "
            "and cannot go on with this one; choose another --out (its twin can still be used and evaluated), or go on "
            "with that version"
        )
    return plan


def _require_same_data(plan: Plan, store: RecordingStore, run_dir: Path) -> None:
    if plan.data_fingerprint != store.fingerprint:
        raise ConfigError(
            f"{run_dir} was begun on other data (fingerprint {plan.data_fingerprint[:16]}, now "
            f"{store.fingerprint[:16]}): the recording, its split or its preparation has changed, and what was "
            "test data may have been trained on. Choose another --out, or bring the old data back"
        )


def _rehearsed(twin: Twin, experiment: Experiment, store: RecordingStore, plan: Plan, seconds: float) -> Pace:
    """How fast the run goes: a copy of it is trained for a while, in a folder that is thrown away."""
    config = experiment.training
    endless = plan.model_copy(update={"epochs": 1, "steps_per_epoch": 10**9})
    module = LitTwin(copy.deepcopy(twin), config, endless, store, experiment.data.balance)
    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("finding the pace", total=1.0)
    rehearsal = Rehearsal(seconds, plan.batches_per_step, watch=lambda done: bar.update(task, completed=done))
    with bar, tempfile.TemporaryDirectory() as folder:
        saving = Saving(experiment, store, Path(folder), initialise_s=0.0)
        trainer = build_trainer(config, endless, Path(folder), [*watching(config), saving, rehearsal])
        _fit(trainer, module, None)
        return rehearsal.pace_of(trainer, module)


def _fit(trainer: lightning.Trainer, module: LitTwin, resumed: Path | None) -> None:
    arguments: dict[str, Any] = {} if resumed is None else {"ckpt_path": str(resumed)}
    trainer.fit(module, **arguments)
    if trainer.interrupted:
        raise KeyboardInterrupt
