"""The shipped YAMLs of models, data, training and suites: those of `experiments/`, or a wheel's copy of them."""

import shutil
from pathlib import Path

from visioncore.errors import ConfigError

_HERE = Path(__file__).parent
KINDS = ("model_configs", "data_configs", "training_configs", "benchmarks", "search")


def recipes_folder() -> Path:
    """Where they stand.

    Raises:
        ConfigError: the package was installed without them.
    """
    for folder in (_HERE / "recipes", _HERE.parents[1] / "experiments"):
        if (folder / KINDS[0]).is_dir():
            return folder
    raise ConfigError(
        f"{_HERE}: this installation has no recipes; install VisionCore's wheel, or from a clone"
    )


def recipes() -> dict[str, list[Path]]:
    """The files of each kind, in the order of their names."""
    folder = recipes_folder()
    return {kind: sorted((folder / kind).glob("*.yaml")) for kind in KINDS}


def copy_recipes(target: Path) -> list[Path]:
    """Copy all of them to `target`, in the folders that they refer to each other by.

    Raises:
        ConfigError: one of them is there already; nothing is copied then.
    """
    files = {file: target / kind / file.name for kind, found in recipes().items() for file in found}
    if there := [str(copy) for copy in files.values() if copy.exists()]:
        raise ConfigError(f"{there[0]} exists; copy to another folder, or remove it")
    for file, copy in files.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    return list(files.values())
