"""What is optional is missing on many machines: the message names the extra that has it."""

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nwb_files import opened
from pages import ROOT
from visioncore import load_twin
from visioncore.data.sources.video_file import VideoFile
from visioncore.errors import VisionCoreError
from visioncore.parquet import require_parquet
from visioncore.remote import RemotePath
from visioncore.run_folder import RunFolder
from visioncore.search.optuna_extra import require_optuna

LIBRARIES = {
    "hub": ("huggingface_hub",),
    "remote": ("fsspec.core",),
    "nwb": ("remfile",),
    "video": ("av",),
    "parquet": ("pyarrow", "pyarrow.parquet"),
    "search": ("optuna",),
    "wandb": ("wandb",),
}


def _remote(folder: Path) -> None:
    opened("https://127.0.0.1:9/session.nwb", folder, stimulus="movie", axes="tyx")


def _film(folder: Path) -> None:
    (folder / "film.mp4").write_bytes(bytes(100))
    VideoFile(folder / "film.mp4", "film").read(np.array([0]))


def _parquet(folder: Path) -> None:
    require_parquet("this")


def _search(folder: Path) -> None:
    require_optuna()


def _wandb(folder: Path) -> None:
    from visioncore.training.loggers import WandbConfig

    WandbConfig().build(RunFolder(folder), from_step=0)


def _remote_store(folder: Path) -> None:
    RemotePath("s3://bucket/stores").exists()


def _hub(folder: Path) -> None:
    load_twin("hf://owner/name")


USES: dict[str, Callable[[Path], None]] = {
    "hub": _hub,
    "remote": _remote_store,
    "nwb": _remote,
    "video": _film,
    "parquet": _parquet,
    "search": _search,
    "wandb": _wandb,
}


@pytest.mark.parametrize("extra", USES)
def test_without_an_extra_the_message_says_how_to_install_it(
    extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in LIBRARIES[extra]:
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(VisionCoreError, match=rf"pip install 'visioncore\[{extra}\]'"):
        USES[extra](tmp_path)


def test_every_extra_is_in_dev_and_tried_here() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    others = set(extras) - {"dev"}
    assert others == set(USES)
    (own,) = (line for line in extras["dev"] if line.startswith("visioncore["))
    assert set(own.removeprefix("visioncore[").removesuffix("]").split(",")) == others
