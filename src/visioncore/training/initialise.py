"""Where training starts: mean rates, linear filters in closed form, and readout positions, all from the training split.

Filters: ridge regression of the responses on the recent frames (`ridge.py`). Its strongest spatial components are where
the likelihood starts from (`glm.py`), which also tells which units no filter drives.

Positions: the same regression on local contrast energy, which also drives cells that have no linear filter.
"""

import logging
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from visioncore.data import RecordingStore, SessionStore
from visioncore.data.trace_statistics import TraceStatistics
from visioncore.model import Twin
from visioncore.model.linear import SHORTEST_WINDOW_S, LowRankLinear
from visioncore.model.of_units import of_units
from visioncore.model.outputs import CountOutput, RateOutput
from visioncore.spec import Sampling
from visioncore.training.experiment import InitialiseConfig
from visioncore.training.glm import fit_filters, fit_numbers
from visioncore.training.kept_estimates import Estimates, KeptEstimates
from visioncore.training.ridge import WINDOWS, MomentNumbers, Regression, components, peak
from visioncore.training.sample import Grain, Sample, take_sample

logger = logging.getLogger(__name__)


def initialise(
    twin: Twin, store: RecordingStore, config: InitialiseConfig, keep_in: Path | None = None
) -> None:
    """Set rates, filters and positions of `twin`, in place; deterministic.

    Args:
        keep_in: a folder that keeps estimates for other trainings, and may have them from others.
    """
    for session in store.sessions.values():
        if session.unit_ids:
            # What is held of a session ends with it.
            _initialise_session(twin, session, config, keep_in)


def _initialise_session(
    twin: Twin, session: SessionStore, config: InitialiseConfig, keep_in: Path | None
) -> None:
    id_ = session.id
    linear, readout = twin.heads[id_].linear, twin.placed_readout(id_) if config.positions else None
    wants_filters = config.linear and isinstance(linear, LowRankLinear)
    window_s = linear.window_s if isinstance(linear, LowRankLinear) else SHORTEST_WINDOW_S
    wants_any = wants_filters or readout is not None
    kept = KeptEstimates.of(keep_in, twin, session, config) if wants_any else None
    found = None if kept is None else kept.read()
    if found is None:
        traces = session.trace_statistics() if twin.spec.response_kind == "trace" else None
        _start_at_the_mean(twin.heads[id_].output, session, traces)
        if not wants_any:
            return
        sample = take_sample(twin, session, traces, config.max_minutes_per_session, window_s)
        if sample is None:
            logger.warning(
                "session %s: too short or too broken up to estimate filters from; mean rates only", id_
            )
            return
        found = _fitted(twin, id_, sample, filters=wants_filters, positions=readout is not None)
        if kept is not None:
            kept.write(found)
    if found.n_cut_off:
        logger.warning(
            "session %s: the filters of %d of %d units are cut off: their oldest lags, %.2g s back, still help to "
            "predict; a longer model.linear.params.window_s sees more",
            id_,
            found.n_cut_off,
            len(session.unit_ids),
            window_s,
        )
    if readout is not None and found.centres is None:
        logger.warning(
            "session %s: its frames have no contrast within them, so nothing tells where units look; "
            "readout positions start in the middle of the field",
            id_,
        )
    elif readout is not None and found.centres is not None:
        readout.place(found.centres)
    logger.info("session %s: initialised from %.1f minutes", id_, found.minutes)


def start_numbers(twin: Twin, session: str, train_bins: int, config: InitialiseConfig) -> tuple[int, int]:
    """The most float32 numbers that `initialise` holds for a session: beside the likelihood, and for that.

    Args:
        train_bins: how much the session has to train on.
    """
    head, spec = twin.heads[session], twin.spec
    linear = head.linear if config.linear and isinstance(head.linear, LowRankLinear) else None
    positions = config.positions and twin.placed_readout(session) is not None
    n_units = len(twin.unit_ids(session))
    if not n_units or not (linear is not None or positions):
        return 0, 0
    window_s = head.linear.window_s if isinstance(head.linear, LowRankLinear) else SHORTEST_WINDOW_S
    grain = Grain.of(spec, window_s)
    bins, units = (
        grain.bins(spec, train_bins, config.max_minutes_per_session),
        min(n_units, grain.units_at_once),
    )
    rank = head.linear.rank if isinstance(head.linear, LowRankLinear) else 2
    sample = grain.numbers(bins, n_units)
    stimulus = bins * (grain.pixels + grain.cells)
    pixels = MomentNumbers.of(bins, grain.pixels, grain.lags, units, rank)
    energy = (
        MomentNumbers.of(bins, grain.cells, grain.energy_lags, units, grain.energy_lags)
        if positions
        else None
    )
    held = sample - stimulus + pixels.held + (0 if energy is None else energy.held)
    most = [sample, sample - stimulus + pixels.made, held + pixels.solved]
    fit = 0
    if linear is not None:
        counts = isinstance(head.output, CountOutput)
        fit = fit_numbers(bins, grain.pixels, units, rank, counts=counts, bends=linear.bend is not None)
        most.append(held + pixels.kept + fit)
    if energy is not None:
        most += [held + energy.made, held + pixels.kept + energy.solved]
    return max(most), fit


