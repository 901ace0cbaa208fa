"""Where training starts: mean rates, linear filters in closed form, and readout positions, all from the training split.

Filters: ridge regression of the responses on the recent frames (`ridge.py`). Its strongest spatial components are where
the likelihood starts from (`glm.py`), which also tells which units no filter drives.

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
from visioncore.data.trace_statistics import TraceStatistics
from visioncore.model import Twin
from visioncore.model.linear import LowRankLinear
from visioncore.model.outputs import RateOutput
from visioncore.model.readouts import DynamicGaussianReadout
from visioncore.training.experiment import InitialiseConfig
from visioncore.training.glm import fit_filters
from visioncore.training.ridge import Regression, local_window, peak

logger = logging.getLogger(__name__)

ESTIMATE_RATE_HZ = 60.0
"""Frames are averaged, and responses summed, down to about this rate for the estimates."""
MAX_PIXELS = 2500
"""Larger frames are averaged down to about this many pixels for the filters."""
ENERGY_CELLS = 160
"""About how many places contrast energy is measured at."""
FEWEST_PIECES = 5
"""One in five stretches of recording is held out; with fewer there is none."""


def initialise(twin: Twin, store: RecordingStore, config: InitialiseConfig) -> None:
    """Set rates, filters and positions of `twin`, in place; deterministic."""
    for id_, session in store.sessions.items():
        traces = session.trace_statistics() if store.spec.response_kind == "trace" else None
        _start_at_the_mean(twin.output(id_), session, traces)
        linear = twin.linear(id_)
        wants_filters = config.linear and isinstance(linear, LowRankLinear)
        wants_positions = config.positions and twin.has_positions
        if not (wants_filters or wants_positions):
            continue
        sample = _sample(twin, session, traces, config.max_minutes_per_session)
        if sample is None:
            logger.warning(
                "session %s: too short or too broken up to estimate filters from; mean rates only", id_
            )
            continue
        pixels = sample.regression(sample.pixels, sample.pixel_grid)
        energy = sample.regression(sample.energy, (1, *sample.energy_grid)) if wants_positions else None
        if wants_filters and pixels is not None:
            assert isinstance(linear, LowRankLinear)
            _set_filters(twin, id_, linear, sample, pixels)
        if wants_positions and (pixels is None or energy is None):
            logger.warning(
                "session %s: its frames have no contrast within them, so nothing tells where units look; "
                "readout positions start in the middle of the field",
                id_,
            )
        elif wants_positions:
            assert pixels is not None
            assert energy is not None
            readout = twin.readout(id_)
            assert isinstance(readout, DynamicGaussianReadout)
            readout.place(_centres(twin, sample, pixels, energy))
        logger.info("session %s: initialised from %.1f minutes", id_, sample.minutes)


@dataclass
class _Sample:
    """Training blocks at the estimates' rate, concatenated."""

    pixels: Float[Tensor, "time pixels"]
    pixel_grid: tuple[int, int, int]
    energy: Float[Tensor, "time cells"]
    energy_grid: tuple[int, int]
    responses: Float[Tensor, "time units"]
    fitted: Float[Tensor, "time some"]
    """1 for bins that estimates are fitted on; one column where it is the same for all units, else one for each."""
    tested: Float[Tensor, "time some"]
    """1 for bins that they are judged by."""
    step: int
    lags: int
    minutes: float

    def regression(
        self, features: Float[Tensor, "time features"], grid: tuple[int, int, int]
    ) -> Regression | None:
        return Regression.fit(features, grid, self.lags, self.responses, self.fitted, self.tested)


def _start_at_the_mean(output: RateOutput, session: SessionStore, traces: TraceStatistics | None) -> None:
    mean = torch.from_numpy(session.train_mean if traces is None else traces.mean).float()
    std = torch.ones_like(mean) if traces is None else torch.from_numpy(traces.std).float()
    output.initialise(mean, std)


def _sample(
    twin: Twin, session: SessionStore, traces: TraceStatistics | None, max_minutes: float
) -> _Sample | None:
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
        if traces is not None:
            counts = counts.clamp(*(torch.from_numpy(end).float() for end in (traces.low, traces.high)))
        responses.append((counts * valid)[:n].unflatten(0, (-1, step)).sum(1))
        held_out.append(torch.full((n // step, 1), float(len(held_out) % 5 == 4)))
        good = valid[:n].unflatten(0, (-1, step)).amin(1)
        good[:lags] = 0
        usable.append(good)
        bins += n
    if len(pixels) < FEWEST_PIECES:
        return None
    _, channels, rows, columns = small.shape
    height, width = slow.shape[-2:]
    held, good = torch.cat(held_out), _one_column_where_equal(torch.cat(usable))
    return _Sample(
        pixels=torch.cat(pixels),
        pixel_grid=(channels, rows, columns),
        energy=torch.cat([e.flatten(1) for e in energies]),
        energy_grid=(-(-height // cell), -(-width // cell)),
        responses=torch.cat(responses),
        fitted=good * (1 - held),
        tested=good * held,
        step=step,
        lags=lags,
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


def _one_column_where_equal(mask: Float[Tensor, "time units"]) -> Float[Tensor, "time some"]:
    """A mask that all units share once instead of per unit: of 8,000 units it would be as large as their responses."""
    return mask[:, :1] if bool((mask == mask[:, :1]).all()) else mask


def _contrast_energy(
    frames: Float[Tensor, "time channels height width"], cell: int
) -> Float[Tensor, "time rows columns"]:
    """Local r.m.s. gradient in square cells of `cell` pixels."""
    down = functional.pad(frames.diff(dim=2), (0, 0, 0, 1))
    across = functional.pad(frames.diff(dim=3), (0, 1))
    square = (down.square() + across.square()).sum(1, keepdim=True)
    return functional.avg_pool2d(square, cell, ceil_mode=True)[:, 0].sqrt()


def _set_filters(
    twin: Twin, session: str, linear: LowRankLinear, sample: _Sample, regression: Regression
) -> None:
    """The `rank` strongest spatial components of each unit's filter, and what the likelihood makes of them."""
    spec = twin.spec
    _, _, right = torch.linalg.svd(regression.weights, full_matrices=False)
    spatial = fit_filters(
        linear,
        twin.output(session),
        spatial=right[:, : linear.rank],
        window=local_window(regression.weights, sample.pixel_grid),
        frames=sample.pixels,
        responses=sample.responses,
        fitted=sample.fitted,
        tested=sample.tested,
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


def _centres(twin: Twin, sample: _Sample, pixels: Regression, energy: Regression) -> Float[Tensor, "units 2"]:
    """Centre of mass of the better of the two filters' power around its peak, in pixels of the stimulus."""
    channels, rows, columns = sample.pixel_grid
    linear_power = pixels.weights.square().sum(1).view(-1, channels, rows, columns).sum(1)
    energy_power = energy.weights.clamp_min(0).square().sum(1).view(-1, *sample.energy_grid)
    height, width = twin.spec.height, twin.spec.width
    linear_centre = peak(linear_power, height, width)
    energy_centre = peak(energy_power, height, width)
    return torch.where((pixels.score > energy.score)[:, None], linear_centre, energy_centre)
