"""Says where a twin comes from."""

import platform
from collections.abc import Sequence
from importlib.metadata import version

import visioncore
from visioncore.data import RecordingStore
from visioncore.evaluation import code_commit
from visioncore.provenance import Epoch, Machine, Provenance
from visioncore.training.experiment import Experiment
from visioncore.training.plan import RunPlan


def provenance(
    experiment: Experiment,
    store: RecordingStore,
    plan: RunPlan,
    metrics: Epoch,
    initialise_s: float,
    machines: Sequence[Machine],
) -> Provenance:
    """How a twin was made.

    Args:
        machines: what it was trained on, from which step on; more than one where another machine went on with the run.
    """
    return Provenance(
        visioncore=visioncore.__version__,
        commit=code_commit(),
        libraries={name: version(name) for name in ("torch", "lightning", "numpy", "safetensors")},
        python=platform.python_version(),
        experiment=experiment.resolved(),
        seed=experiment.training.seed,
        data_fingerprint=store.fingerprint,
        session_fingerprints={id_: session.fingerprint for id_, session in store.sessions.items()},
        held_out_units=store.left_out_units or None,
        burn_in_s=experiment.data.burn_in_s,
        max_steps=plan.max_steps,
        taught_by=plan.taught_by,
        initialise_s=initialise_s,
        machines=tuple(machines),
        metrics=metrics,
    )
