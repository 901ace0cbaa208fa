"""Where to resume: `last.ckpt`, tensors and plain values only, so that a stranger's run folder runs no code."""

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from visioncore.errors import CheckpointError
from visioncore.run_folder import LAST

Checkpoint = dict[str, Any]
"""What `last.ckpt` holds: open, since Lightning, its loops and callbacks each put keys of their own there."""


class TensorsOnly(TorchCheckpointIO):
    """How Lightning reads every checkpoint, those included that it finds by itself."""

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> Checkpoint:
        """The checkpoint of a run of ours.

        Raises:
            CheckpointError: it is no `last.ckpt`, is damaged, or holds anything but tensors and plain values.
        """
        if Path(path).name != LAST:
            raise CheckpointError(f"{path}: is not what a run resumes from ({LAST}); delete it to go on")
        return read_checkpoint(Path(path))


def read_checkpoint(last: Path) -> Checkpoint:
    """The checkpoint in a file, checked against the checksums that it carries.

    Raises:
        CheckpointError: it is damaged, or holds anything but tensors and plain values.
    """
    try:
        with zipfile.ZipFile(last) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} does not match its checksum")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that no run of ours wrote: they are refused below
            checkpoint: Checkpoint = torch.load(last, map_location="cpu", weights_only=True)
        if not isinstance(checkpoint["history"], list):
            raise TypeError("its history is no list")
    except pickle.UnpicklingError:
        # PyTorch's own text says how to run the code all the same.
        raise CheckpointError(
            f"{last}: cannot be resumed from: it holds more than tensors and plain values, and reading that could run "
            "code of whoever wrote it. No run of VisionCore writes such a file; delete it to start again"
        ) from None
    except (
        *(zipfile.BadZipFile, RuntimeError, KeyError, EOFError, ValueError, TypeError, OSError),
        *(AttributeError, ImportError, IndexError, NotImplementedError),
    ) as error:
        reason = str(error).split("\n")[0]
        raise CheckpointError(
            f"{last}: cannot be resumed from ({reason}); delete it to start again"
        ) from None
    return checkpoint


def stopped_early(checkpoint: Checkpoint) -> bool:
    """Whether early stopping had ended the run; Lightning itself would train one more epoch."""
    states = [state for key, state in checkpoint["callbacks"].items() if key.startswith("EarlyStopping")]
    return any(state["wait_count"] >= state["patience"] for state in states)


def deal_out_anew(checkpoint: Checkpoint, world_size: int, batches_per_step: int) -> list[list[float]]:
    """Let Lightning count the passes of an epoch that goes on as they are dealt out now.

    Returns:
        The losses of these passes so far, of each rank; of a step's passes their mean, where they were others.
    """
    unfinished = checkpoint["unfinished_epoch"]
    losses, batches_before = unfinished["losses"], unfinished["batches_per_step"]
    if (len(losses), batches_before) == (world_size, batches_per_step):
        return losses
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    if not progress["is_last_batch"]:
        current = progress["current"]
        missing = current["ready"] - current["completed"]
        ready = current["ready"] // batches_before * batches_per_step
        current.update(ready=ready, started=ready, processed=ready, completed=ready - missing)
    of_steps = np.array(losses, np.float64).reshape(len(losses), -1, batches_before).mean((0, 2))
    return [np.repeat(of_steps, batches_per_step).tolist()] * world_size
