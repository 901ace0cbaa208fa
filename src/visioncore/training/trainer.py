"""Lightning's trainer, as every run and every rehearsal uses it."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import lightning
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from visioncore.errors import ConfigError, TrainingError
from visioncore.training.experiment import TrainingConfig
from visioncore.training.monitors import FlatFit, Throughput
from visioncore.training.plan import Plan
from visioncore.training.resumption import TensorsOnly

OUT_OF_MEMORY_REMEDIES = (
    "Remedies, in this order: a smaller training.batch_size with training.accumulate_grad_batches to make up for it, "
    "model.convnet.params.grad_checkpointing=true, a smaller model, larger patches (fewer tokens), a smaller "
    "hidden_dim of the convgru modulator."
)


def build_trainer(
    config: TrainingConfig, plan: Plan, run_dir: Path, callbacks: list[Callback]
) -> lightning.Trainer:
    """A trainer that follows `plan` and logs into `run_dir`.

    Raises:
        ConfigError: the devices that the config asks for are not there.
    """
    plugins: list = [TensorsOnly()]
    if SLURMEnvironment.detect():
        # Lightning would write and read checkpoints of its own, in the middle of epochs; the same command resumes ours.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return lightning.Trainer(
        accelerator=_device(config),
        devices=config.devices,
        num_nodes=config.num_nodes,
        # Sessions differ between ranks, so on each some readouts see no clip.
        strategy="ddp_find_unused_parameters_true" if config.processes > 1 else "auto",
        plugins=plugins,
        precision=config.precision,
        max_epochs=plan.epochs,
        limit_train_batches=plan.batches_per_epoch,
        accumulate_grad_batches=plan.batches_per_step,
        gradient_clip_val=config.gradient_clip,
        callbacks=callbacks,
        logger=TensorBoardLogger(run_dir / "logs", name="", version="tensorboard"),
        log_every_n_steps=10,
        num_sanity_val_steps=-1,  # all of it, before the first step: the start is scored too
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, RichProgressBar) for callback in callbacks),
        default_root_dir=run_dir,
    )


def watching(config: TrainingConfig) -> list[Callback]:
    """The callbacks that watch a run."""
    return [Throughput(config.batch_size), FlatFit()]


def _device(config: TrainingConfig) -> Literal["cuda", "cpu"]:
    """The one place that decides: an NVIDIA GPU where there is one, unless the config says otherwise."""
    found = torch.cuda.device_count()
    if config.accelerator == "gpu" and not found:
        raise ConfigError(
            "training.accelerator is 'gpu' and this machine has none that torch sees; use 'auto' or 'cpu'"
        )
    device: Literal["cuda", "cpu"] = "cuda" if found and config.accelerator != "cpu" else "cpu"
    if device == "cuda" and config.devices > found:
        raise ConfigError(f"training.devices is {config.devices}, and this machine has {found} GPU(s)")
    return device


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's advice on what is decided here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for advice in (
            ".*does not have many workers.*",
            ".*GPU available but not used.*",
            ".*lr_scheduler.step.*optimizer.step.*",
            ".*Checkpoint directory .* exists and is not empty.*",
            ".*number of training batches .* smaller than the logging interval.*",
            ".*isinstance.treespec, LeafSpec.* is deprecated.*",
            ".*Found .* module.*in eval mode at the start of training.*",
            # Every rank scores all of validation itself.
            ".*sync_dist=True.*",
            ".*find_unused_parameters=True.*",
        ):
            warnings.filterwarnings("ignore", advice)
        yield


@contextlib.contextmanager
def memory_advice() -> Iterator[None]:
    """Running out of memory is an error that names what helps.

    Raises:
        TrainingError: in its place.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        exhausted = isinstance(
            error, (MemoryError, torch.OutOfMemoryError)
        ) or "can't allocate memory" in str(error)
        if not exhausted:
            raise
        raise TrainingError(
            f"out of memory ({str(error).splitlines()[0]}). {OUT_OF_MEMORY_REMEDIES}"
        ) from None
