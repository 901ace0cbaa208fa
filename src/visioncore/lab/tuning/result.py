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
from visioncore.lab.tuning.bars import BarTuning
from visioncore.lab.tuning.contrasts import ContrastTuning
from visioncore.lab.tuning.flashes import FlashResponses
from visioncore.lab.tuning.gabors import GaborTuning
from visioncore.lab.tuning.gratings import GratingTuning
from visioncore.lab.tuning.index import Index
from visioncore.lab.tuning.measured import Measured, Rest
from visioncore.lab.tuning.plaids import PlaidTuning
from visioncore.lab.tuning.recorded import RecordedTuning
from visioncore.lab.tuning.settings import Battery
from visioncore.lab.tuning.sizes import SizeTuning
from visioncore.lab.tuning.spots import SpotMap
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
    spots: SpotMap
    gabors: GaborTuning
    sizes: SizeTuning
    contrasts: ContrastTuning
    plaids: PlaidTuning
    bars: BarTuning
    flashes: FlashResponses
    recorded: RecordedTuning | None
    """Where the recording showed gratings."""
    truth: Truth | None
    """Where the units are simulated cells."""

    @property
    def parts(self) -> tuple[Measured, ...]:
        """All that was measured."""
        return (
            self.gratings,
            self.sizes,
            self.contrasts,
            self.plaids,
            self.bars,
            self.flashes,
            self.spots,
            self.gabors,
            *(() if self.recorded is None else (self.recorded,)),
        )

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
            "shown": self._shown(),
            "indices": {name: index.to_json() for name, index in self.indices.items()},
            **({} if self.recorded is None else {"recorded_trials": self.recorded.splits}),
            **({} if self.truth is None else {"truth": self.truth.to_json(self)}),
        }

    def _shown(self) -> AsWritten:
        """What the display made of the settings."""
        scale, unit = self.display.unit_per_px, self.display.unit
        return {
            "grating_contrast": self.gratings.contrast,
            "largest_contrast": self.display.max_contrast,
            f"spatial_frequencies_cycles_per_{unit}": self.gratings.spatial_frequencies.tolist(),
            "temporal_frequencies_hz": self.gratings.temporal_frequencies_hz.tolist(),
            f"diameters_{unit}": (self.sizes.diameters_px * scale).tolist(),
            f"holes_{unit}": (self.sizes.holes_px * scale).tolist(),
            "contrasts": self.contrasts.contrasts.tolist(),
            f"spot_spacing_{unit}": self.spots.spacing_px * scale,
            f"bar_width_{unit}": self.bars.width_px * scale,
            f"bar_speed_{unit}_s": self.bars.speed_px_s * scale,
            "centres_told_by": self.sizes.centres.counts,
            "plaid_kinds": {
                kind or "undefined": self.plaids.kinds.count(kind) for kind in set(self.plaids.kinds)
            },
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
                    "plaid_kind": self.plaids.kinds[k],
                    "centre_told_by": self.sizes.centres.told_by[k] or None,
                    "undefined": "; ".join(why),
                }
            )
        return rows

    def figures(self) -> Iterator[Drawn]:
        """Some units, the population, and the truth where it is known."""
        from visioncore.lab.tuning import figures

        told = f"dots are responses ({self.rest.unit}: F0 above rest, or F1), lines the fits; dots are joined where no "
        told += "fit describes them"
        yield figures.examples(self, "curves", (self.gratings, self.sizes, self.contrasts), told)
        others = (self.plaids, self.bars, self.flashes, self.spots, self.gabors)
        yield figures.examples(
            self,
            "others",
            others,
            f"responses to plaids and bars, rates during flashes ({self.rest.unit}), and maps: mean responses to spots "
            "(the cross is the fit's middle), and how far Gabors' places and orientations tell responses",
        )
        yield figures.population(self)
        if self.recorded is not None:
            yield figures.beside_recorded(self, self.recorded)
        if self.truth is not None:
            yield figures.against_truth(self, self.truth)
