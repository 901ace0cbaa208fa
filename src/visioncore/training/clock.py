"""`--max-minutes` while a run goes on: the plan is put right once, from what the first epochs really took.

A rehearsal times a few steps and validations, and the machine may be slower or faster a minute later. So as soon as a
tenth of the minutes has gone by, the number of steps that is left is planned anew, from these epochs as they were. The
new plan is on the disk before any step depends on it, and the learning rate follows the plan and the step alone: a run
that is killed and resumed is still the run that its plan says.
"""

import logging
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from visioncore.training.lit_twin import LitTwin
from visioncore.training.plan import RunPlan, corrected, write_plan

logger = logging.getLogger(__name__)

CORRECTED_AFTER = 0.1
"""Share of the minutes that the epochs which the correction rests on take at least."""
TOLERANCE = 0.1
"""Of the minutes: a run that misses them by more says so."""


class Clock(Callback):
    """Corrects the plan once, ends the run at its last step, and says in the end what it took."""

    def __init__(self, plan_path: Path) -> None:
        """`plan_path`: where the plan is recorded."""
        self._plan_path = plan_path
        self._ends_s = 0.0
        self._last_step_at = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._last_step_at = time.perf_counter()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any
    ) -> None:
        assert isinstance(pl_module, LitTwin)
        self._last_step_at = time.perf_counter()
        if pl_module.global_step >= pl_module.plan.max_steps:
            # Lightning then validates and ends the epoch, however short it was.
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, LitTwin)
        plan = pl_module.plan
        if plan.minutes is None or plan.corrected_at is not None:
            return
        self._ends_s += time.perf_counter() - self._last_step_at
        epochs = trainer.current_epoch + 1
        # The first rank's clock decides for all, or they would part here.
        taken_s, epoch_end_s = trainer.strategy.broadcast(
            (pl_module.wall_s(), self._ends_s / (epochs - pl_module.first_epoch))
        )
        if taken_s < CORRECTED_AFTER * plan.minutes * 60 or pl_module.global_step >= plan.max_steps:
            return
        new = corrected(
            plan, step=pl_module.global_step, taken_s=taken_s, epochs=epochs, epoch_end_s=epoch_end_s
        )
        if trainer.is_global_zero:
            write_plan(self._plan_path, new)
        logger.info(
            "%d epochs took %.1f s: %d steps fill %g minutes, not %d",
            epochs,
            taken_s,
            new.max_steps,
            plan.minutes,
            plan.max_steps,
        )
        follow(trainer, pl_module, new)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, LitTwin)
        minutes = pl_module.plan.minutes
        if minutes is None or pl_module.global_step < pl_module.plan.max_steps:
            return
        took = pl_module.history[-1].wall_s / 60
        if abs(took - minutes) > TOLERANCE * minutes:
            corrected_at = pl_module.plan.corrected_at
            logger.warning(
                "training took %.1f minutes, and %g were planned: the machine was %s than %s",
                took,
                minutes,
                "slower" if took > minutes else "faster",
                "in the rehearsal" if corrected_at is None else "in the first epochs",
            )
        else:
            logger.info("training took %.1f of %g minutes", took, minutes)


def follow(trainer: lightning.Trainer, module: LitTwin, plan: RunPlan) -> None:
    """Train to the end of this plan."""
    module.plan = plan
    trainer.fit_loop.max_epochs = plan.epochs
