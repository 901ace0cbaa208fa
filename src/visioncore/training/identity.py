"""What makes two runs the same experiment: every setting that changes a number, and none that says where it runs."""

from collections.abc import Iterator

from pydantic import Field

from visioncore.config import AsWritten, Record, build_config, differing_keys, dump_config
from visioncore.provenance import RecordedExperiment
from visioncore.training.experiment import TrainingConfig

APART = ("machine", "loggers")
"""Keys of `training` that say what a run is computed with, and where its numbers are shown."""
CUT = ("batch_size", "accumulate_grad_batches")
"""Keys of `training` that say how the clips of a step are dealt out, with the devices and machines that they are dealt
to; only their product is part of the experiment."""
PRODUCT = "training.clips_per_step"


class Identity(Record):
    """What of an experiment makes it this one: two are the same where no key differs.

    Its parts are as YAML has them, since a record of another version may hold keys that this one does not know.
    """

    model: AsWritten = Field(default_factory=dict)
    data: AsWritten = Field(default_factory=dict)
    training: AsWritten = Field(default_factory=dict)
    """With `clips_per_step` in the place of the keys that it is made of."""


def identity(experiment: RecordedExperiment) -> Identity:
    """The part of a recorded experiment (whose model, data or training may be missing) that makes it this one.

    Records of before a key existed are read as its default, which changed nothing; those of before a key had its place,
    as if it stood there.

    Raises:
        ConfigError: the training is none that this version knows.
    """
    kept = experiment.to_json()
    kept.pop("data_dir", None)
    if "training" in kept:
        config = build_config(TrainingConfig, kept["training"], "training as recorded")
        kept["training"] = {
            **{key: value for key, value in dump_config(config).items() if key not in (*APART, *CUT)},
            "clips_per_step": config.clips_per_step,
        }
    if "data" in kept:
        for key in ("cache", "store"):
            kept["data"].pop(key, None)
    if "model" in kept:
        # It trades time for memory, and changes no gradient.
        kept["model"]["convnet"].get("params", {}).pop("grad_checkpointing", None)
    return Identity.from_json(kept)


def differences(recorded: RecordedExperiment, now: RecordedExperiment) -> Iterator[str]:
    """The keys at which two recorded experiments are not the same, each as a message names it."""
    one, other = identity(recorded), identity(now)
    for key in sorted(differing_keys(one.to_json(), other.to_json())):
        if key == PRODUCT:
            yield (
                f"{key}: {one.training['clips_per_step']} there and {other.training['clips_per_step']} now, the "
                f"product of {', '.join(CUT)} and the machine's devices and num_nodes"
            )
        else:
            yield key
