"""What a comparison found, and its way to files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visioncore.comparison.scored_run import Json
from visioncore.files import write_csv, write_text


@dataclass(frozen=True)
class Comparison:
    """Everything that `visioncore compare` tells; None stands where a number is not defined."""

    settings: Json
    """The conditions that all models share, and the reference."""
    models: dict[str, Json]
    """Seeds, behaviour, parameters and cost of each, its CC_norm, and the share of the training data it had.

    Models that differ in that share alone have one `family`.
    """
    overall: Json
    """A section: `models` has each model's scores, `differences` those less the reference's."""
    sessions: dict[str, Json]
    by_kind: dict[str, Json]
    by_class: dict[str, Json]
    by_class_and_kind: dict[str, dict[str, Json]]
    matrix: dict[str, dict[str, Json]] = field(repr=False)
    """`matrix[a][b]` is a less b, over everything."""
    units: list[Json] = field(repr=False)

    def to_json(self) -> Json:
        """The comparison as plain JSON values."""
        return dict(vars(self))

    def write_json(self, path: Path) -> None:
        write_text(path, json.dumps(self.to_json(), indent=1, allow_nan=False))

    def write_table(self, path: Path) -> None:
        """A CSV with a row for each model on each cut of the data; an empty field means all, or not defined."""
        write_csv(path, self._rows())

    def write_units(self, path: Path) -> None:
        """A CSV with a row for each unit and a column for each model."""
        write_csv(path, [dict(_flat(unit)) for unit in self.units])

    def _rows(self) -> list[Json]:
        cuts: list[tuple[Json, Json]] = [({}, self.overall)]
        cuts += [({"session": name}, section) for name, section in self.sessions.items()]
        cuts += [({"kind": name}, section) for name, section in self.by_kind.items()]
        cuts += [({"cell_class": name}, section) for name, section in self.by_class.items()]
        for cell_class, kinds in self.by_class_and_kind.items():
            cuts += [({"cell_class": cell_class, "kind": kind}, section) for kind, section in kinds.items()]
        everything: Json = dict.fromkeys(("session", "kind", "cell_class"), None)
        return [
            {"model": name, **everything, **cut, "n_units": section["n_units"]}
            | dict(_flat(scores))
            | {f"difference.{key}": value for key, value in _flat(section["differences"][name])}
            for cut, section in cuts
            for name, scores in section["models"].items()
        ]


def _flat(values: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested keys joined by dots; an interval in two columns, lists of seeds left to the JSON."""
    for key, value in values.items():
        if key.endswith("ci95"):
            low, high = value or (None, None)
            yield from ((f"{prefix}{key}_low", low), (f"{prefix}{key}_high", high))
        elif isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            yield f"{prefix}{key}", value
