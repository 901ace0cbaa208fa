"""What a comparison found, and its way to files."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from visioncore.comparison.records import (
    ComparedSection,
    ComparedUnit,
    ComparisonSettings,
    Difference,
    ModelFacts,
)
from visioncore.config import AsWritten, Config, read_record
from visioncore.evaluation.records import unit_table
from visioncore.files import write_csv, write_text


class Comparison(Config):
    """Everything that `visioncore compare` tells; None stands where a number is not defined."""

    settings: ComparisonSettings
    models: dict[str, ModelFacts]
    overall: ComparedSection
    sessions: dict[str, ComparedSection]
    by_kind: dict[str, ComparedSection]
    by_class: dict[str, ComparedSection]
    by_class_and_kind: dict[str, dict[str, ComparedSection]]
    matrix: dict[str, dict[str, Difference]] = Field(repr=False)
    """`matrix[a][b]` is a less b, over everything."""
    units: tuple[ComparedUnit, ...] = Field(repr=False)

    def to_json(self) -> AsWritten:
        """The comparison as plain JSON values."""
        told: AsWritten = self.model_dump(mode="json", exclude_unset=True)
        return told

    @classmethod
    def from_json(cls, raw: Any) -> "Comparison":
        """The comparison that `to_json` wrote.

        Raises:
            ConfigError: it is not one.
        """
        return read_record(cls, raw)

    def ranked(self) -> list[str]:
        """The models by their score, best first; those without one last."""
        metric = self.settings.selection_metric
        means = {name: own.score(metric).mean for name, own in self.overall.models.items()}
        known = {name: -math.inf if mean is None else mean for name, mean in means.items()}
        return sorted(known, key=lambda name: known[name], reverse=True)

    def write_json(self, path: Path) -> None:
        write_text(path, json.dumps(self.to_json(), indent=1, allow_nan=False))

    def write_table(self, path: Path) -> None:
        """A CSV with a row for each model on each cut of the data; an empty field means all, or not defined."""
        write_csv(path, self._rows())

    def write_units(self, path: Path) -> None:
        """A CSV with a row for each unit and a column for each model."""
        write_csv(path, [dict(_flat(row)) for row in unit_table(self.units)])

    def _rows(self) -> list[AsWritten]:
        cuts: list[tuple[dict[str, str], ComparedSection]] = [({}, self.overall)]
        cuts += [({"session": name}, section) for name, section in self.sessions.items()]
        cuts += [({"kind": name}, section) for name, section in self.by_kind.items()]
        cuts += [({"cell_class": name}, section) for name, section in self.by_class.items()]
        for cell_class, kinds in self.by_class_and_kind.items():
            cuts += [({"cell_class": cell_class, "kind": kind}, section) for kind, section in kinds.items()]
        everything: AsWritten = dict.fromkeys(("session", "kind", "cell_class"), None)
        return [
            {"model": name, **everything, **cut, "n_units": section.n_units}
            | dict(_flat(scores.to_json()))
            | {f"difference.{key}": value for key, value in _flat(section.differences[name].to_json())}
            for cut, section in cuts
            for name, scores in section.models.items()
        ]


def _flat(values: AsWritten, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested keys joined by dots; an interval in two columns, lists of seeds left to the JSON."""
    for key, value in values.items():
        if key.endswith("ci95"):
            low, high = value or (None, None)
            yield from ((f"{prefix}{key}_low", low), (f"{prefix}{key}_high", high))
        elif isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            yield f"{prefix}{key}", value
