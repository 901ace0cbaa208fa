"""SIGTERM and SIGUSR1: a run that is told to stop saves where it stands, asks Slurm for another turn, and ends.

Not Lightning's way: it saves beside `last.ckpt`, from inside the signal handler, in the middle of whatever goes on.
"""

import logging
import os
import signal
import subprocess
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import lightning
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback

from visioncore.errors import Stopped
from visioncore.run_folder import RunFolder
from visioncore.training.launch import is_first_process
from visioncore.training.lit_twin import LitTwin
from visioncore.training.saving import Saving

logger = logging.getLogger(__name__)

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Interruption:
    """A context: inside, either signal ends the run at once, or after its step where it is in the middle of training.

    Raises:
        Stopped: it was told to.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.received: str | None = None
        """The name of the signal, where one came."""
        self.can_wait = False
        """Whether training will look at `received` by itself."""
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Take both signals, whoever has taken them since."""
        for number in self._before:
            signal.signal(number, self._receive)

    def stop(self, step: int | None = None) -> None:
        """End this run; the first process asks for its next turn.

        Args:
            step: where it is saved; None where it is not in training.

        Raises:
            Stopped: always.
        """
        if is_first_process():
            if step is not None:
                where = f"saved at step {step}; the same command goes on from there"
            else:
                where = "not in training; the same command goes on from what was saved before, or begins anew"
            logger.warning("%s: stopped by %s, %s", self._folder.path, self.received, where)
            _requeue()
        raise Stopped

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A process that was forked from this one, to read clips, say.
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self.received = signal.Signals(number).name
        if not self.can_wait:
            self.stop()


class Listens(Callback):
    """Takes the signals back from Lightning, which takes SIGTERM for itself just before the first of these hooks."""

    def __init__(self, interruption: Interruption) -> None:
        self._interruption = interruption

    def on_sanity_check_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._interruption.listen()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._interruption.listen()


class StopsWhenTold(Listens):
    """Ends training after the step in which a signal came to any process; after the epoch, where that was its last."""

    def __init__(self, interruption: Interruption, saving: Saving) -> None:
        super().__init__(interruption)
        self._saving = saving

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._interruption.can_wait = True

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # What is left takes no longer than saving would.
        self._interruption.received = None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *arguments: Any
    ) -> None:
        assert isinstance(pl_module, LitTwin)
        *_, batch_idx = arguments
        n_batches = batch_idx + 1
        # At its end an epoch is validated and saved anyway.
        ends = n_batches == pl_module.plan.batches_per_epoch or trainer.should_stop
        if n_batches % pl_module.plan.batches_per_step == 0 and not ends and self._told(trainer):
            self._saving.save_last(trainer)
            self._interruption.stop(pl_module.global_step)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._told(trainer):
            self._interruption.stop(pl_module.global_step)

    def _told(self, trainer: lightning.Trainer) -> bool:
        told = trainer.strategy.reduce_boolean_decision(self._interruption.received is not None, all=False)
        if told:
            self._interruption.received = self._interruption.received or "a signal to another process"
        return told


def _requeue() -> None:
    """Ask Slurm to start this job again, unless the user has cancelled it, which is told by SIGTERM too."""
    if not SLURMEnvironment.detect():
        return
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = (
        os.environ.get("SLURM_JOB_ID", "")
        if array is None
        else f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    )
    try:
        shown = subprocess.run(
            ["scontrol", "show", "job", "--oneliner", job], capture_output=True, text=True, check=False
        )
        if "JobState=CANCELLED" in shown.stdout:
            logger.warning("job %s was cancelled: it is not requeued", job)
            return
        asked = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    except OSError as error:
        logger.warning("job %s could not be requeued (%s); submit it again", job, error)
        return
    if asked.returncode:
        logger.warning("job %s could not be requeued (%s); submit it again", job, asked.stderr.strip())
    else:
        logger.warning("job %s is requeued", job)
