"""What makes two runs the same experiment: every setting that changes a number, and none that says where it runs."""

import copy
from collections.abc import Iterator
from typing import Any

from visioncore.config import differing_keys, dump_config
from visioncore.training.experiment import TrainingConfig

MACHINE = ("num_workers", "accelerator")
"""Keys of `training` that say what a run is computed with."""
CUT = ("batch_size", "accumulate_grad_batches", "devices", "num_nodes")
"""Keys of `training` that say how the clips of a step are dealt out; only their product is part of the experiment."""
PRODUCT = "training.clips_per_step"


def identity(resolved: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved experiment (`model`, `data`, `training`; any may be missing) that makes it this one.

    Records of before a key existed are read as its default, which changed nothing.
    """
    kept = copy.deepcopy(resolved)
    if "training" in kept:
        training = kept["training"] = {**dump_config(TrainingConfig()), **kept["training"]}
        for key in MACHINE:
            training.pop(key, None)
        product = 1
        for key in CUT:
            product *= training.pop(key, 1)
        training["clips_per_step"] = product
    if "data" in kept:
        for key in ("cache", "store"):
            kept["data"].pop(key, None)
    if "model" in kept:
        # It trades time for memory, and changes no gradient.
        kept["model"]["convnet"].get("params", {}).pop("grad_checkpointing", None)
    return kept


def differences(recorded: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """The keys at which two resolved experiments are not the same, each as a message names it."""
    one, other = identity(recorded), identity(now)
    for key in sorted(differing_keys(one, other)):
        if key == PRODUCT:
            yield (
                f"{key}: {one['training']['clips_per_step']} there and {other['training']['clips_per_step']} now, the "
                f"product of {', '.join(CUT)}"
            )
        else:
            yield key
