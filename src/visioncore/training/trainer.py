"""Lightning's trainer, as every run and every rehearsal uses it."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.strategies import DDPStrategy

from visioncore.errors import ConfigError, Stopped
from visioncore.run_folder import RunFolder
from visioncore.training.experiment import TrainingConfig
from visioncore.training.lit_twin import LitTwin
from visioncore.training.lost_process import StartedProcesses
from visioncore.training.machine import MachineConfig
from visioncore.training.monitors import FlatFit, Throughput
from visioncore.training.plan import RunPlan
from visioncore.training.resumption import TensorsOnly


def build_trainer(
    config: TrainingConfig, plan: RunPlan, folder: RunFolder, callbacks: list[Callback], from_step: int = 0
) -> lightning.Trainer:
    """A trainer that follows `plan` and logs into `folder`.

    Args:
        from_step: the step that the run goes on from.

    Raises:
        ConfigError: the devices that the config asks for are not there.
    """
    plugins: list = [TensorsOnly()]
    if SLURMEnvironment.detect():
        # Lightning would write and read checkpoints of its own; `interruption.py` requeues.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return lightning.Trainer(
        accelerator=_device(config.machine),
        devices=config.machine.devices,
        num_nodes=config.machine.num_nodes,
        strategy="auto" if config.machine.processes == 1 else _together(config.machine),
        plugins=plugins,
        precision=config.machine.precision,
        max_epochs=plan.epochs,
        limit_train_batches=plan.batches_per_epoch,
        accumulate_grad_batches=plan.batches_per_step,
        gradient_clip_val=config.gradient_clip,
        callbacks=callbacks,
        logger=[own.build(folder, from_step) for own in config.loggers] or False,
        log_every_n_steps=10,
        num_sanity_val_steps=-1,  # all of it, before the first step: the start is scored too
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, RichProgressBar) for callback in callbacks),
        default_root_dir=folder.path,
    )


def fit(trainer: lightning.Trainer, module: LitTwin, resumed: Path | None = None) -> None:
    """Train to the end of the module's plan, from the point in `resumed` if there is one.

    Raises:
        KeyboardInterrupt: the user has interrupted it, which Lightning alone would call an end.
    """
    arguments: dict[str, Any] = {} if resumed is None else {"ckpt_path": str(resumed)}
    trainer.fit(module, **arguments)
    if trainer.interrupted:
        raise KeyboardInterrupt


def watching(config: TrainingConfig, folder: RunFolder) -> list[Callback]:
    """The callbacks that watch a run."""
    return [Throughput(config.batch_size), FlatFit(), StartedProcesses(folder, fine=(0, Stopped.EXIT_CODE))]


def _together(machine: MachineConfig) -> DDPStrategy:
    return DDPStrategy(
        # Sessions differ between ranks, so on each some readouts see no clip.
        find_unused_parameters=True,
        timeout=timedelta(minutes=machine.timeout_minutes),
    )


def _device(machine: MachineConfig) -> Literal["cuda", "cpu"]:
    """The one place that decides: an NVIDIA GPU where there is one, unless the config says otherwise."""
    found = torch.cuda.device_count()
    if machine.accelerator == "gpu" and not found:
        raise ConfigError(
            "training.machine.accelerator is 'gpu' and this machine has none that torch sees; use 'auto' or 'cpu'"
        )
    device: Literal["cuda", "cpu"] = "cuda" if found and machine.accelerator != "cpu" else "cpu"
    if device == "cuda" and machine.devices > found:
        raise ConfigError(
            f"training.machine.devices is {machine.devices}, and this machine has {found} GPU(s)"
        )
    return device
