"""Where training starts: mean rates, linear filters in closed form, and readout positions, all from the training split.

Filters: ridge regression of the responses on the recent frames (`ridge.py`). Its strongest spatial components are where
the likelihood starts from (`glm.py`), which also tells which units no filter drives.

Positions: the same regression on local contrast energy, which also drives cells that have no linear filter.
"""

import logging

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from visioncore.data import RecordingStore, SessionStore
from visioncore.data.trace_statistics import TraceStatistics
from visioncore.model import Twin
from visioncore.model.linear import SHORTEST_WINDOW_S, LowRankLinear
from visioncore.model.outputs import RateOutput
from visioncore.training.experiment import InitialiseConfig
from visioncore.training.glm import fit_filters
from visioncore.training.ridge import WINDOWS, Regression, components, peak
from visioncore.training.sample import Sample, take_sample

logger = logging.getLogger(__name__)


def initialise(twin: Twin, store: RecordingStore, config: InitialiseConfig) -> None:
    """Set rates, filters and positions of `twin`, in place; deterministic."""
    for id_, session in store.sessions.items():
        if not session.unit_ids:
            continue
        traces = session.trace_statistics() if store.spec.response_kind == "trace" else None
        _start_at_the_mean(twin.heads[id_].output, session, traces)
        linear = twin.heads[id_].linear
        wants_filters = config.linear and isinstance(linear, LowRankLinear)
        readout = twin.placed_readout(id_) if config.positions else None
        wants_positions = readout is not None
        if not (wants_filters or wants_positions):
            continue
        window_s = linear.window_s if isinstance(linear, LowRankLinear) else SHORTEST_WINDOW_S
        sample = take_sample(twin, session, traces, config.max_minutes_per_session, window_s)
        if sample is None:
            logger.warning(
                "session %s: too short or too broken up to estimate filters from; mean rates only", id_
            )
            continue
        rank = linear.rank if isinstance(linear, LowRankLinear) else 2
        of_pixels, of_energy = sample.of_pixels(), sample.of_energy() if wants_positions else None
        pixels = None if of_pixels is None else Regression.fit(of_pixels, rank)
        # Energy is positive and its cells are coarse: one place, one wide window, and all the lags there are.
        energy = None if of_energy is None else Regression.fit(of_energy, sample.lags, WINDOWS[-1:], places=1)
        if wants_filters and pixels is not None:
            assert isinstance(linear, LowRankLinear)
            _set_filters(twin, id_, linear, sample, pixels)
        if wants_positions and (pixels is None or energy is None):
            logger.warning(
                "session %s: its frames have no contrast within them, so nothing tells where units look; "
                "readout positions start in the middle of the field",
                id_,
            )
        elif readout is not None:
            assert pixels is not None
            assert energy is not None
            readout.place(_centres(twin, sample, pixels, energy))
        logger.info("session %s: initialised from %.1f minutes", id_, sample.minutes)


def _start_at_the_mean(output: RateOutput, session: SessionStore, traces: TraceStatistics | None) -> None:
    mean = torch.from_numpy(session.train_mean if traces is None else traces.mean).float()
    std = torch.ones_like(mean) if traces is None else torch.from_numpy(traces.std).float()
    output.initialise(mean, std)


def _set_filters(
    twin: Twin, session: str, linear: LowRankLinear, sample: Sample, regression: Regression
) -> None:
    """The `rank` strongest spatial components of each unit's filter, and what the likelihood makes of them."""
    spec = twin.spec
    found = fit_filters(
        linear,
        twin.heads[session].output,
        spatial=components(regression.weights, linear.rank)[1],
        window=regression.window,
        frames=sample.pixels,
        responses=sample.responses,
        fitted=sample.fitted,
        tested=sample.tested,
        step=sample.step,
    )
    if n_cut_off := int(found.cut_off.sum()):
        logger.warning(
            "session %s: the filters of %d of %d units are cut off: their oldest lags, %.2g s back, still help to "
            "predict; a longer model.linear.params.window_s sees more",
            session,
            n_cut_off,
            linear.n_units,
            linear.window_s,
        )
    spatial = found.spatial
    channels, rows, columns = sample.pixel_grid
    maps = spatial.reshape(-1, channels, rows, columns)
    if (rows, columns) != (spec.sampling.height, spec.sampling.width):
        shrink_area = (spec.sampling.height / rows) * (spec.sampling.width / columns)
        maps = functional.interpolate(maps, (spec.sampling.height, spec.sampling.width)) / shrink_area
    with torch.no_grad():
        maps = maps.view(*spatial.shape[:2], -1).to(linear.spatial)
        linear.spatial[:, : spatial.shape[1]] = maps / linear.spatial_scale


def _centres(twin: Twin, sample: Sample, pixels: Regression, energy: Regression) -> Float[Tensor, "units 2"]:
    """Centre of mass of the better of the two filters' power around its peak, in pixels of the stimulus."""
    channels, rows, columns = sample.pixel_grid
    linear_power = pixels.weights.square().sum(1).view(-1, channels, rows, columns).sum(1)
    energy_power = energy.weights.clamp_min(0).square().sum(1).view(-1, *sample.energy_grid)
    height, width = twin.spec.sampling.height, twin.spec.sampling.width
    linear_centre = peak(linear_power, height, width)
    energy_centre = peak(energy_power, height, width)
    return torch.where((pixels.score > energy.score)[:, None], linear_centre, energy_centre)
