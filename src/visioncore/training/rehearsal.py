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
VALIDATIONS = 3
"""How many validations are timed, where they fit into the seconds; of one alone, what else ran just then decides."""


class Rehearsal(Callback):
    """Ends the fit that it is part of once steps were timed for long enough; `pace_of` then times more validations."""

    def __init__(
        self, seconds: float, batches_per_step: int, watch: Callable[[float], None] = lambda done: None
    ) -> None:
        """`watch` is told after every step how much of the rehearsal is done, from 0 to 1."""
        self._watch = watch
        self._seconds = seconds
        self._batches_per_step = batches_per_step
        self._step_ends: list[float] = []
        self._validations: list[float] = []
        self._validation_began = 0.0
        self._epoch_end_s = 0.0

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

    def on_validation_start(self, *_: Any) -> None:
        self._validation_began = time.perf_counter()

    def on_validation_end(self, *_: Any) -> None:
        # The one before the first step is slow for being the first.
        if self._step_ends:
            self._validations.append(time.perf_counter() - self._validation_began)

    def on_train_end(self, *_: Any) -> None:
        self._epoch_end_s = time.perf_counter() - self._step_ends[-1]

    def _wants_another_validation(self) -> bool:
        return len(self._validations) < VALIDATIONS and sum(self._validations) < self._seconds

    def pace_of(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> Pace:
        """The pace of the fit that has ended, the same for every rank."""
        checkpoint_s = max(self._epoch_end_s - self._validations[0], 0.0)
        while trainer.strategy.broadcast(self._wants_another_validation()):
            trainer.validate(module, verbose=False)
        ends = self._step_ends
        stretch = max(min(STRETCH, (len(ends) - 1) // FEWEST_TIMED_STEPS), 1)
        step_s = median((end - start) / stretch for start, end in pairwise(ends[::stretch]))
        pace = Pace(step_s=step_s, epoch_end_s=median(self._validations) + checkpoint_s)
        return trainer.strategy.broadcast(pace)
