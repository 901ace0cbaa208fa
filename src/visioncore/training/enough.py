"""When more training would not help: the length of a run is bounded by its minutes, and found from the data.

What a core can learn from a recording it learns in a number of passes over it; after that it learns the noise. So the
patience is counted in passes, and a run on two minutes of recording ends after seconds where one on an hour takes all
the time that it is given. Of the average of the weights (`training.ema_decay`) the score says what the run has learnt
so far: it is not low only because the learning rate is high, and its best epoch is worth what a run planned to end
there would be. Source for both: Prechelt 1998, "Early stopping - but when?"; Hägele et al. 2024 for averages in place
of a rate that falls.
"""

import logging
import math

import lightning
from lightning.pytorch.callbacks import Callback, EarlyStopping

from visioncore.data import RecordingStore
from visioncore.training.experiment import TrainingConfig
from visioncore.training.plan import RunPlan
from visioncore.training.planning import length_in_words, steps_per_pass, train_bins

logger = logging.getLogger(__name__)

FEWEST_VALIDATIONS = 4
"""Without a better score, of however many passes: a single score may be low by chance."""


class Enough(EarlyStopping):
    """Stops a run whose validation score no longer rises, and says after how many passes."""

    def __init__(self, patience: int, steps_per_pass: float, recorded: str) -> None:
        super().__init__("validation/score", mode="max", patience=patience, check_finite=False)
        self._steps_per_pass, self._recorded = steps_per_pass, recorded

    @property
    def state_key(self) -> str:
        """Lightning's own name for it, which checkpoints of before have too."""
        return super().state_key.replace(type(self).__qualname__, EarlyStopping.__qualname__, 1)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        if self.wait_count >= self.patience:
            logger.info(
                "stopped at %.3g passes: more would not help on %s",
                trainer.global_step / self._steps_per_pass,
                self._recorded,
            )


def stopping(config: TrainingConfig, plan: RunPlan, store: RecordingStore) -> list[Callback]:
    """What stops a run early: nothing, or one callback."""
    per_pass = steps_per_pass(config, store)
    validations = patience(config, plan.steps_per_epoch, per_pass)
    recorded = length_in_words(train_bins(store), store.spec.sampling.rate_hz)
    return [] if validations is None else [Enough(validations, per_pass, recorded)]


def patience(config: TrainingConfig, steps_per_epoch: int, steps_per_pass: float) -> int | None:
    """After how many validations without a better score a run stops; None where it never does."""
    if config.early_stopping_patience is not None:
        return config.early_stopping_patience
    if config.patience_passes is None:
        return None
    return max(math.ceil(config.patience_passes * steps_per_pass / steps_per_epoch), FEWEST_VALIDATIONS)
