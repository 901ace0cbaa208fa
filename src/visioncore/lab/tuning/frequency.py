"""Tuning to a frequency: what is preferred, how broadly, and whether the curve has two sides."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64

from visioncore.lab.tuning.drawn import draw_curve, log_axis
from visioncore.lab.tuning.fits import Fits, best_frequency, fit_octaves, half_height_octaves
from visioncore.lab.tuning.index import POOR, Index

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class FrequencyCurve:
    """Responses at each frequency, and the Gaussian of octaves that is fitted to them."""

    frequencies: Float64[np.ndarray, " frequencies"]
    responses: Float64[np.ndarray, "units frequencies"]
    """Above rest."""
    silent: Bool[np.ndarray, " units"]
    silence: str
    """What silent units lack."""

    @cached_property
    def fits(self) -> Fits:
        """The fitted curves, over octaves."""
        return fit_octaves(self.frequencies, self.responses)

    @property
    def low_pass(self) -> Bool[np.ndarray, " units"]:
        """Units that answer the lowest frequency with at least half their peak."""
        return ~self.silent & (self.responses[:, 0] >= self.responses.max(1) / 2)

    @property
    def high_pass(self) -> Bool[np.ndarray, " units"]:
        """Units that answer the highest frequency with at least half their peak."""
        return ~self.silent & (self.responses[:, -1] >= self.responses.max(1) / 2)

    @cached_property
    def preferred(self) -> Index:
        """The peak of the fit; undefined where it is not between the frequencies that were shown."""
        fits, octaves = self.fits, np.log2(self.frequencies)
        return Index.of(
            best_frequency(fits),
            *self._unfitted,
            (fits[1] <= octaves[0], "preferred at or below the lowest frequency that was shown"),
            (fits[1] >= octaves[-1], "preferred at or above the highest frequency that was shown"),
        )

    @cached_property
    def bandwidth(self) -> Index:
        """Octaves between the two frequencies where the fit is at half its height, both of which were passed."""
        return Index.of(
            np.add(*half_height_octaves(self.fits)),
            *self._unfitted,
            (self.low_pass, "low-pass: over half the peak at the lowest frequency that was shown"),
            (self.high_pass, "high-pass: over half the peak at the highest frequency that was shown"),
        )

    @property
    def r2(self) -> Index:
        """Of the fit."""
        return Index.of(self.fits.r2, *self._unfitted[:2])

    def indices(self, preferred: str, prefix: str) -> Mapping[str, Index]:
        """By the names of their columns."""
        return {
            preferred: self.preferred,
            f"{prefix}_bandwidth_octaves": self.bandwidth,
            f"{prefix}_r2": self.r2,
        }

    def plot(self, axes: "Axes", unit: int) -> None:
        """Responses of a unit, and the fit where it describes them."""
        low, high = np.log2(self.frequencies[[0, -1]])
        octaves = np.linspace(low, high, 100)
        fitted = None if self.fits.poor[unit] else self.fits.at(unit, octaves)
        draw_curve(axes, self.frequencies, self.responses[unit], 2**octaves, fitted)
        log_axis(axes, self.frequencies)

    @property
    def _unfitted(self) -> tuple[tuple[np.ndarray, str], ...]:
        none = np.isnan(self.fits.r2)
        return (
            (self.silent, self.silence),
            (none, "too few frequencies, or all answered alike: nothing to fit"),
            (self.fits.poor, POOR),
        )
