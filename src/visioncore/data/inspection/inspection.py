"""What an inspection finds. Each format has a function from a path to an `Inspection`; None: it is not its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped


@dataclass(frozen=True)
class Listed:
    """One thing that is there: a dataset, a table, a file."""

    name: str
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    note: str = ""
    """What it is taken for, or what is odd about it."""


@dataclass(frozen=True)
class Picture:
    """A frame to look at, as a grey or colour picture (height, width) or (height, width, 3)."""

    title: str
    pixels: Shaped[np.ndarray, "height width ..."]


@dataclass(frozen=True)
class Inspection:
    """What was found, and the data YAML that is proposed for it."""

    format: str
    """`type` of the data YAML."""
    where: Path
    listed: tuple[Listed, ...]
    proposal: Mapping[str, Any]
    """The data YAML as plain values. A key that only the user knows is there with the value None."""
    comments: Mapping[str, str] = field(default_factory=dict)
    """By dotted key (`params.sessions.0.axes`): why it is proposed, or what to fill in."""
    notes: tuple[str, ...] = ()
    """What the user should know, or decide."""
    pictures: tuple[Picture, ...] = ()
    """Frames; where axes are ambiguous, one each way round."""
    inside: bool = False
    """Whether paths in the proposal count from `where` itself; else from the folder that it lies in."""

    @property
    def base(self) -> Path:
        """The folder that paths in the proposal count from."""
        return self.where if self.inside else self.where.parent
