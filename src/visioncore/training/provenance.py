"""Where a twin comes from: code, libraries, data, settings. Kept in its header."""

import platform
from importlib.metadata import version
from typing import Any

import visioncore
from visioncore.data import RecordingStore
from visioncore.evaluation import code_commit
from visioncore.training.experiment import Experiment
from visioncore.training.plan import Plan


def provenance(
    experiment: Experiment,
    store: RecordingStore,
    plan: Plan,
    metrics: dict[str, float],
    initialise_s: float,
    machines: list[dict[str, Any]],
) -> dict[str, Any]:
    """JSON values that say how a twin was made.

    Args:
        machines: what it was trained on, from which step on; more than one where another machine went on with the run.
    """
    return {
        "visioncore": visioncore.__version__,
        "commit": code_commit(),
        "libraries": {name: version(name) for name in ("torch", "lightning", "numpy", "safetensors")},
        "python": platform.python_version(),
        "experiment": experiment.resolved(),
        "seed": experiment.training.seed,
        "data_fingerprint": store.fingerprint,
        "session_fingerprints": {id_: session.fingerprint for id_, session in store.sessions.items()},
        "burn_in_s": experiment.data.burn_in_s,
        "max_steps": plan.max_steps,
        "initialise_s": initialise_s,
        "machines": machines,
        "metrics": metrics,
    }
