"""Gratings and plaids of every direction, at each unit's best frequencies: does it see patterns or their parts?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float64

from visioncore.drawing import PREDICTED, RECORDED
from visioncore.lab.rig import Rig
from visioncore.lab.tuning.drawn import draw_curve
from visioncore.lab.tuning.gratings import SILENT, GratingTuning
from visioncore.lab.tuning.index import Index
from visioncore.lab.tuning.measured import Measured
from visioncore.lab.tuning.settings import Battery
from visioncore.lab.tuning.showing import Cycling, Told, show_cycles
from visioncore.lab.tuning.stimuli import PLAID_HALF_ANGLE_DEG, Grating, Plaid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIRECTIONS = 12
"""In steps of 30 degrees, so that a plaid's gratings have directions that are shown too."""
SIGNIFICANT = 1.28
"""Standard deviations: p = 0.9."""
CERTAIN = 0.9999
"""The largest correlation: twins have no noise."""
NO_PLAID = "no response to plaids above rest"
SAME = "its responses, or both predictions of them, are alike in all directions"


@dataclass(frozen=True)
class PlaidTuning(Measured):
    """Direction tuning to gratings and to plaids whose gratings have the same contrast."""

    name: ClassVar[str] = "plaids"

    directions_deg: Float64[np.ndarray, " directions"]
    gratings: Float64[np.ndarray, "units directions"]
    """F1, or F0 above rest; NaN for units that gratings do not drive."""
    plaids: Float64[np.ndarray, "units directions"]
    silent: Bool[np.ndarray, " units"]
    """Units that no grating drives above rest."""
    silent_to_plaids: Bool[np.ndarray, " units"]

    @property
    def by_components(self) -> Float64[np.ndarray, "units directions"]:
        """What the sum of responses to a plaid's two gratings would be."""
        turn = round(PLAID_HALF_ANGLE_DEG / (360 / len(self.directions_deg)))
        return np.roll(self.gratings, turn, axis=1) + np.roll(self.gratings, -turn, axis=1)

    @cached_property
    def z(self) -> tuple[Float64[np.ndarray, " units"], Float64[np.ndarray, " units"]]:
        """Partial correlations of the plaid tuning with the prediction of a pattern cell, which answers a plaid as a
        grating of its direction, and of a component cell, Fisher-transformed: in standard deviations.

        Source: Smith, Majaj & Movshon 2005; Movshon et al. 1985.
        """
        pattern, component = (
            _correlation(self.plaids, self.gratings),
            _correlation(self.plaids, self.by_components),
        )
        both = _correlation(self.gratings, self.by_components)
        freedom = len(self.directions_deg) - 3
        return _z(pattern, component, both, freedom), _z(component, pattern, both, freedom)

    @cached_property
    def indices(self) -> Mapping[str, Index]:
        """Zp, Zc, and the pattern index, which is their difference."""
        pattern, component = self.z
        why = (
            (self.silent, SILENT),
            (self.silent_to_plaids, NO_PLAID),
            (~np.isfinite(pattern + component), SAME),
        )
        return {
            "pattern_z": Index.of(pattern, *why),
            "component_z": Index.of(component, *why),
            "pattern_index": Index.of(pattern - component, *why),
        }

    @property
    def kinds(self) -> tuple[str | None, ...]:
        """`pattern` or `component` where one of Zp and Zc exceeds the other, and 0, by 1.28; `neither`; None where
        undefined.
        """
        pattern, component = (self.indices[name].values for name in ("pattern_z", "component_z"))
        found: list[str | None] = []
        for p, c in zip(pattern, component, strict=True):
            kind = (
                "pattern"
                if p - max(c, 0) > SIGNIFICANT
                else "component"
                if c - max(p, 0) > SIGNIFICANT
                else "neither"
            )
            found.append(kind if np.isfinite(p) else None)
        return tuple(found)

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Responses and the conditions that they are of."""
        return {"directions_deg": self.directions_deg, "gratings": self.gratings, "plaids": self.plaids}

    @property
    def panels(self) -> "Mapping[str, Callable[[Axes, int], None]]":
        """Both direction curves."""
        return {"plaids": self._plot}

    def _plot(self, axes: "Axes", unit: int) -> None:
        draw_curve(axes, self.directions_deg, self.gratings[unit], colour=RECORDED, label="gratings")
        draw_curve(axes, self.directions_deg, self.plaids[unit], colour=PREDICTED, label="plaids")
        axes.set_xticks([0, 90, 180, 270, 360])
        axes.set_xlabel("direction (deg)")
        axes.legend(fontsize=6, handlelength=1)


def show_plaids(rig: Rig, battery: Battery, gratings: GratingTuning, told: Told) -> PlaidTuning:
    """Show both at each unit's best frequencies; units with the same ones share them."""
    directions = np.arange(DIRECTIONS) * (360 / DIRECTIONS)
    n_units = len(rig.units)
    shown: list[tuple[int, list[Cycling], list[Cycling]]] = []
    wanted: dict[Cycling, list[int]] = {}
    for unit in range(n_units):
        best = gratings.best_grating(unit)
        if best is None:
            continue
        period, hz, contrast = best.period_px, best.temporal_frequency_hz, best.contrast
        alone: list[Cycling] = [Grating(float(d), period, hz, contrast / 2) for d in directions]
        crossed: list[Cycling] = [Plaid(float(d), period, hz, contrast) for d in directions]
        shown.append((unit, alone, crossed))
        for stimulus in (*alone, *crossed):
            wanted.setdefault(stimulus, []).append(unit)
    found = show_cycles(rig, wanted, battery.onset_s, battery.seconds_for_one, told, "plaids")
    responses = np.full((2, n_units, DIRECTIONS), np.nan)
    for unit, *both in shown:
        for own, stimuli in zip(responses, both, strict=True):
            own[unit] = [gratings.response_of(unit, found[stimulus, unit]) for stimulus in stimuli]
    silent_to_plaids = gratings.rest.silent(np.nan_to_num(responses[1]).max(1))
    return PlaidTuning(directions, responses[0], responses[1], gratings.silent, silent_to_plaids)


def _correlation(one: np.ndarray, other: np.ndarray) -> Float64[np.ndarray, " units"]:
    """Pearson's, unit by unit; never quite 1, since of two that are, partial correlations tell nothing."""
    a, b = (own - own.mean(1, keepdims=True) for own in (one, other))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.asarray(np.clip(correlation, -CERTAIN, CERTAIN))


def _z(
    mine: np.ndarray, others: np.ndarray, between: np.ndarray, freedom: int
) -> Float64[np.ndarray, " units"]:
    """A partial correlation as a number of standard deviations."""
    with np.errstate(invalid="ignore", divide="ignore"):
        partial = (mine - others * between) / np.sqrt((1 - others**2) * (1 - between**2))
        return np.asarray(np.arctanh(np.clip(partial, -CERTAIN, CERTAIN)) * np.sqrt(freedom))
