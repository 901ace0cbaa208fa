"""How fast a run goes here and now, found by training a copy of it that is thrown away."""

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import Progress

from visioncore.data import RecordingStore
from visioncore.model import Twin
from visioncore.run_folder import RunFolder
from visioncore.training.distillation import Teacher
from visioncore.training.experiment import Experiment
from visioncore.training.lit_twin import LitTwin
from visioncore.training.plan import Pace, RunPlan
from visioncore.training.rehearsal import Rehearsal
from visioncore.training.saving import Saving
from visioncore.training.start import Start
from visioncore.training.trainer import build_trainer, fit, watching


def rehearsed(
    twin: Twin,
    experiment: Experiment,
    store: RecordingStore,
    plan: RunPlan,
    seconds: float,
    teacher: Teacher | None = None,
    callbacks: Sequence[Callback] = (),
) -> Pace:
    """How fast the run goes: a copy of it is trained for a while, in a folder that is thrown away."""
    # No logger: one that has a server would show it.
    config = experiment.training.model_copy(update={"loggers": ()})
    endless = plan.model_copy(update={"epochs": 1, "steps_per_epoch": 10**9})
    module = LitTwin(copy.deepcopy(twin), config, endless, store, experiment.data.balance, teacher)
    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("finding the pace", total=1.0)
    rehearsal = Rehearsal(seconds, plan.batches_per_step, watch=lambda done: bar.update(task, completed=done))
    with bar, tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary))
        saving = Saving(experiment, store, folder, initialise_s=0.0, start=Start())
        trainer = build_trainer(
            config, endless, folder, [*watching(config, folder), saving, rehearsal, *callbacks]
        )
        fit(trainer, module)
        return rehearsal.pace_of(trainer, module)