def _fitted(twin: Twin, session: str, sample: Sample, *, filters: bool, positions: bool) -> Estimates:
    """Sets a session's filters."""
    head, frame, n_units = twin.heads[session], twin.spec.sampling, sample.responses.shape[1]
    rank = head.linear.rank if isinstance(head.linear, LowRankLinear) else 2
    n_components, n_cut_off, centres = 0, 0, []
    for units, some in sample.groups():
        of_pixels, of_energy = some.of_pixels(), some.of_energy() if positions else None
        if of_pixels is None:
            break
        pixels = Regression.fit(of_pixels, rank)
        if filters and isinstance(head.linear, LowRankLinear):
            linear, output = of_units(head.linear, units, n_units), of_units(head.output, units, n_units)
            n_components, cut_off = _set_filters(frame, linear, output, some, pixels)
            n_cut_off += cut_off
        if of_energy is not None:
            # Energy is positive and its cells are coarse: one place, one wide window, and all the lags there are.
            energy = Regression.fit(of_energy, sample.grain.lags, WINDOWS[-1:], places=1)
            centres.append(_centres(frame, sample, pixels, energy))
    return Estimates(n_components, n_cut_off, sample.minutes, torch.cat(centres) if centres else None)


def _start_at_the_mean(output: RateOutput, session: SessionStore, traces: TraceStatistics | None) -> None:
    mean = torch.from_numpy(session.train_mean if traces is None else traces.mean).float()
    std = torch.ones_like(mean) if traces is None else torch.from_numpy(traces.std).float()
    output.initialise(mean, std)


def _set_filters(
    frame: Sampling, linear: LowRankLinear, output: RateOutput, sample: Sample, regression: Regression
) -> tuple[int, int]:
    """The `rank` strongest spatial components of each unit's filter, and what the likelihood makes of them.

    Returns how many there are, which fewer lags bound, and how many units have filters that are cut off.
    """
    found = fit_filters(
        linear,
        output,
        spatial=components(regression.weights, linear.rank)[1],
        window=regression.window,
        frames=sample.pixels,
        responses=sample.responses,
        fitted=sample.fitted,
        tested=sample.tested,
        step=sample.grain.step,
    )
    spatial = found.spatial
    channels, rows, columns = sample.pixel_grid
    maps = spatial.reshape(-1, channels, rows, columns)
    if (rows, columns) != (frame.height, frame.width):
        shrink_area = (frame.height / rows) * (frame.width / columns)
        maps = functional.interpolate(maps, (frame.height, frame.width)) / shrink_area
    with torch.no_grad():
        maps = maps.view(*spatial.shape[:2], -1).to(linear.spatial)
        linear.spatial[:, : spatial.shape[1]] = maps / linear.spatial_scale
    return spatial.shape[1], int(found.cut_off.sum())


def _centres(
    frame: Sampling, sample: Sample, pixels: Regression, energy: Regression
) -> Float[Tensor, "units 2"]:
    """Centre of mass of the better of the two filters' power around its peak, in pixels of the stimulus."""
    channels, rows, columns = sample.pixel_grid
    linear_power = pixels.weights.square().sum(1).view(-1, channels, rows, columns).sum(1)
    energy_power = energy.weights.clamp_min(0).square().sum(1).view(-1, *sample.energy_grid)
    linear_centre = peak(linear_power, frame.height, frame.width)
    energy_centre = peak(energy_power, frame.height, frame.width)
    return torch.where((pixels.score > energy.score)[:, None], linear_centre, energy_centre)
