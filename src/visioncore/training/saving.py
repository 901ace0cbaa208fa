"""What a run leaves in its folder while it goes on."""

import logging
import platform
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint

from visioncore import files
from visioncore.checkpoint import save_twin
from visioncore.data import RecordingStore
from visioncore.provenance import Epoch, Machine
from visioncore.run_folder import RunFolder
from visioncore.training.experiment import Experiment
from visioncore.training.lit_twin import LitTwin
from visioncore.training.provenance import provenance
from visioncore.training.start import Start

logger = logging.getLogger(__name__)


class Saving(Checkpoint):
    """After every epoch: the best twin, the history, and last of all the point to resume from; each atomically."""

    def __init__(
        self,
        experiment: Experiment,
        store: RecordingStore,
        folder: RunFolder,
        *,
        initialise_s: float,
        start: Start,
    ) -> None:
        self._experiment, self._store, self._folder = experiment, store, folder
        self._start = start
        self._initialise_s = initialise_s
        self._best = (float("-inf"), float("-inf"))
        self._machines: list[Machine] = []

    @property
    def state_key(self) -> str:
        """The name of its state in a checkpoint, which those of version 1 have too."""
        return "RunFolder"

    def state_dict(self) -> dict[str, Any]:
        # Plain values, because a checkpoint is read without running what is pickled in it.
        machines = [machine.to_json() for machine in self._machines]
        return {"best": self._best, "initialise_s": self._initialise_s, "machines": machines}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._initialise_s = state_dict["best"], state_dict["initialise_s"]
        # Runs of before did not record it.
        self._machines = [Machine.from_json(machine) for machine in state_dict.get("machines", [])]

    def on_sanity_check_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        here = _machine(trainer, pl_module.global_step)
        before = self._machines[-1] if self._machines else None
        if before is None or not before.same_as(here):
            self._machines = [*self._machines, here]
            if before is not None:
                logger.warning(
                    "the run goes on with %s and had %s: its numbers are no longer those of one machine, to the bit",
                    here.to_json(),
                    before.to_json(),
                )

    def on_sanity_check_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Where training starts is the first candidate: with few data the filters set from them may be the best."""
        assert isinstance(pl_module, LitTwin)
        score = pl_module.validation_score()
        resumed = bool(pl_module.history)
        if score == score and not resumed:
            self._best = (score, float("-inf"))
            if trainer.is_global_zero:
                self._save(pl_module, Epoch(step=0, validation_score=score))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, LitTwin)
        newest = pl_module.history[-1]
        # Where the score is undefined (no spike in the validation data) the loss decides.
        score = newest.validation_score
        rank = (score if score == score else float("-inf"), -newest.validation_loss)
        if score != score and len(pl_module.history) == 1:
            logger.warning(
                "the validation score is undefined (no spikes?): the best twin is chosen by its loss"
            )
        is_best = rank > self._best
        if is_best:
            self._best = rank
        if trainer.is_global_zero:
            if is_best:
                self._save(pl_module, newest.without_nan())
            self._folder.write_history(pl_module.history)
        self.save_last(trainer)

    def save_last(self, trainer: lightning.Trainer) -> None:
        """The point to resume from: this step, of all processes."""
        # One name for all processes and all starts, as it is large: a killed start's is written over.
        partial = self._folder.last.with_name(f".{self._folder.last.name}.partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            files.replace_durably(partial, self._folder.last)

    def _save(self, module: LitTwin, metrics: Epoch) -> None:
        record = provenance(
            self._experiment, self._store, module.plan, metrics, self._initialise_s, self._machines
        )
        save_twin(self._start.finished(module.evaluated), self._folder.twin, self._start.provenance(record))


def _machine(trainer: lightning.Trainer, from_step: int) -> Machine:
    on_gpu = trainer.strategy.root_device.type == "cuda"
    return Machine(
        from_step=from_step,
        accelerator=trainer.strategy.root_device.type,
        device=torch.cuda.get_device_name(trainer.strategy.root_device) if on_gpu else _processor(),
        devices=trainer.num_devices,
        num_nodes=trainer.num_nodes,
        precision=trainer.precision,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
