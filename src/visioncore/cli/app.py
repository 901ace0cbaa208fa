"""The command line itself, and what its commands share."""

import contextlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from visioncore.data import DataConfig, RecordingStore

app = typer.Typer(
    help="Digital twins of visual neurons: train, score honestly, look inside.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def finite(value: float | None) -> float | None:
    """A check of options: `nan` and `inf` are floats, but neither is a length of time."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def store_of(run: Path, data: Path | None) -> "RecordingStore":
    """The data that a run was trained on, or those that the user names."""
    from visioncore.data import prepare as prepare_store

    return prepare_store(*data_of(run, data))


def data_of(run: Path, data: Path | None) -> tuple["DataConfig", Path]:
    """Their config, and the folder that its paths count from."""
    from visioncore.data import load_data_config
    from visioncore.run_folder import RunFolder
    from visioncore.training.experiment import recorded_data

    if data is not None:
        return load_data_config(data), data.parent
    return recorded_data(RunFolder.of(run).path)


@contextlib.contextmanager
def one_voice() -> Iterator[bool]:
    """Whether this process is the first of those that train together; inside, the others say errors alone."""
    from visioncore.training.launch import is_first_process

    ours = logging.getLogger("visioncore")
    before, is_first = ours.level, is_first_process()
    ours.setLevel(before if is_first else logging.ERROR)
    try:
        yield is_first
    finally:
        ours.setLevel(before)


def print_rich(what: "RenderableType") -> None:
    from rich.console import Console

    Console(highlight=False).print(what)
