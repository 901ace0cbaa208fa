"""What is measured of a population's responses: what can be read from them, their spectrum, and how units are alike."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from jaxtyping import Float, Float64, Int

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Relative to the mean variance of a response."""
THINNINGS = 10
FIRST_RANK = 3
"""Slopes of spectra are fitted from this rank on: the first ones follow no law."""


@dataclass(frozen=True)
class Reading:
    """Responses, what was on the screen with them, and a number for each stretch of time without a break."""

    responses: Float[np.ndarray, "time units"]
    targets: Float[np.ndarray, "time targets"]
    stretches: Int[np.ndarray, " time"]

    def later(self, lag: int) -> Self:
        """With the responses of so many bins later; bins whose stretch ends before are left out."""
        n = len(self.responses) - lag
        same = self.stretches[:n] == self.stretches[lag:]
        return replace(
            self,
            responses=self.responses[lag:][same],
            targets=self.targets[:n][same],
            stretches=self.stretches[:n][same],
        )


def decodability(fitted: Reading, tested: Reading, lags: int) -> Float64[np.ndarray, " targets"]:
    """R² of a ridge regression of each target on the responses, on stretches of time that it was not fitted on.

    The ridge of each target, and one lag for all, are chosen within what is fitted, one stretch in three held out. NaN
    for a target that never varies.

    Args:
        lags: how many bins after a picture its responses are looked for, 0 included.
    """
    best: tuple[float, int, np.ndarray] = (-np.inf, 0, np.zeros(fitted.targets.shape[1], int))
    for lag in range(lags):
        own = fitted.later(lag)
        held = own.stretches % 3 == 0
        scale = _Scale.of(own.responses)
        x = scale(own.responses)
        each = [_Ridge(x[~held], own.targets[~held], ridge)(x[held]) for ridge in RIDGES]
        scores = np.stack([_r2(own.targets[held], found) for found in each])
        choice = np.argmax(np.nan_to_num(scores, nan=-np.inf), axis=0)
        mean = float(np.nanmean(scores.max(0))) if np.isfinite(scores).any() else -np.inf
        if mean > best[0]:
            best = mean, lag, choice
    _, lag, choice = best
    own, other = fitted.later(lag), tested.later(lag)
    scale = _Scale.of(own.responses)
    predicted = np.empty(other.targets.shape)
    for number in np.unique(choice):
        mine = choice == number
        regression = _Ridge(scale(own.responses), own.targets[:, mine], RIDGES[number])
        predicted[:, mine] = regression(scale(other.responses))
    return _r2(other.targets, predicted)


def _r2(targets: np.ndarray, predicted: np.ndarray) -> Float64[np.ndarray, " targets"]:
    spread = ((targets - targets.mean(0)) ** 2).sum(0)
    error = ((predicted - targets) ** 2).sum(0)
    return np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1), np.nan)


def _scaled(responses: np.ndarray) -> np.ndarray:
    return _Scale.of(responses)(responses)


@dataclass(frozen=True)
class _Scale:
    """Brings each unit to mean 0 and variance 1."""

    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, responses: np.ndarray) -> Self:
        spread = responses.std(0, dtype=np.float64)
        return cls(responses.mean(0, dtype=np.float64), np.where(spread > 0, spread, 1))

    def __call__(self, responses: np.ndarray) -> np.ndarray:
        return np.asarray((responses - self.mean) / self.spread, np.float64)


class _Ridge:
    """A regression with an intercept."""

    def __init__(self, x: np.ndarray, y: np.ndarray, ridge: float) -> None:
        self.at, self.mean = x.mean(0), y.mean(0)
        centred = x - self.at
        covariance = centred.T @ centred / len(x)
        penalty = ridge * max(float(np.trace(covariance)) / len(covariance), 1e-12)
        self.weights = np.linalg.solve(
            covariance + penalty * np.eye(len(covariance)), centred.T @ (y - self.mean) / len(x)
        )

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.asarray((x - self.at) @ self.weights + self.mean)


