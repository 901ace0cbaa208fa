"""Ridge regression of responses on recent frames, in seconds: the covariance is a spatial times a temporal one.

So its inverse is two small eigendecompositions. For Gaussian stimuli, covariance⁻¹ · (spike-triggered mean) is the
filter of a linear-nonlinear cell up to its gain (Paninski 2004).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

COVARIANCE_FRAMES = 10_000
"""About how many frames the spatial covariance is estimated from."""
WINDOW = 0.15
"""Standard deviation of the window that filters may be cut out with, as a share of the field's height."""
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Candidate penalties, relative to the mean variance of a regressor; chosen per unit on held-out bins."""


@dataclass
class Regression:
    """Per unit the best ridge filter (lags, features), and its correlation on held-out bins."""

    weights: Float[Tensor, "units lags features"]
    score: Float[Tensor, " units"]

    @classmethod
    def fit(
        cls,
        features: Float[Tensor, "time features"],
        grid: tuple[int, int, int],
        n_lags: int,
        responses: Float[Tensor, "time units"],
        fitted: Float[Tensor, "time some"],
        tested: Float[Tensor, "time some"],
    ) -> "Regression | None":
        """The filters, or None where no feature ever changes: there is nothing to tell responses by.

        Penalty, and whether a filter is cut out around its peak, are chosen per unit on the bins that are tested.

        Args:
            grid: how `features` lie: channels, rows, columns.
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
        time_values, time_vectors = torch.linalg.eigh(time)
        values = time_values.clamp_min(0)[:, None] * space_values.clamp_min(0)[None, :]
        rotated = time_vectors.T @ cross @ space_vectors
        used = torch.nonzero(tested.amax(1))[:, 0]
        test_response, test_weight = responses[used], tested[used]
        test_features = [x[used - lag] for lag in range(n_lags)]

        best: Regression | None = None
        for ridge in RIDGES:
            weights = time_vectors @ (rotated / (values + ridge * values.mean())) @ space_vectors.T
            for windowed in (weights, weights * local_window(weights, grid)[:, None]):
                prediction = torch.zeros_like(test_response)
                for lag, delayed in enumerate(test_features):
                    prediction += delayed @ windowed[:, lag].T
                best = cls(windowed, _correlation(prediction, test_response, test_weight)).or_better(best)
        assert best is not None
        return best

    def or_better(self, other: "Regression | None") -> "Regression":
        """Per unit, whichever of the two predicts the held-out bins better."""
        if other is None:
            return self
        better = self.score > other.score
        return Regression(
            torch.where(better[:, None, None], self.weights, other.weights),
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


def local_window(
    weights: Float[Tensor, "units lags features"], grid: tuple[int, int, int]
) -> Float[Tensor, "units features"]:
    """A Gaussian around each filter's peak: far from it, ridge weights are mostly noise."""
    channels, rows, columns = grid
    power = weights.square().sum(1).view(-1, *grid).sum(1)
    centre = peak(power, rows, columns)
    r = torch.arange(rows) + 0.5 - centre[:, :1]
    c = torch.arange(columns) + 0.5 - centre[:, 1:]
    distance = r.square()[:, :, None] + c.square()[:, None, :]
    window = torch.exp(-distance / (2 * (WINDOW * rows) ** 2))
    return window.flatten(1).repeat(1, channels)


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
