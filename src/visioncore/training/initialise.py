"""Where training starts: mean rates, linear filters in closed form, and readout positions, all from the training split.

Filters: ridge regression of the responses on the recent frames. The stimulus covariance is taken as the product of a
spatial and a temporal one, so that the inverse is two small eigendecompositions and the whole takes seconds. For
Gaussian stimuli, covariance⁻¹ · (spike-triggered mean) is the filter of a linear-nonlinear cell up to its gain
(Paninski 2004). Its strongest spatial components are where the likelihood starts from (`glm.py`), which also tells
which units no filter drives.

Positions: the same regression on local contrast energy, which also drives cells that have no linear filter.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from visioncore.data import RecordingStore, SessionStore
from visioncore.model import Twin
from visioncore.model.linear import LowRankLinear
from visioncore.model.readouts import DynamicGaussianReadout
from visioncore.training.experiment import InitialiseConfig
from visioncore.training.glm import fit_filters

logger = logging.getLogger(__name__)

ESTIMATE_RATE_HZ = 60.0
"""Frames are averaged, and responses summed, down to about this rate for the estimates."""
MAX_PIXELS = 2500
"""Larger frames are averaged down to about this many pixels for the filters."""
ENERGY_CELLS = 160
"""About how many places contrast energy is measured at."""
FEWEST_PIECES = 5
"""One in five stretches of recording is held out; with fewer there is none."""
COVARIANCE_FRAMES = 10_000
"""About how many frames the spatial covariance is estimated from."""
WINDOW = 0.15
"""Standard deviation of the window that filters may be cut out with, as a share of the field's height."""
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Candidate penalties, relative to the mean variance of a regressor; chosen per unit on held-out blocks."""


def initialise(twin: Twin, store: RecordingStore, config: InitialiseConfig) -> None:
    """Set rates, filters and positions of `twin`, in place; deterministic."""
    for id_, session in store.sessions.items():
        with torch.no_grad():
            mean, std = _response_moments(session)
            twin.output(id_).initialise(mean, std)
        linear = twin.linear(id_)
        wants_filters = config.linear and isinstance(linear, LowRankLinear)
        wants_positions = config.positions and twin.has_positions
        if not (wants_filters or wants_positions):
            continue
        sample = _sample(twin, session, config.max_minutes_per_session)
        if sample is None:
            logger.warning(
                "session %s: too short or too broken up to estimate filters from; mean rates only", id_
            )
            continue
        pixels = _Regression.fit(sample, sample.pixels, sample.pixel_grid, _lags(twin, sample))
        if wants_filters:
            assert isinstance(linear, LowRankLinear)
            _set_filters(twin, id_, linear, sample, pixels)
        if wants_positions:
            readout = twin.readout(id_)
            assert isinstance(readout, DynamicGaussianReadout)
            energy = _Regression.fit(sample, sample.energy, (1, *sample.energy_grid), _lags(twin, sample))
            readout.place(_centres(twin, sample, pixels, energy))
        logger.info("session %s: initialised from %.1f minutes", id_, sample.minutes)


@dataclass
class _Sample:
    """Training blocks at the estimates' rate, concatenated; `first` marks bins without enough history."""

    pixels: Float[Tensor, "time pixels"]
    pixel_grid: tuple[int, int, int]
    energy: Float[Tensor, "time cells"]
    energy_grid: tuple[int, int]
    responses: Float[Tensor, "time units"]
    held_out: Float[Tensor, " time"]
    usable: Float[Tensor, " time"]
    step: int
    minutes: float


