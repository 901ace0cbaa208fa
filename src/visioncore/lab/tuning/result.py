"""What `tune` finds: every part of the battery, and what is told of all units together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from visioncore.config import AsWritten, dump_config
from visioncore.lab.analysis import Analysis, Drawn
from visioncore.lab.display import Display
from visioncore.lab.rig import UnitName
from visioncore.lab.tuning import words
from visioncore.lab.tuning.gratings import GratingTuning
from visioncore.lab.tuning.index import Index
from visioncore.lab.tuning.measured import Measured, Rest
from visioncore.lab.tuning.settings import Battery
from visioncore.lab.tuning.truth import Truth


@dataclass(frozen=True)
class Tuning(Analysis):
    """The tuning of a rig's units, in their order."""

    name: ClassVar[str] = "tuning"
    title: ClassVar[str] = "Tuning"

    twin_digest: str
    behaviour: str
    units: tuple[UnitName, ...]
    display: Display
    battery: Battery
    rest: Rest
    gratings: GratingTuning
    truth: Truth | None
    """Where the units are simulated cells."""

    @property
    def parts(self) -> tuple[Measured, ...]:
        """All that was measured."""
        return (self.gratings,)

    @cached_property
    def indices(self) -> Mapping[str, Index]:
        """Of all parts, by the name of the column."""
        return {name: index for part in self.parts for name, index in part.indices.items()}

    def table(self) -> dict[str, np.ndarray]:
        """A column per index, with NaN where a unit has none; `session` and `unit_id` first."""
        named: dict[str, Any] = {
            "session": np.array([unit.session for unit in self.units]),
            "unit_id": np.array([unit.unit_id for unit in self.units]),
        }
        return named | {name: index.values for name, index in self.indices.items()}

    # --- As an analysis ---------------------------------------------------------------------------------------------

    def sentences(self) -> list[str]:
        """What was shown, and what was found."""
        return words.sentences(self)

    def facts(self) -> AsWritten:
        """Settings, display, and each index over the population."""
        return {
            "battery": dump_config(self.battery),
            "display": self.display.to_json(),
            "rate_unit": self.rest.unit,
            "units": len(self.units),
            "indices": {name: index.to_json() for name, index in self.indices.items()},
            **({} if self.truth is None else {"truth": self.truth.to_json(self)}),
        }

    def to_json(self) -> AsWritten:
        """The facts, with the twin, the assumed behaviour and the sentences: one file for programs."""
        named = {"twin_digest": self.twin_digest, "behaviour": self.behaviour, "sentences": self.sentences()}
        return named | self.facts()

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Of every part, by the part's name and its own."""
        named = {f"{part.name}_{name}": array for part in self.parts for name, array in part.arrays().items()}
        return {
            "units": np.array([str(unit) for unit in self.units]),
            "resting_rate": self.rest.rates,
            **named,
        }

    def rows(self) -> list[AsWritten]:
        """A row per unit: every index, and why some are undefined."""
        rows = []
        for k, unit in enumerate(self.units):
            why = [f"{name}: {index.why[k]}" for name, index in self.indices.items() if index.why[k]]
            rows.append(
                {
                    "session": unit.session,
                    "unit_id": unit.unit_id,
                    **{name: index.written(k) for name, index in self.indices.items()},
                    "undefined": "; ".join(why),
                }
            )
        return rows

    def figures(self) -> Iterator[Drawn]:
        """Some units, the population, and the truth where it is known."""
        from visioncore.lab.tuning import figures

        yield figures.examples(self)
        yield figures.population(self)
        if self.truth is not None:
            yield figures.against_truth(self, self.truth)
