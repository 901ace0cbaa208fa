"""Lightning without its advice on what is decided here."""

import contextlib
import logging
import warnings
from collections.abc import Iterator

ADVICE = (
    ".*does not have many workers.*",
    ".*GPU available but not used.*",
    ".*lr_scheduler.step.*optimizer.step.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*number of training batches .* smaller than the logging interval.*",
    ".*isinstance.treespec, LeafSpec.* is deprecated.*",
    ".*Found .* module.*in eval mode at the start of training.*",
    # The sampler knows where to go on.
    ".*dataloader is not resumable.*",
    # Ranks put their validations together themselves.
    ".*sync_dist=True.*",
    ".*find_unused_parameters=True.*",
)


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Inside, Lightning says nothing below a warning, and none of `ADVICE`."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for advice in ADVICE:
            warnings.filterwarnings("ignore", advice)
        yield
