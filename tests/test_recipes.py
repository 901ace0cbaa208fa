"""The shipped YAMLs can be had outside of a clone: a wheel carries them, and they read as they do here."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pages import ROOT
from visioncore.errors import ConfigError
from visioncore.recipes import KINDS, copy_recipes, recipes
from visioncore.training.experiment import read_experiment


def test_what_is_listed_is_what_is_shipped() -> None:
    found = recipes()
    assert list(found) == list(KINDS)
    shipped = {path for kind in KINDS for path in (ROOT / "experiments" / kind).glob("*.yaml")}
    assert {path for files in found.values() for path in files} == shipped


def test_copies_read_as_the_originals_and_nothing_is_overwritten(tmp_path: Path) -> None:
    copied = copy_recipes(tmp_path)
    assert len(copied) == sum(map(len, recipes().values()))
    files = ("model_configs/vivit_best", "data_configs/simulated", "training_configs/best")
    read = []
    for root in (ROOT / "experiments", tmp_path):
        model, data, training = (root / f"{name}.yaml" for name in files)
        read.append(read_experiment(model, data, training, []).resolved())
    assert read[0] == read[1]
    (tmp_path / files[0]).with_suffix(".yaml").write_text("mine")
    with pytest.raises(ConfigError, match=r"exists; copy to another folder"):
        copy_recipes(tmp_path)
    assert (tmp_path / files[0]).with_suffix(".yaml").read_text() == "mine"


@pytest.mark.slow
def test_a_wheel_carries_every_yaml_and_the_templates(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for folder in ("src", "experiments"):
        shutil.copytree(
            ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
        )
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, clone / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(tmp_path), str(clone)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for kind, files in recipes().items():
        for file in files:
            assert f"visioncore/recipes/{kind}/{file.name}" in names
    assert any(name.startswith("visioncore/report/templates/") for name in names)
    assert "visioncore/py.typed" in names
