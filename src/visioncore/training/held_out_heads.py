"""Heads for the units that were held out from a run's training, on its twin's trunk: `evaluate --held-out-units`."""

from pathlib import Path

from visioncore.checkpoint import load_twin
from visioncore.errors import ConfigError
from visioncore.run_folder import RunFolder
from visioncore.training.experiment import held_out_experiment
from visioncore.training.plan import read_plan
from visioncore.training.run import train


def fit_held_out_units(run: Path, max_minutes: float | None = None) -> Path:
    """Fit heads on the train bins of a run's held-out units, by the recipe `transfer.yaml`; the trunk stays as it is.

    They stand in a run folder in the run's, and are not fitted twice for the same twin.

    Args:
        max_minutes: how long; by steps, as the recipe says, when left out.

    Returns:
        That run folder.

    Raises:
        ConfigError: `run` is no run folder, no unit was held out, or the heads that are there are of another twin.
        CheckpointError: it holds no twin.
    """
    folder = RunFolder(run)
    folder.require()
    out, twin = folder.held_out_units, load_twin(run)
    if (plan := read_plan(RunFolder(out).plan)) is not None and plan.made_from != twin.digest:
        raise ConfigError(
            f"{out} was fitted on another twin than {folder.twin.name} is now, as when its training has gone on; "
            "delete that folder, and it is fitted again"
        )
    train(held_out_experiment(run), out, max_minutes)
    return out
