"""Ridge regression of responses on recent frames, in seconds: the covariance is a spatial times a temporal one.

So its inverse is two small eigendecompositions. For Gaussian stimuli, covariance⁻¹ · (spike-triggered mean) is the
filter of a linear-nonlinear cell up to its gain (Paninski 2004).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

COVARIANCE_FRAMES = 10_000
"""About how many frames the spatial covariance is estimated from."""
WINDOWS = (0.06, 0.1, 0.15)
"""Standard deviations of the windows that filters may be cut out with, as shares of the field's height."""
FAINTEST = 15.0
"""Negative logarithm of a window's least weight."""
PLACES = 2
"""How many places of the field a window is tried at: where weights are noisy, the strongest is not always the right."""
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Candidate penalties, relative to the mean variance of a regressor; chosen per unit on held-out bins."""


@dataclass
class LagMoments:
    """What regressions on the last `n_lags` frames need of the data, and the bins that they are tested on."""

    grid: tuple[int, int, int]
    """How features lie: channels, rows, columns."""
    rotated: Float[Tensor, "units lags features"]
    """Covariance of responses and delayed features, the latter along the axes of `space`."""
    time: Float[Tensor, "lags lags"]
    space_values: Float[Tensor, " features"]
    space_vectors: Float[Tensor, "features features"]
    frames: Float[Tensor, "frames features"]
    """All frames that tested bins look back to."""
    delayed: Int64[Tensor, "tested lags"]
    """Which of them each bin sees."""
    responses: Float[Tensor, "tested units"]
    weight: Float[Tensor, "tested some"]

    @classmethod
    def of(
        cls,
        features: Float[Tensor, "time features"],
        grid: tuple[int, int, int],
        n_lags: int,
        responses: Float[Tensor, "time units"],
        fitted: Float[Tensor, "time some"],
        tested: Float[Tensor, "time some"],
    ) -> "LagMoments | None":
        """None where no feature ever changes: there is nothing to tell responses by.

        Args:
            fitted, tested: which bins count (1 or 0), for all units alike (one column) or for each.
        """
        x = features - features.mean(0)
        some = x[:: max(len(x) // COVARIANCE_FRAMES, 1)]
        space = some.T @ some / len(some)
        if not bool((space.diagonal() > 0).any()):
            return None
        responses = responses * _size(responses, fitted)
        n = fitted.sum(0).clamp_min(1.0)
        responses = responses - (responses * fitted).sum(0) / n
        # Responses are moved back instead of frames forward: the same sum, and they are small. What wraps around
        # at the ends meets bins that are not usable.
        weighted = responses * fitted
        cross = torch.stack([weighted.roll(-lag, dims=0).T @ x for lag in range(n_lags)], dim=1)
        cross = cross / n[:, None, None]

        stretch = x[: COVARIANCE_FRAMES // 2]
        kept = len(stretch) - n_lags
        lagged = torch.stack(
            [(stretch[n_lags:] * stretch[n_lags - lag :][:kept]).sum(1).mean() for lag in range(n_lags)]
        )
        if not bool(lagged[0] > 0):
            return None
        time = lagged[(torch.arange(n_lags)[:, None] - torch.arange(n_lags)).abs()] / lagged[0]
        space_values, space_vectors = torch.linalg.eigh(space)
        used = torch.nonzero(tested.amax(1))[:, 0]
        # Bins that are tested lie beyond the lags of their stretch.
        delays = (used[:, None] - torch.arange(n_lags)).clamp_min(0)
        seen, delayed = delays.unique(return_inverse=True)
        return cls(
            grid=grid,
            rotated=cross @ space_vectors,
            time=time,
            space_values=space_values.clamp_min(0),
            space_vectors=space_vectors,
            frames=x[seen],
            delayed=delayed,
            responses=responses[used],
            weight=tested[used],
        )

    def solve(self, ridge: float, n_lags: int | None = None) -> Float[Tensor, "units lags features"]:
        """The filters with this penalty, of the newest `n_lags` frames (all when left out)."""
        n_lags = n_lags or len(self.time)
        values, vectors = torch.linalg.eigh(self.time[:n_lags, :n_lags])
        both = values.clamp_min(0)[:, None] * self.space_values[None, :]
        rotated = vectors.T @ self.rotated[:, :n_lags]
        return vectors @ (rotated / (both + ridge * both.mean())) @ self.space_vectors.T

    def score(self, weights: Float[Tensor, "units lags features"], rank: int) -> Float[Tensor, " units"]:
        """Correlation, on the tested bins, of what the filters say at this rank."""
        temporal, spatial = components(weights, rank)
        projected = self.frames @ spatial.flatten(0, 1).T
        prediction = torch.zeros_like(self.responses)
        for lag in range(weights.shape[1]):
            filtered = projected[self.delayed[:, lag]] * temporal[:, :, lag].flatten()
            prediction += filtered.unflatten(1, temporal.shape[:2]).sum(2)
        return _correlation(prediction, self.responses, self.weight)


@dataclass(frozen=True)
class MomentNumbers:
    """How many float32 numbers regressions hold, a fifth of the bins being tested."""

    made: int
    """The most while `LagMoments.of` is at work."""
    held: int
    """Of `LagMoments`."""
    solved: int
    """The most while `Regression.fit` is at work, beside these."""
    kept: int
    """Of a `Regression`."""

    @classmethod
    def of(cls, bins: int, features: int, lags: int, units: int, rank: int) -> "MomentNumbers":
        """Of so many bins and features, and of filters with so many lags."""
        filters, moved, square = units * lags * features, bins * units, features**2
        tested = bins // 5
        return cls(
            # Centred features and responses, with either the products of a stretch or the list that is stacked.
            made=bins * features
            + max(
                2 * moved + filters + min(bins, COVARIANCE_FRAMES // 2) * features + square,
                3 * moved + 2 * filters,
                tested * (features + 8 * lags) + moved + filters + 4 * square,
            ),
            held=filters + square + tested * (features + units + 2 * lags),
            # Rotated, solved, cut out, the best so far and what is chosen; windows; predictions of the tested bins.
            solved=5 * filters
            + (2 * rank + 5) * units * features
            + round((3.4 * rank + 2.7) * tested * units),
            kept=filters + units * features,
        )


@dataclass
class Regression:
    """Per unit the best ridge filter (lags, features), and its correlation on held-out bins."""

    weights: Float[Tensor, "units lags features"]
    window: Float[Tensor, "units features"]
    """What the filter was cut out with; where it was not cut, the widest window around its peak."""
    score: Float[Tensor, " units"]

    @classmethod
    def fit(
        cls, moments: LagMoments, rank: int, windows: Sequence[float] = WINDOWS, places: int = PLACES
    ) -> "Regression":
        """Penalty, and where and how narrowly a filter is cut out, are chosen per unit on the bins that are tested."""
        best: Regression | None = None
        for ridge in RIDGES:
            for cut, window in cuts(moments.solve(ridge), moments.grid, windows, places):
                best = cls(cut, window, moments.score(cut, rank)).or_better(best)
        assert best is not None
        return best

    def or_better(self, other: "Regression | None") -> "Regression":
        """Per unit, whichever of the two predicts the held-out bins better."""
        if other is None:
            return self
        better = self.score > other.score
        return Regression(
            torch.where(better[:, None, None], self.weights, other.weights),
            torch.where(better[:, None], self.window, other.window),
            torch.where(better, self.score, other.score),
        )


def _size(
    responses: Float[Tensor, "time units"], fitted: Float[Tensor, "time some"]
) -> Float[Tensor, " units"]:
    """A power of two per unit that brings responses near one: nothing is rounded, and no square leaves float32."""
    largest = (responses * fitted).abs().amax(0)
    exponent = torch.where(largest > 0, largest, torch.ones_like(largest)).log2().round()
    # Of ordinary counts and traces, nothing changes.
    return torch.where(exponent.abs() > 10, torch.exp2(-exponent), torch.ones_like(exponent))


def _correlation(
    x: Float[Tensor, "time units"], y: Float[Tensor, "time units"], weight: Float[Tensor, "time some"]
) -> Float[Tensor, " units"]:
    n = weight.sum(0).clamp_min(1.0)
    x = (x - (x * weight).sum(0) / n) * weight
    y = (y - (y * weight).sum(0) / n) * weight
    return (x * y).sum(0) / (x.square().sum(0) * y.square().sum(0)).sqrt().clamp_min(1e-12)


def components(
    weights: Float[Tensor, "units lags features"], rank: int
) -> tuple[Float[Tensor, "units rank lags"], Float[Tensor, "units rank features"]]:
    """The strongest time courses of each filter, and the features, of unit length, that each of them weighs."""
    # Lags are few and features many: the small side's eigenvectors are all that is needed.
    vectors = torch.linalg.eigh(weights @ weights.mT).eigenvectors.flip(-1)[..., :rank].mT
    spatial = vectors @ weights
    size = spatial.norm(dim=-1, keepdim=True).clamp_min(1e-20)
    return vectors * size, spatial / size


def cuts(
    weights: Float[Tensor, "units lags features"],
    grid: tuple[int, int, int],
    sizes: Sequence[float] = WINDOWS,
    places: int = PLACES,
) -> Iterator[tuple[Float[Tensor, "units lags features"], Float[Tensor, "units features"]]]:
    """The filters whole, and cut out around their strongest places with windows of several sizes."""
    channels, rows, columns = grid
    power = weights.square().sum(1).view(-1, *grid).sum(1)
    whole = True
    for _ in range(places):
        centre = peak(power, rows, columns)
        r = torch.arange(rows) + 0.5 - centre[:, :1]
        c = torch.arange(columns) + 0.5 - centre[:, 1:]
        distance = r.square()[:, :, None] + c.square()[:, None, :]
        windows = [
            _fading(distance / (2 * (share * rows) ** 2)).flatten(1).repeat(1, channels) for share in sizes
        ]
        if whole:
            yield weights, windows[-1]
            whole = False
        for window in windows:
            yield weights * window[:, None], window
        power = power * (1 - windows[-1][:, : rows * columns].view_as(power))


def _fading(exponent: Float[Tensor, "units rows columns"]) -> Float[Tensor, "units rows columns"]:
    """exp(-exponent), but nothing where next to nothing is left: subnormal numbers are slow to multiply."""
    return torch.exp(-exponent).where(exponent < FAINTEST, 0.0)


def peak(power: Float[Tensor, "units rows columns"], height: int, width: int) -> Float[Tensor, "units 2"]:
    """Centre of mass of each map around its peak, in coordinates of a field of `height` by `width`."""
    rows, columns = power.shape[1:]
    sigma = max(rows / 12, 0.5)
    radius = int(3 * sigma) + 1
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    smooth = functional.conv2d(power[:, None], kernel[None, None, :, None], padding=(radius, 0))
    smooth = functional.conv2d(smooth, kernel[None, None, None], padding=(0, radius))[:, 0]
    highest = smooth.flatten(1).argmax(1)
    row, column = highest // columns, highest % columns
    r = torch.arange(rows, dtype=torch.float32)[None, :, None]
    c = torch.arange(columns, dtype=torch.float32)[None, None, :]
    near = torch.exp(
        -((r - row[:, None, None]) ** 2 + (c - column[:, None, None]) ** 2) / (2 * (2 * sigma) ** 2)
    )
    mass = smooth * near
    total = mass.sum((1, 2)).clamp_min(1e-20)
    centre = torch.stack(
        ((mass * (r + 0.5)).sum((1, 2)) / total, (mass * (c + 0.5)).sum((1, 2)) / total), dim=1
    )
    return centre * torch.tensor([height / rows, width / columns])
