"""Curves that are fitted to tuning, each with its R²: by least squares, from several starts, unit by unit.

Curves are fitted to responses divided by their largest, so their parameters have no unit of response.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from scipy.optimize import least_squares
from scipy.special import erf

MIN_R2 = 0.6
"""A curve that explains less of the tuning does not describe it."""
FLAT = 1e-6
"""Of the largest response: what differs by less has no shape."""
MOST_CALLS = 400
Curve = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From places and parameters to responses."""


@dataclass(frozen=True)
class Fits:
    """One curve for each unit; NaN where there was nothing to fit."""

    curve: Curve
    parameters: Float64[np.ndarray, "units parameters"]
    scale: Float64[np.ndarray, " units"]
    """Of the responses: what the curve is multiplied by."""
    r2: Float64[np.ndarray, " units"]

    def __getitem__(self, k: int) -> Float64[np.ndarray, " units"]:
        return self.parameters[:, k]

    def at(self, unit: int, x: Float[np.ndarray, "points ..."]) -> Float64[np.ndarray, " points"]:
        """The curve of a unit, in its responses."""
        return np.asarray(self.scale[unit] * self.curve(x, self.parameters[unit]))

    @property
    def poor(self) -> np.ndarray:
        """Which units the curve does not describe."""
        return ~(self.r2 >= MIN_R2)


def fit(
    curve: Curve,
    x: Float[np.ndarray, "points ..."],
    responses: Float[np.ndarray, "units points"],
    starts: Callable[[np.ndarray], Iterable[Sequence[float]]],
    n_parameters: int,
) -> Fits:
    """The curve of each unit that leaves the least squares.

    There is none for a flat unit, nor where there are no more points than parameters.

    Args:
        starts: parameters to begin with, from responses whose largest is 1.
    """
    n = len(responses)
    fits = Fits(curve, np.full((n, n_parameters), np.nan), np.full(n, np.nan), np.full(n, np.nan))
    if len(x) <= n_parameters:
        return fits
    for unit, own in enumerate(responses.astype(np.float64)):
        scale = np.abs(own).max()
        if not np.isfinite(scale) or np.ptp(own) <= FLAT * scale:
            continue
        target = own / scale
        tries = [_from(curve, x, target, start) for start in starts(target)]
        parameters, left = min(tries, key=lambda one: one[1])
        fits.parameters[unit], fits.scale[unit] = parameters, scale
        fits.r2[unit] = 1 - left / np.sum((target - target.mean()) ** 2)
    return fits


def _from(
    curve: Curve, x: np.ndarray, target: np.ndarray, start: Sequence[float]
) -> tuple[np.ndarray, float]:
    found = least_squares(lambda p: curve(x, p) - target, start, method="lm", max_nfev=MOST_CALLS)
    return found.x, 2 * float(found.cost)


# --- Direction ----------------------------------------------------------------------------------------------------


