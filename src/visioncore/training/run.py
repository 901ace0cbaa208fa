"""`train`: from an experiment to a run folder (`run_folder.py`). Wiring only."""

import logging
import time
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar

from visioncore.data import prepare
from visioncore.run_folder import RunFolder
from visioncore.training.claim import (
    claim,
    own_plan,
    require_own,
    require_same_data,
    require_same_origin,
    require_same_teacher,
)
from visioncore.training.clock import Clock
from visioncore.training.coverage import require_predicted_bins
from visioncore.training.distillation import teacher_of
from visioncore.training.enough import stopping
from visioncore.training.experiment import Experiment
from visioncore.training.held_out_units import drawn
from visioncore.training.initialise import initialise
from visioncore.training.interruption import Interruption, Listens, StopsWhenTold
from visioncore.training.kept_estimates import folder_of
from visioncore.training.launch import require_processes_as_set
from visioncore.training.lit_twin import LitTwin
from visioncore.training.lost_process import naming_lost_processes
from visioncore.training.memory import say_before
from visioncore.training.out_of_memory import memory_advice
from visioncore.training.pace import rehearsed
from visioncore.training.plan import plan_for_minutes, rehearsal_s, write_plan
from visioncore.training.planning import first_plan, steps_per_pass
from visioncore.training.quiet import quiet_lightning
from visioncore.training.resumption import read_checkpoint, stopped_early
from visioncore.training.saving import Saving
from visioncore.training.schedule import shortened_warmup
from visioncore.training.start import Start
from visioncore.training.trainer import build_trainer, fit, watching
from visioncore.training.transfer import Transfer
from visioncore.training.window import with_window

logger = logging.getLogger(__name__)


def train(experiment: Experiment, run_dir: Path, max_minutes: float | None = None) -> Path:
    """Train, or go on training, the twin of `run_dir`; returns the path of the best twin.

    Args:
        max_minutes: how long; else the experiment's `training.length` says so.

    Raises:
        ConfigError: the run folder holds another experiment, configs and data disagree, or srun, torchrun or MPI
            started another number of processes than the settings say.
        CheckpointError: the point to resume from is damaged, or not one that a run wrote.
        TrainingError: the loss is not finite, memory ran out, or another process of the run is gone; the last good
            checkpoint stays.
        Stopped: SIGTERM or SIGUSR1 came; the run is saved at the step where it stood.
    """
    folder = RunFolder(run_dir)
    with Interruption(folder) as interruption:
        return _train(experiment, folder, max_minutes, interruption)


def _train(
    experiment: Experiment, folder: RunFolder, max_minutes: float | None, interruption: Interruption
) -> Path:
    config = experiment.training
    require_processes_as_set(config.machine)
    for own in config.loggers:
        own.require()
    plan = own_plan(folder)
    require_own(folder, experiment)
    start = Start(config.pretrained_core) if config.transfer is None else Transfer(config.transfer)
    store = start.fitting(prepare(experiment.data, experiment.data_dir).with_train_share(config.train_share))
    store = store.without_units(drawn(store, config.held_out_units))
    teacher = teacher_of(config.distill, store)
    resumed = read_checkpoint(folder.last) if folder.last.exists() else None
    model = with_window(experiment, store, plan)
    torch.manual_seed(config.seed)
    twin = start.begin(model, store)
    require_predicted_bins(twin, store)
    # After all that can be refused: a folder is not taken by a command that has to be written otherwise.
    claim(folder, experiment)
    if plan is not None:
        require_same_data(plan, store, folder)
        require_same_origin(plan, start.made_from, folder)
        require_same_teacher(plan, teacher, folder)
        # The same clips per step may be dealt out otherwise than when the run began.
        plan = plan.model_copy(update={"batches_per_step": config.accumulate_grad_batches})
        if max_minutes is not None:
            logger.info(
                "%s was planned before: %d steps; --max-minutes changes nothing", folder.path, plan.max_steps
            )
    if resumed is not None and stopped_early(resumed):
        logger.info("%s had stopped early; nothing is left to do", folder.path)
        return folder.twin
    if resumed is None:
        say_before(model, config, store, window_was_found=model != experiment.model)
    started = time.perf_counter()
    if resumed is None:
        initialise(twin, store, config.initialise, keep_in=folder_of(store))
        start.settle(twin)
    saving = Saving(experiment, store, folder, initialise_s=time.perf_counter() - started, start=start)

    with quiet_lightning(), naming_lost_processes(folder, config.machine.processes), memory_advice():
        if plan is None:
            plan = first_plan(experiment, store, model)
            taught_by = None if teacher is None else teacher.digest
            plan = plan.model_copy(update={"made_from": start.made_from, "taught_by": taught_by})
            if (minutes := max_minutes or config.length.minutes) is not None:
                callbacks: list[Callback] = [Listens(interruption)]
                pace = rehearsed(twin, experiment, store, plan, rehearsal_s(minutes), teacher, callbacks)
                plan = plan_for_minutes(plan, minutes, pace)
            else:
                plan = config.length.planned(plan, steps_per_pass(config, store))
            write_plan(folder.plan, plan)
        if (warmup := shortened_warmup(config.warmup_steps, plan.scheduled_steps)) < config.warmup_steps:
            logger.info("warm-up of %d steps, not %d: a tenth of the run", warmup, config.warmup_steps)
        module = LitTwin(twin, config, plan, store, experiment.data.balance, teacher)
        callbacks = [
            RichProgressBar(),
            *watching(config, folder),
            *stopping(config, plan, store),
            Clock(folder.plan),
            StopsWhenTold(interruption, saving),
            saving,
        ]
        from_step = 0 if resumed is None else resumed["global_step"]
        trainer = build_trainer(config, plan, folder, callbacks, from_step)
        fit(trainer, module, folder.last if resumed else None)
    return folder.twin