@dataclass
class _Regression:
    """Per unit the best ridge filter (lags, features), and its correlation on held-out blocks."""

    weights: Float[Tensor, "units lags features"]
    score: Float[Tensor, " units"]

    @classmethod
    def fit(
        cls,
        sample: _Sample,
        features: Float[Tensor, "time features"],
        grid: tuple[int, int, int],
        n_lags: int,
    ) -> "_Regression":
        """Ridge with a Kronecker covariance; penalty, and whether the filter is cut out around its peak, are chosen

        per unit on the held-out blocks. `grid` is how `features` lie: channels, rows, columns.
        """
        fitted = (sample.usable * (1 - sample.held_out))[:, None]
        tested = torch.nonzero(sample.usable * sample.held_out)[:, 0]
        x = features - features.mean(0)
        n = fitted.sum()
        responses = sample.responses - (sample.responses * fitted).sum(0) / n
        # Responses are moved back instead of frames forward: the same sum, and they are small. What wraps around
        # at the ends meets bins that are not usable.
        weighted = responses * fitted
        cross = torch.stack([weighted.roll(-lag, dims=0).T @ x for lag in range(n_lags)], dim=1) / n

        some = x[:: max(len(x) // COVARIANCE_FRAMES, 1)]
        space = some.T @ some / len(some)
        stretch = x[: COVARIANCE_FRAMES // 2]
        kept = len(stretch) - n_lags
        lagged = torch.stack(
            [(stretch[n_lags:] * stretch[n_lags - lag :][:kept]).sum(1).mean() for lag in range(n_lags)]
        )
        time = lagged[(torch.arange(n_lags)[:, None] - torch.arange(n_lags)).abs()] / lagged[0]
        space_values, space_vectors = torch.linalg.eigh(space)
        time_values, time_vectors = torch.linalg.eigh(time)
        values = time_values.clamp_min(0)[:, None] * space_values.clamp_min(0)[None, :]
        rotated = time_vectors.T @ cross @ space_vectors
        test_response = responses[tested]
        test_features = [x[tested - lag] for lag in range(n_lags)]

        best: _Regression | None = None
        for ridge in RIDGES:
            weights = time_vectors @ (rotated / (values + ridge * values.mean())) @ space_vectors.T
            for windowed in (weights, weights * _local_window(weights, grid)[:, None]):
                prediction = torch.zeros_like(test_response)
                for lag, delayed in enumerate(test_features):
                    prediction += delayed @ windowed[:, lag].T
                best = cls(windowed, _correlation(prediction, test_response)).or_better(best)
        assert best is not None
        return best

    def or_better(self, other: "_Regression | None") -> "_Regression":
        """Per unit, whichever of the two predicts the held-out blocks better."""
        if other is None:
            return self
        better = self.score > other.score
        return _Regression(
            torch.where(better[:, None, None], self.weights, other.weights),
            torch.where(better, self.score, other.score),
        )


def _response_moments(session: SessionStore) -> tuple[Float[Tensor, " units"], Float[Tensor, " units"]]:
    mean = torch.from_numpy(session.train_mean).float()
    squares = np.zeros(len(mean))
    n = np.zeros(len(mean))
    for block in session.blocks_in("train"):
        valid = session.valid(block.start, block.stop)
        deviation = np.where(valid, session.responses(block.start, block.stop) - session.train_mean, 0.0)
        squares += (deviation**2).sum(0)
        n += valid.sum(0)
    std = np.sqrt(squares / np.maximum(n, 1))
    # The floor of the field's reference code (a hundredth of the mean) keeps silent units finite.
    floor = 0.01 * std.mean() if std.mean() > 0 else 1.0
    return mean, torch.from_numpy(np.maximum(std, floor)).float()


def _sample(twin: Twin, session: SessionStore, max_minutes: float) -> _Sample | None:
    spec = twin.spec
    step = max(round(spec.sampling_rate_hz / ESTIMATE_RATE_HZ), 1)
    lags = max(round(0.2 * spec.sampling_rate_hz / step), 1)
    shrink = max(round((spec.channels * spec.height * spec.width / MAX_PIXELS) ** 0.5), 1)
    cell = max(round((spec.height * spec.width / ENERGY_CELLS) ** 0.5), 1)
    pixels, energies, responses, usable = [], [], [], []
    held_out: list[Tensor] = []
    bins = 0
    for video, counts, valid in _blocks(twin, session, max_minutes):
        n = len(video) // step * step
        if n < step * (lags + 1):
            continue
        slow = video[:n].unflatten(0, (-1, step)).mean(1)
        small = functional.avg_pool2d(slow, shrink, ceil_mode=True) if shrink > 1 else slow
        pixels.append(small.flatten(1))
        energies.append(_contrast_energy(slow, cell))
        responses.append((counts * valid)[:n].unflatten(0, (-1, step)).sum(1))
        held_out.append(torch.full((n // step,), float(len(held_out) % 5 == 4)))
        # A bin counts where most units were recorded; one that was not has no spikes to give.
        good = (valid[:n].unflatten(0, (-1, step)).amin(1).mean(1) > 0.5).float()
        good[:lags] = 0
        usable.append(good)
        bins += n
    if len(pixels) < FEWEST_PIECES:
        return None
    _, channels, rows, columns = small.shape
    height, width = slow.shape[-2:]
    return _Sample(
        pixels=torch.cat(pixels),
        pixel_grid=(channels, rows, columns),
        energy=torch.cat([e.flatten(1) for e in energies]),
        energy_grid=(-(-height // cell), -(-width // cell)),
        responses=torch.cat(responses),
        held_out=torch.cat(held_out),
        usable=torch.cat(usable),
        step=step,
        minutes=bins / spec.sampling_rate_hz / 60,
    )


def _blocks(
    twin: Twin, session: SessionStore, max_minutes: float
) -> Iterator[tuple[Float[Tensor, "time channels height width"], Tensor, Tensor]]:
    """Training blocks as the model sees them, spread over the recording, cut where they are long."""
    rate = twin.spec.sampling_rate_hz
    # Short enough for ten pieces, so that some can be held out however few the blocks are.
    total = sum(block.stop - block.start for block in session.blocks_in("train"))
    longest = max(min(round(20 * rate), total // 10), round(rate))
    pieces = [
        (start, min(start + longest, block.stop))
        for block in session.blocks_in("train")
        for start in range(block.start, block.stop, longest)
    ]
    allowed = max(round(max_minutes * 60 * rate / max(float(np.mean([b - a for a, b in pieces])), 1.0)), 5)
    every = max(-(-len(pieces) // allowed), 1)
    for start, stop in pieces[::every]:
        frames = torch.from_numpy(session.video(start, stop))
        with torch.no_grad():
            video = twin.adapter(frames.transpose(0, 1)[None].to(twin.behaviour_mean.device))
        counts = torch.from_numpy(session.responses(start, stop))
        valid = torch.from_numpy(session.valid(start, stop)).float()
        yield video[0].transpose(0, 1).cpu(), counts, valid


def _lags(twin: Twin, sample: _Sample) -> int:
    return max(round(0.2 * twin.spec.sampling_rate_hz / sample.step), 1)


def _contrast_energy(
    frames: Float[Tensor, "time channels height width"], cell: int
) -> Float[Tensor, "time rows columns"]:
    """Local r.m.s. gradient in square cells of `cell` pixels."""
    down = functional.pad(frames.diff(dim=2), (0, 0, 0, 1))
    across = functional.pad(frames.diff(dim=3), (0, 1))
    square = (down.square() + across.square()).sum(1, keepdim=True)
    return functional.avg_pool2d(square, cell, ceil_mode=True)[:, 0].sqrt()


def _correlation(x: Float[Tensor, "time units"], y: Float[Tensor, "time units"]) -> Float[Tensor, " units"]:
    x, y = x - x.mean(0), y - y.mean(0)
    return (x * y).sum(0) / (x.square().sum(0) * y.square().sum(0)).sqrt().clamp_min(1e-12)


def _set_filters(
    twin: Twin, session: str, linear: LowRankLinear, sample: _Sample, regression: _Regression
) -> None:
    """The `rank` strongest spatial components of each unit's filter, and what the likelihood makes of them."""
    spec = twin.spec
    _, _, right = torch.linalg.svd(regression.weights, full_matrices=False)
    spatial = fit_filters(
        linear,
        twin.output(session),
        spatial=right[:, : linear.rank],
        window=_local_window(regression.weights, sample.pixel_grid),
        frames=sample.pixels,
        responses=sample.responses,
        fitted=sample.usable * (1 - sample.held_out),
        tested=sample.usable * sample.held_out,
        step=sample.step,
    )
    channels, rows, columns = sample.pixel_grid
    maps = spatial.reshape(-1, channels, rows, columns)
    if (rows, columns) != (spec.height, spec.width):
        shrink_area = (spec.height / rows) * (spec.width / columns)
        maps = functional.interpolate(maps, (spec.height, spec.width)) / shrink_area
    with torch.no_grad():
        maps = maps.view(*spatial.shape[:2], -1).to(linear.spatial)
        linear.spatial[:, : spatial.shape[1]] = maps / linear.spatial_scale


def _centres(
    twin: Twin, sample: _Sample, pixels: _Regression, energy: _Regression
) -> Float[Tensor, "units 2"]:
    """Centre of mass of the better of the two filters' power around its peak, in pixels of the stimulus."""
    channels, rows, columns = sample.pixel_grid
    linear_power = pixels.weights.square().sum(1).view(-1, channels, rows, columns).sum(1)
    energy_power = energy.weights.clamp_min(0).square().sum(1).view(-1, *sample.energy_grid)
    height, width = twin.spec.height, twin.spec.width
    linear_centre = _peak(linear_power, height, width)
    energy_centre = _peak(energy_power, height, width)
    return torch.where((pixels.score > energy.score)[:, None], linear_centre, energy_centre)


def _local_window(
    weights: Float[Tensor, "units lags features"], grid: tuple[int, int, int]
) -> Float[Tensor, "units features"]:
    """A Gaussian around each filter's peak: far from it, ridge weights are mostly noise."""
    channels, rows, columns = grid
    power = weights.square().sum(1).view(-1, *grid).sum(1)
    centre = _peak(power, rows, columns)
    r = torch.arange(rows) + 0.5 - centre[:, :1]
    c = torch.arange(columns) + 0.5 - centre[:, 1:]
    distance = r.square()[:, :, None] + c.square()[:, None, :]
    window = torch.exp(-distance / (2 * (WINDOW * rows) ** 2))
    return window.flatten(1).repeat(1, channels)


def _peak(power: Float[Tensor, "units rows columns"], height: int, width: int) -> Float[Tensor, "units 2"]:
    rows, columns = power.shape[1:]
    sigma = max(rows / 12, 0.5)
    radius = int(3 * sigma) + 1
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    smooth = functional.conv2d(power[:, None], kernel[None, None, :, None], padding=(radius, 0))
    smooth = functional.conv2d(smooth, kernel[None, None, None], padding=(0, radius))[:, 0]
    peak = smooth.flatten(1).argmax(1)
    row, column = peak // columns, peak % columns
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
