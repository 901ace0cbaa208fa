"""Callbacks that watch a run: speed, memory, and whether the model learns at all."""

import logging
import resource
import sys
import time
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

logger = logging.getLogger(__name__)

FLAT_AFTER_EPOCHS = 5


class Throughput(Callback):
    """Logs clips per second (over the last epoch's training steps), learning rate and peak memory."""

    def __init__(self, clips_per_batch: int) -> None:
        """`clips_per_batch`: of one rank."""
        self._clips_per_batch = clips_per_batch
        self._started = 0.0
        self._busy_s = 0.0
        self._batches = 0

    def on_train_batch_start(self, *_: Any) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any
    ) -> None:
        self._busy_s += time.perf_counter() - self._started
        self._batches += 1
        (optimizer,) = trainer.optimizers
        pl_module.log("train/learning_rate", optimizer.param_groups[0]["lr"], batch_size=1)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._busy_s > 0:
            speed = self._batches * self._clips_per_batch * trainer.world_size / self._busy_s
            pl_module.log("train/clips_per_s", speed, batch_size=1)
            pl_module.log("train/peak_memory_gb", peak_memory_bytes() / 1e9, batch_size=1)
        self._busy_s, self._batches = 0.0, 0


class FlatFit(Callback):
    """Says what helps when the validation score stays at or under the mean rate's."""

    def __init__(self) -> None:
        self._best = float("-inf")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._best = max(self._best, float(trainer.callback_metrics["validation/score"]))
        if trainer.current_epoch + 1 == FLAT_AFTER_EPOCHS and self._best <= 0.005:
            logger.warning(
                "After %d epochs the validation score is %.3f: the model knows little more than the mean rates. Try "
                "training.optimiser.params.learning_rate between 1e-4 and 5e-4, more training.warmup_steps, weight "
                "decay between 0.01 and 0.1, another patch_size, or 'model.linear={type: low_rank}'; look at the data "
                "first: are video and responses aligned?",
                FLAT_AFTER_EPOCHS,
                self._best,
            )


def peak_memory_bytes() -> int:
    """Peak memory of this process: on the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