@dataclass(frozen=True)
class Spectrum:
    """Variance along the principal components of a population, in descending order."""

    variances: Float64[np.ndarray, " components"]

    @property
    def slope(self) -> float:
        """The exponent α of variance ~ rank^-α, fitted on logarithms from `FIRST_RANK` to half of the ranks.

        Source: Stringer et al. 2019. NaN where too few variances are positive.
        """
        ranks = np.arange(1, len(self.variances) + 1)
        used = (ranks >= FIRST_RANK) & (ranks <= max(len(ranks) // 2, FIRST_RANK + 2)) & (self.variances > 0)
        if used.sum() < 3:
            return float("nan")
        return float(-np.polyfit(np.log(ranks[used]), np.log(self.variances[used]), 1)[0])

    @property
    def dimensions(self) -> float:
        """Participation ratio, (Σλ)² / Σλ²: how many components of equal variance there would be."""
        positive = np.maximum(self.variances, 0)
        square = float(np.square(positive).sum())
        return float(positive.sum() ** 2 / square) if square > 0 else float("nan")


def spectrum(responses: Float[np.ndarray, "time units"]) -> Spectrum:
    """Of responses without noise: what a twin predicts. Units have equal variance first."""
    x = _scaled(responses)
    return Spectrum(np.sort(np.linalg.eigvalsh(x.T @ x / len(x)))[::-1])


def thinned_spectrum(counts: Float[np.ndarray, "time units"], generator: np.random.Generator) -> Spectrum:
    """Of spike counts, without the variance that Poisson spiking adds.

    Each spike goes to one of two halves by a coin. Halves of Poisson counts are independent given the rate (thinning;
    Neufeld et al. 2024), so what the two have in common is the covariance of the rates. What is left of noise makes the
    smallest variances negative as often as positive.
    """
    together = np.zeros((counts.shape[1], counts.shape[1]))
    for _ in range(THINNINGS):
        one = generator.binomial(np.rint(counts).astype(np.int64), 0.5).astype(np.float64)
        a, b = (half - half.mean(0) for half in (one, counts - one))
        shared = a.T @ b / len(a)
        together += (shared + shared.T) / 2 / THINNINGS
    # Equal variance of the rates. A unit whose rate never varies has none to be scaled.
    variance = together.diagonal()
    scale = np.where(variance > 0, 1 / np.sqrt(np.where(variance > 0, variance, 1)), 0)
    return Spectrum(np.sort(np.linalg.eigvalsh(together * scale * scale[:, None]))[::-1])


def similarity(responses: Float[np.ndarray, "time units"]) -> Float64[np.ndarray, "units units"]:
    """Correlation of every two units over time."""
    x = _scaled(responses)
    return np.asarray(x.T @ x / len(x))


def alike(one: Float64[np.ndarray, "units units"], other: Float64[np.ndarray, "units units"]) -> float:
    """Correlation of two similarity matrices off their diagonals (Kriegeskorte et al. 2008)."""
    upper = np.triu_indices(len(one), 1)
    if len(upper[0]) < 3:
        return float("nan")
    a, b = one[upper], other[upper]
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


def alignment(one: Float[np.ndarray, "time units"], other: Float[np.ndarray, "time others"]) -> float:
    """Linear CKA of two populations that saw the same: 1 where one is a rotation of the other.

    Source: Kornblith et al. 2019, eq. 7 of its section 3 with linear kernels.
    """
    a, b = one - one.mean(0), other - other.mean(0)
    size = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.square(np.linalg.norm(b.T @ a)) / size) if size > 0 else float("nan")


def unit_by_unit(
    one: Float[np.ndarray, "time units"], other: Float[np.ndarray, "time units"]
) -> Float64[np.ndarray, " units"]:
    """Correlation of each unit in one with the same unit in the other; NaN where either never varies."""
    a, b = one - one.mean(0), other - other.mean(0)
    size = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    varies = (np.ptp(one, axis=0) > 0) & (np.ptp(other, axis=0) > 0) & (size > 0)
    return np.asarray(np.where(varies, (a * b).sum(0) / np.where(varies, size, 1), np.nan), np.float64)
