"""Whether a run folder is this experiment's to train in: its settings, its version, its data."""

import os

from visioncore.data import RecordingStore
from visioncore.errors import ConfigError
from visioncore.provenance import ClaimedExperiment
from visioncore.run_folder import RunFolder
from visioncore.training.distillation import Teacher
from visioncore.training.experiment import Experiment
from visioncore.training.identity import differences
from visioncore.training.plan import PLAN_VERSION, RunPlan, read_plan


def require_own(folder: RunFolder, experiment: Experiment) -> None:
    """Refuse a folder that another experiment has claimed, or that is none of ours; nothing is written.

    Raises:
        ConfigError: it is such a folder.
    """
    folder.require_free()
    recorded = folder.claimed_by()
    if recorded is not None:
        _require_same(folder, recorded, experiment)


def claim(folder: RunFolder, experiment: Experiment) -> None:
    """Record the experiment, or make sure that the folder was made by the same one.

    Raises:
        ConfigError: it was made by another, or is no run folder.
    """
    data_dir = os.path.relpath(experiment.data_dir, folder.path)
    own = ClaimedExperiment.from_json({"data_dir": data_dir, **experiment.resolved().to_json()})
    _require_same(folder, folder.claim(own), experiment)


def _require_same(folder: RunFolder, recorded: ClaimedExperiment, experiment: Experiment) -> None:
    if different := list(differences(recorded, experiment.resolved())):
        raise ConfigError(
            f"{folder.path} holds another experiment (different: {', '.join(different[:5])}); choose another --out, "
            "or run the same command as before to resume"
        )


def own_plan(folder: RunFolder) -> RunPlan | None:
    """The plan of a run that this version has begun; None where none has.

    Raises:
        ConfigError: an older version has begun it.
    """
    plan = read_plan(folder.plan)
    if plan is not None and plan.version != PLAN_VERSION:
        raise ConfigError(
            f"{folder.path} was begun with an older version of VisionCore, which named recordings and tensors, "
            "or drew clips, otherwise, and cannot go on with this one; choose another --out (its twin can still be "
            "used and evaluated), or go on with that version"
        )
    return plan


def require_same_data(plan: RunPlan, store: RecordingStore, folder: RunFolder) -> None:
    """Refuse to go on with other data than the run began on.

    Raises:
        ConfigError: they are others.
    """
    if plan.data_fingerprint != store.fingerprint:
        raise ConfigError(
            f"{folder.path} was begun on other data (fingerprint {plan.data_fingerprint[:16]}, now "
            f"{store.fingerprint[:16]}): the recording, its split or its preparation has changed, and what was "
            "test data may have been trained on. Choose another --out, or bring the old data back"
        )


def require_same_origin(plan: RunPlan, made_from: str | None, folder: RunFolder) -> None:
    """Refuse to go on from another twin than a transfer began from.

    Raises:
        ConfigError: it is another.
    """
    if plan.made_from != made_from:
        raise ConfigError(
            f"{folder.path} was begun from a twin with the digest {str(plan.made_from)[:16]}, and "
            f"training.transfer.twin now has {str(made_from)[:16]}; choose another --out, or bring the old one back"
        )


def require_same_teacher(plan: RunPlan, teacher: Teacher | None, folder: RunFolder) -> None:
    """Refuse to go on learning from another teacher than the run began with.

    Raises:
        ConfigError: it is another.
    """
    digest = None if teacher is None else teacher.digest
    if plan.taught_by != digest:
        raise ConfigError(
            f"{folder.path} was begun with a teacher of the digest {str(plan.taught_by)[:16]}, and "
            f"training.distill.twin now has {str(digest)[:16]}; choose another --out, or bring the old one back"
        )
