"""What an analysis leaves behind: a JSON file of facts, arrays, a table with a row per unit, and figures.

RUN/analysis/NAME.json       what was done, to which twin, under which behaviour; and what figures there are
RUN/analysis/NAME.npz        arrays
RUN/analysis/NAME.csv        a row per unit
RUN/analysis/NAME_FIGURE.png
"""

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from visioncore.config import AsWritten, Record
from visioncore.drawing import as_png
from visioncore.errors import ConfigError, DataError
from visioncore.files import write_bytes, write_csv, write_record
from visioncore.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class KeptFigure(Record):
    """A figure of an analysis, as a file beside its JSON."""

    file: str
    caption: str


class KeptAnalysis(Record):
    """The JSON file of an analysis."""

    title: str
    twin_digest: str
    behaviour: str
    """Which behaviour was assumed, in words."""
    sentences: tuple[str, ...] = ()
    """What was found, as people read it."""
    facts: AsWritten = Field(default_factory=dict)
    """The same, and the settings, as programs read it."""
    figures: tuple[KeptFigure, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """A figure and what it shows."""

    name: str
    figure: "Figure"
    caption: str


class Analysis(ABC):
    """Base of what `look` and `tune` find. Must provide `sentences`, `facts`, `arrays`, `rows` and `figures`."""

    name: ClassVar[str]
    """Of its files."""
    title: ClassVar[str]
    """Of its section in the report."""
    twin_digest: str
    behaviour: str

    @abstractmethod
    def sentences(self) -> list[str]:
        """What was found, and what of it is not to be believed."""

    @abstractmethod
    def facts(self) -> AsWritten:
        """What was found and with which settings, as plain JSON values."""

    @abstractmethod
    def arrays(self) -> Mapping[str, np.ndarray]:
        """By name; with a `units` array that names the units where some array has a unit axis."""

    @abstractmethod
    def rows(self) -> list[AsWritten]:
        """A row per unit, the same columns in all: `session`, `unit_id`, and what was found of it."""

    @abstractmethod
    def figures(self) -> Iterator[Drawn]:
        """Drawn when asked for."""

    def write(self, folder: Path) -> Path:
        """Write all into a folder; the JSON, which says that the analysis is whole, comes last."""
        figures = []
        for drawn in self.figures():
            file = f"{self.name}_{drawn.name}.png"
            write_bytes(folder / file, as_png(drawn.figure))
            figures.append(KeptFigure(file=file, caption=drawn.caption))
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **self.arrays())
        write_bytes(folder / f"{self.name}.npz", packed.getvalue())
        if rows := self.rows():
            write_csv(folder / f"{self.name}.csv", rows)
        kept = KeptAnalysis(
            title=self.title,
            twin_digest=self.twin_digest,
            behaviour=self.behaviour,
            sentences=tuple(self.sentences()),
            facts=self.facts(),
            figures=tuple(figures),
        )
        path = folder / f"{self.name}.json"
        write_record(path, kept.to_json())
        return path


def kept_analyses(run: Path, twin_digest: str) -> Iterator[tuple[Path, KeptAnalysis]]:
    """Those of a run folder that are of this very twin.

    Raises:
        DataError: a file is damaged.
    """
    for path in sorted(RunFolder(run).analysis.glob("*.json")):
        try:
            kept = KeptAnalysis.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (ConfigError, ValueError) as error:
            raise DataError(f"{path}: is no analysis ({error}); delete it, or look again") from None
        if kept.twin_digest == twin_digest:
            yield path, kept
