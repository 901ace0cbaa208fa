"""Trains for some seconds to see how fast the run will go; what was learnt is thrown away."""

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from visioncore.training.plan import Pace

FEWEST_TIMED_STEPS = 5
STRETCH = 10
"""Steps per stretch that is timed, as some work is done every tenth step only; the median is over stretches."""


class Rehearsal(Callback):
    """Ends the fit that it is part of once steps were timed for long enough; then `pace` is known, to every rank."""

    def __init__(
        self, seconds: float, batches_per_step: int, watch: Callable[[float], None] = lambda done: None
    ) -> None:
        """`watch` is told after every step how much of the rehearsal is done, from 0 to 1."""
        self._watch = watch
        self._seconds = seconds
        self._batches_per_step = batches_per_step
        self._step_ends: list[float] = []
        self.pace: Pace | None = None

    def on_train_batch_end(self, trainer: lightning.Trainer, *arguments: Any) -> None:
        *_, batch_idx = arguments
        if (batch_idx + 1) % self._batches_per_step:
            return
        # The first step pays for lazy initialisation: what is timed begins where it ends.
        self._step_ends.append(time.perf_counter())
        timed_s = self._step_ends[-1] - self._step_ends[0]
        self._watch(min(timed_s / self._seconds, 1.0))
        enough = timed_s >= self._seconds and len(self._step_ends) > FEWEST_TIMED_STEPS
        trainer.should_stop = trainer.strategy.broadcast(enough)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        ends = self._step_ends
        stretch = max(min(STRETCH, (len(ends) - 1) // FEWEST_TIMED_STEPS), 1)
        step_s = median((end - start) / stretch for start, end in pairwise(ends[::stretch]))
        self.pace = trainer.strategy.broadcast(
            Pace(step_s=step_s, epoch_end_s=time.perf_counter() - ends[-1])
        )
