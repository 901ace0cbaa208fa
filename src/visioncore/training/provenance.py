"""Where a twin comes from: code, libraries, data, settings. Kept in its header."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import visioncore
from visioncore.data import RecordingStore
from visioncore.training.experiment import Experiment
from visioncore.training.plan import Plan


def provenance(
    experiment: Experiment,
    store: RecordingStore,
    plan: Plan,
    metrics: dict[str, float],
    initialise_s: float,
) -> dict[str, Any]:
    """JSON values that say how a twin was made."""
    return {
        "visioncore": visioncore.__version__,
        "commit": _commit(),
        "libraries": {name: version(name) for name in ("torch", "lightning", "numpy", "safetensors")},
        "python": platform.python_version(),
        "experiment": experiment.resolved(),
        "seed": experiment.training.seed,
        "data_fingerprint": store.fingerprint,
        "burn_in_s": experiment.data.burn_in_s,
        "max_steps": plan.max_steps,
        "initialise_s": initialise_s,
        "metrics": metrics,
    }


def _commit() -> str | None:
    """The commit of the checkout this code runs from; None for an installed package."""
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
