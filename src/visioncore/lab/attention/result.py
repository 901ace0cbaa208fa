"""Attention maps as they are kept and drawn."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Shaped

from visioncore.config import AsWritten
from visioncore.lab.analysis import Analysis, Drawn
from visioncore.lab.attention.checks import Check
from visioncore.lab.display import Display
from visioncore.lab.rig import UnitName
from visioncore.shapes import FeatureShape


@dataclass(frozen=True)
class Example:
    """One unit at one moment."""

    unit: UnitName
    bin: int
    """In the session."""
    frames: Shaped[np.ndarray, "window channels height width"]
    rollout: Float32[np.ndarray, "tokens places"]
    heads: Mapping[str, Float32[np.ndarray, " positions"]]
    """By over what, block and head: places, or tokens of the past (the newest last)."""
    attributions: Mapping[str, Float32[np.ndarray, "window channels height width"]]
    """Integrated gradients (rate) and SmoothGrad (rate per pixel value)."""


@dataclass(frozen=True)
class AttentionMaps(Analysis):
    """Rollout of some units at the moments of their highest rates, and what checks say of it."""

    name: ClassVar[str] = "attention"
    title: ClassVar[str] = "Attention"
    twin_digest: str
    behaviour: str
    rig_units: tuple[UnitName, ...]
    display: Display
    rate_unit: str
    grid: FeatureShape
    maps: Mapping[str, Float32[np.ndarray, "units tokens places"]]
    """By kind, the mean over moments: rollout, and what attention alone makes of it, without residuals."""
    drops: Mapping[str, Float64[np.ndarray, "units 3"]]
    """By kind: rate; by how much it falls where attended places are covered; and where as much is covered elsewhere."""
    token_s: float
    checks: tuple[Check, ...]
    examples: tuple[Example, ...]

    def believable(self, kind: str) -> bool:
        """Whether no check of these maps failed."""
        return all(check.passed is not False for check in self.checks if check.of == kind)

    def sentences(self) -> list[str]:
        told = []
        for kind in self.maps:
            verdict = (
                "no check failed"
                if self.believable(kind)
                else "a check FAILED; do not read these maps as what drives a unit"
            )
            told.append(f"{kind.capitalize()}: {verdict}.")
            told += [
                f"{_MARK[check.passed]} {check.name}: {check.sentence}"
                for check in self.checks
                if check.of == kind
            ]
        return told

    def facts(self) -> AsWritten:
        return {
            "units": len(self.rig_units),
            "checks": [check.to_json() for check in self.checks],
            "believable": {kind: self.believable(kind) for kind in self.maps},
            "token_ms": 1e3 * self.token_s,
            "grid": [self.grid.rows, self.grid.columns],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {
            "units": np.array([str(unit) for unit in self.rig_units]),
        }
        for kind, maps in self.maps.items():
            arrays[kind.replace(" ", "_")] = maps.reshape(*maps.shape[:2], self.grid.rows, self.grid.columns)
        for k, example in enumerate(self.examples):
            arrays[f"example_{k}_frames"] = example.frames
            for name, values in example.attributions.items():
                arrays[f"example_{k}_{name.replace(' ', '_')}"] = values
            for name, values in example.heads.items():
                arrays[f"example_{k}_{name.replace(', ', '_').replace(' ', '_')}"] = values
        return arrays

    def rows(self) -> list[AsWritten]:
        names = ("rate", "drop_where_attended", "drop_elsewhere")
        return [
            {"session": unit.session, "unit_id": unit.unit_id}
            | dict(zip(names, map(float, own), strict=True))
            | {"mean_age_ms": float(1e3 * self._age_s(own_map))}
            for unit, own, own_map in zip(
                self.rig_units, self.drops["rollout"], self.maps["rollout"], strict=True
            )
        ]

    def figures(self) -> Iterator[Drawn]:
        from visioncore.lab.attention import drawn

        yield from drawn.figures(self)

    def _age_s(self, own: np.ndarray) -> float:
        """How long ago, on average, what is attended was."""
        weight = own.sum(1)
        return float(
            (weight * np.arange(len(weight))[::-1]).sum() / max(float(weight.sum()), 1e-12) * self.token_s
        )


_MARK = {True: "passed", False: "FAILED", None: "not made"}
