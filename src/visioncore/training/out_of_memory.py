"""Running out of memory is an error that names what helps."""

import contextlib
from collections.abc import Iterator

import torch

from visioncore.errors import TrainingError

REMEDIES = (
    "Remedies, in this order: a smaller training.batch_size with training.accumulate_grad_batches to make up for it, "
    "model.convnet.params.grad_checkpointing=true, a smaller model, larger patches (fewer tokens), a smaller "
    "hidden_dim of the convgru modulator."
)


@contextlib.contextmanager
def memory_advice() -> Iterator[None]:
    """Inside, memory that ran out is an error of ours.

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
        raise TrainingError(f"out of memory ({str(error).splitlines()[0]}). {REMEDIES}") from None
