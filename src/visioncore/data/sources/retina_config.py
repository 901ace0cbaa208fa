"""What the YAML says of retina recordings."""

from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, PositiveFloat, PositiveInt

from visioncore.config import ComponentConfig
from visioncore.data.sources.array_file import ArrayFile
from visioncore.data.sources.clocked import ClockedSessionConfig
from visioncore.spec import ResponseKind

BaccusResponses = Literal["binned", "spikes", "firing_rate_5ms", "firing_rate_10ms", "firing_rate_20ms"]


class RetinaSessionConfig(ClockedSessionConfig):
    """One session: its file."""

    path: str = Field(min_length=1)
    stimuli: str | None = None
    """Folder of the shared stimuli of an open-retina file; `stimuli` beside it where left out."""
    unit_ids: str | None = None
    """Which of an open-retina file's `session_info` names the units; `roi_ids`, `unit_ids` or `cell_ids` where it has
    one, else units are numbered."""
    train_blocks: PositiveInt | None = None
    """Of how many equally long films the training of a Baccus file was joined."""
    responses: BaccusResponses | None = None
    """Which responses of a Baccus file; where left out, `binned` counts, or else spikes counted by frames."""


class RetinaSettings(ComponentConfig):
    """Retina recordings as their laboratories share them."""

    type: Literal["retina"] = "retina"
    sampling_rate_hz: PositiveFloat
    response_kind: ResponseKind
    test_names: tuple[str, ...] = ()
    """Stimuli of open-retina files that are the test; all others train."""
    sessions: tuple[RetinaSessionConfig, ...] = Field(min_length=1)


class Place(NamedTuple):
    """A session's file, and the folder of the data YAML."""

    path: Path
    base_dir: Path
    arrays: ArrayFile
