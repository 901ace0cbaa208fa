"""Run folders joined to an ensemble, in a folder that is evaluated, compared and reported like a run."""

import os
from collections.abc import Sequence
from pathlib import Path

from visioncore.checkpoint import load_twin, save_ensemble
from visioncore.config import AsWritten, dump_config, dump_yaml
from visioncore.data import DataConfig, prepare
from visioncore.errors import ConfigError
from visioncore.files import write_text
from visioncore.model import Ensemble
from visioncore.provenance import ClaimedExperiment, SeenBins
from visioncore.run_folder import RunFolder
from visioncore.training.experiment import recorded_data


def join(runs: Sequence[Path], out: Path) -> tuple[Path, bool]:
    """Write the ensemble of these runs' twins into the new folder `out`.

    Where all were trained on one recording, divided in one way, the folder says so, and its test split is theirs. Else
    (folds, say) one's test bins are another's training bins: the file records what was seen of each session, and the
    ensemble is evaluated on data that the user names, with test bins that no member saw.

    Returns:
        The file, and whether the folder has data of its own.

    Raises:
        ConfigError: `out` is there, the twins do not fit together, or a run does not say what it was trained on.
        CheckpointError: a run holds no twin.
    """
    folder = RunFolder(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: is there already; an ensemble is written into a new folder")
    ensemble = Ensemble([load_twin(run) for run in runs])
    fingerprints = {member.provenance.data_fingerprint for member in ensemble.members}
    one_recording = len(fingerprints) == 1 and None not in fingerprints
    made: AsWritten = {"members": [os.path.relpath(run, out) for run in runs]}
    if one_recording:
        data, base = recorded_data(RunFolder.of(runs[0]).path)
        made |= {"data_dir": os.path.relpath(base, out), "data": dump_config(data)}
    else:
        seen = _seen([recorded_data(RunFolder.of(run).path) for run in runs])
        ensemble.provenance = ensemble.provenance.model_copy(update={"seen_bins": seen})
    write_text(folder.experiment, dump_yaml(ClaimedExperiment.from_json(made).to_json()))
    save_ensemble(ensemble, folder.twin)
    return folder.twin, one_recording


def _seen(recordings: Sequence[tuple[DataConfig, Path]]) -> dict[str, SeenBins]:
    """Of every session the bins that train or select in some of these recordings."""
    bins: dict[str, set[tuple[int, int]]] = {}
    fingerprints: dict[str, str] = {}
    for config, base in recordings:
        for name, session in prepare(config, base).sessions.items():
            own = session.signals_fingerprint
            if fingerprints.setdefault(name, own) != own:
                raise ConfigError(
                    f"session '{name}' was prepared otherwise for one of the runs than for the others; an ensemble is "
                    "of twins of the same sessions"
                )
            blocks = (block for block in session.blocks if block.split != "test")
            bins.setdefault(name, set()).update((block.start, block.stop) for block in blocks)
    return {
        name: SeenBins(signals_fingerprint=fingerprints[name], bins=tuple(sorted(some)))
        for name, some in bins.items()
    }
