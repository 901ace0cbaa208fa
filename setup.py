"""What pyproject.toml cannot say: a wheel carries the YAMLs of `experiments/`, as `visioncore/recipes/`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

EXPERIMENTS = Path(__file__).parent / "experiments"


class BuildWithRecipes(build_py):
    """Copies the YAMLs beside the package's modules; an editable install reads them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for file in sorted(EXPERIMENTS.rglob("*.yaml")):
                target = Path(self.build_lib) / "visioncore" / "recipes" / file.relative_to(EXPERIMENTS)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


setup(cmdclass={"build_py": BuildWithRecipes})
