"""How fast a run goes here and now, found by training a copy of it that is thrown away."""

import copy
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from visioncore.data import RecordingStore, prepare
from visioncore.model import Twin
from visioncore.run_folder import RunFolder
from visioncore.training.experiment import Experiment
from visioncore.training.launch import require_processes_as_set
from visioncore.training.lit_twin import LitTwin
from visioncore.training.out_of_memory import memory_advice
from visioncore.training.plan import Pace, Plan
from visioncore.training.planning import first_plan
from visioncore.training.quiet import quiet_lightning
from visioncore.training.rehearsal import Rehearsal
from visioncore.training.saving import Saving
from visioncore.training.trainer import build_trainer, fit, watching
from visioncore.training.window import with_window


def find_pace(experiment: Experiment, seconds: float) -> Pace:
    """How fast training goes here and now: some steps of it are timed for `seconds`, and what they learnt is dropped.

    Raises:
        ConfigError: configs and data disagree.
        TrainingError: the loss is not finite, or memory ran out.
    """
    require_processes_as_set(experiment.training.machine)
    store = prepare(experiment.data, experiment.data_dir).with_train_share(experiment.training.train_share)
    model = with_window(experiment, store, None)
    torch.manual_seed(experiment.training.seed)
    twin = model.build(store.spec)
    with quiet_lightning(), memory_advice():
        return rehearsed(twin, experiment, store, first_plan(experiment, store, model), seconds)


def rehearsed(twin: Twin, experiment: Experiment, store: RecordingStore, plan: Plan, seconds: float) -> Pace:
    """How fast the run goes: a copy of it is trained for a while, in a folder that is thrown away."""
    config = experiment.training
    endless = plan.model_copy(update={"epochs": 1, "steps_per_epoch": 10**9})
    module = LitTwin(copy.deepcopy(twin), config, endless, store, experiment.data.balance)
    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("finding the pace", total=1.0)
    rehearsal = Rehearsal(seconds, plan.batches_per_step, watch=lambda done: bar.update(task, completed=done))
    with bar, tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary))
        saving = Saving(experiment, store, folder, initialise_s=0.0)
        trainer = build_trainer(config, endless, folder, [*watching(config), saving, rehearsal])
        fit(trainer, module)
        return rehearsal.pace_of(trainer, module)