def two_bumps(degrees: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Two von Mises bumps of one width, half a circle apart, on a floor.

    Source: Swindale 1998, "Orientation tuning curves: empirical description and estimation of parameters"; as a sum
    of two wrapped Gaussians in Carandini & Ferster 2000.
    """
    floor, larger, smaller, log_kappa, centre = p
    kappa = np.exp(np.clip(log_kappa, -4, 8))
    away = np.deg2rad(degrees) - centre
    bump, opposite = np.exp(kappa * (np.cos(away) - 1)), np.exp(kappa * (-np.cos(away) - 1))
    return np.asarray(floor**2 + size_of(larger) * bump + size_of(smaller) * opposite)


def fit_direction(
    degrees: Float[np.ndarray, " points"],
    responses: Float[np.ndarray, "units points"],
    preferred_deg: Float64[np.ndarray, " units"],
) -> Fits:
    """`two_bumps` around the directions that are preferred."""
    each = iter(preferred_deg)

    def starts(target: np.ndarray) -> Iterable[Sequence[float]]:
        centre = np.deg2rad(next(each))
        opposite = float(np.interp(np.rad2deg(centre) + 180, degrees, target, period=360))
        low = max(float(target.min()), 0.01)
        for kappa in (1.0, 6.0):
            yield (np.sqrt(low), 0.0, np.log(max(opposite - low, 0.02)), np.log(kappa), centre)

    return fit(two_bumps, degrees, responses, starts, 5)


def half_width_deg(fits: Fits) -> Float64[np.ndarray, " units"]:
    """Half the width of the larger bump at half its height above the floor; NaN where it is never so low."""
    cosine = 1 - np.log(2) / np.exp(np.clip(fits[3], -4, 8))
    return np.rad2deg(np.arccos(np.where(cosine >= -1, cosine, np.nan)))


# --- Frequency ----------------------------------------------------------------------------------------------------


def skewed_gaussian(octaves: np.ndarray, p: np.ndarray) -> np.ndarray:
    """A Gaussian of the logarithm of a frequency, whose width grows to one side of its peak.

    Source: Priebe, Lisberger & Movshon 2006, "Tuning for spatiotemporal frequency and speed in directionally selective
    neurons of macaque striate cortex"; without its small constant.
    """
    height, best, log_width, skew = p
    away = octaves - best
    width = np.exp(np.clip(log_width, -4, 4)) + _slope(skew) * away
    # What lies beyond the place where the width is 0 is 0.
    exponent = np.where(width > 0, -((away / np.maximum(width, 1e-9)) ** 2) / 2, -np.inf)
    return np.asarray(size_of(height) * np.exp(np.maximum(exponent, -700)))


def fit_octaves(
    frequencies: Float[np.ndarray, " points"], responses: Float[np.ndarray, "units points"]
) -> Fits:
    """`skewed_gaussian` over the binary logarithms of the frequencies."""
    octaves = np.log2(frequencies)

    def starts(target: np.ndarray) -> Iterable[Sequence[float]]:
        for width in (0.6, 1.2):
            yield (0.0, float(octaves[np.argmax(target)]), np.log(width), 0.0)

    return fit(skewed_gaussian, octaves, responses, starts, 4)


def best_frequency(fits: Fits) -> Float64[np.ndarray, " units"]:
    """Where `skewed_gaussian` peaks."""
    return np.asarray(2.0 ** np.clip(fits[1], -60, 60))


def half_height_octaves(fits: Fits) -> tuple[Float64[np.ndarray, " units"], Float64[np.ndarray, " units"]]:
    """From the peak of `skewed_gaussian` down and up to where it is half as high."""
    width, slope = np.exp(np.clip(fits[2], -4, 4)), _slope(fits[3])
    reach = np.sqrt(2 * np.log(2))
    return reach * width / (1 + reach * slope), reach * width / (1 - reach * slope)


def _slope(skew: Any) -> Any:
    # Where it is steeper, the curve has no upper half width.
    return 0.8 * np.tanh(skew)


# --- Contrast -----------------------------------------------------------------------------------------------------


def naka_rushton(contrast: np.ndarray, p: np.ndarray) -> np.ndarray:
    """What is there without contrast, and a rise that saturates. Source: Albrecht & Hamilton 1982."""
    rise, log_c50, log_exponent, floor = p
    share = 1 / (1 + (c50_of(log_c50) / np.maximum(contrast, 1e-9)) ** exponent_of(log_exponent))
    return np.asarray(floor + size_of(rise) * share)


def c50_of(log_c50: Any) -> Any:
    """Of `naka_rushton`."""
    return np.exp(np.clip(log_c50, -12, 6))


def exponent_of(log_exponent: Any) -> Any:
    """Of `naka_rushton`."""
    return np.exp(np.clip(log_exponent, -2, 2.5))


def fit_contrast(
    contrasts: Float[np.ndarray, " points"], responses: Float[np.ndarray, "units points"]
) -> Fits:
    """`naka_rushton`: how far it rises (as a logarithm), of c50 and exponent the logarithms, and the floor."""

    def starts(target: np.ndarray) -> Iterable[Sequence[float]]:
        floor = float(target[0])
        half = contrasts[int(np.argmax(target >= (floor + target.max()) / 2))]
        for exponent in (1.5, 3.0):
            yield (np.log(max(target.max() - floor, 0.05)), np.log(max(half, 0.01)), np.log(exponent), floor)

    return fit(naka_rushton, contrasts, responses, starts, 4)


# --- Size and place -----------------------------------------------------------------------------------------------


def ratio_of_gaussians(diameter: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Excitation over 1 + suppression, each the square of a Gaussian's integral under the grating.

    Source: Cavanaugh, Bair & Movshon 2002, "Nature and interaction of signals from the receptive field center and
    surround in macaque V1 neurons".
    """
    excitation, suppression, log_centre, log_more = p
    centre = np.exp(np.clip(log_centre, -6, 12))
    # The surround is the larger.
    surround = centre * (1 + np.exp(np.clip(log_more, -6, 6)))
    in_centre, in_surround = (erf(diameter / 2 / width) ** 2 for width in (centre, surround))
    return np.asarray(size_of(excitation) * in_centre / (1 + size_of(suppression) * in_surround))


def fit_size(diameters: Float[np.ndarray, " points"], responses: Float[np.ndarray, "units points"]) -> Fits:
    """`ratio_of_gaussians`, all parameters as logarithms."""

    def starts(target: np.ndarray) -> Iterable[Sequence[float]]:
        best = diameters[int(target.argmax())]
        for suppression in (-2.0, 1.0):
            yield (np.log(1 + np.exp(suppression)), suppression, np.log(best / 2.5), 0.0)

    return fit(ratio_of_gaussians, diameters, responses, starts, 4)


def bump(places: np.ndarray, p: np.ndarray) -> np.ndarray:
    """An elliptic Gaussian over places, (points, 2)."""
    height, row, column, log_down, log_right, lean = p
    down, right = (places[:, 0] - row) / _width(log_down), (places[:, 1] - column) / _width(log_right)
    shared = _shared(lean)
    distance = (down**2 - 2 * shared * down * right + right**2) / (1 - shared**2)
    return np.asarray(size_of(height) * np.exp(-distance / 2))


def fit_bump(
    places: Float[np.ndarray, "points 2"], responses: Float[np.ndarray, "units points"], width: float
) -> Fits:
    """`bump`, from the place of the largest response and this width."""

    def starts(target: np.ndarray) -> Iterable[Sequence[float]]:
        row, column = places[int(target.argmax())]
        yield (0.0, row, column, np.log(width), np.log(width), 0.0)

    return fit(bump, places, responses, starts, 6)


def bump_sd(fits: Fits) -> Float64[np.ndarray, " units"]:
    """Standard deviation of a circle of the same area as the ellipse at one standard deviation."""
    return np.asarray(np.sqrt(_width(fits[3]) * _width(fits[4]) * np.sqrt(1 - _shared(fits[5]) ** 2)))


def _shared(lean: Any) -> Any:
    # As narrow as at 1, there is no area.
    return 0.98 * np.tanh(lean)


def _width(log: Any) -> Any:
    return np.exp(np.clip(log, -4, 8))


def size_of(log: Any) -> Any:
    """Of what a curve is multiplied by."""
    return np.exp(np.clip(log, -20, 10))
