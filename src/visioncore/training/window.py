"""How far back the linear path has to see: found from the data, where the model's YAML says `window_s: auto`."""

import logging
from collections.abc import Iterator, Sequence
from statistics import median

import torch
from jaxtyping import Float
from torch import Tensor

from visioncore.data import RecordingStore
from visioncore.model import TwinConfig
from visioncore.model.cores import NoCoreConfig
from visioncore.model.linear import SHORTEST_WINDOW_S, LowRankLinearConfig
from visioncore.model.modulators import NoModulatorConfig
from visioncore.spec import DataSpec
from visioncore.training.experiment import Experiment, InitialiseConfig
from visioncore.training.plan import RunPlan
from visioncore.training.ridge import MomentNumbers, cuts
from visioncore.training.sample import Grain, Sample, take_sample

logger = logging.getLogger(__name__)

WINDOWS_S = (SHORTEST_WINDOW_S, 0.3, 0.4, 0.5, 0.7, 1.0)
MOST_OF_A_BLOCK = 0.25
"""A window takes no more of a block of usual length: its first bins have no full past, and are not fitted on."""
MOST_MINUTES = 8.0
"""Of each session, that are read for it."""
RIDGES = (0.1, 1.0)
LEAST_SCORE = 0.1
"""Correlation with held-out responses of a unit that filters drive; of the others it is chance, and says nothing."""
LEAST_GAIN = 0.01
"""By what share a longer window must raise it, in the mean of these units: of twenty, one always gains by chance."""


def with_window(experiment: Experiment, store: RecordingStore, plan: RunPlan | None) -> TwinConfig:
    """The model with its linear path's window: as the YAML or another twin says, as the run began, or from the data."""
    if experiment.training.transfer is not None:
        return experiment.model
    if plan is not None and plan.window_s is not None:
        return experiment.model.with_window(plan.window_s)
    return with_window_from_data(experiment.model, store, experiment.training.initialise)


def with_window_from_data(model: TwinConfig, store: RecordingStore, config: InitialiseConfig) -> TwinConfig:
    """`model`, with the first window that is hardly better than the one before; as it is where it names a window.

    That one, since regression pays in noise for every lag, and the path's smooth time courses do not: they still gain.
    """
    linear = model.linear
    if not isinstance(linear, LowRankLinearConfig) or linear.window_s != "auto":
        return model
    alone = model.model_copy(
        update={
            "convnet": NoCoreConfig(),
            "modulator": NoModulatorConfig(),
            "linear": linear.model_copy(update={"gain": False}),
        }
    )
    with torch.random.fork_rng(devices=[]):
        twin = alone.build(store.spec)
    candidates = windows_of(store)
    found = SHORTEST_WINDOW_S
    for id_, session in store.sessions.items():
        if len(candidates) == 1 or not config.linear:
            break
        if not session.unit_ids:
            continue
        traces = session.trace_statistics() if store.spec.response_kind == "trace" else None
        minutes = min(config.max_minutes_per_session, MOST_MINUTES)
        sample = take_sample(twin, session, traces, minutes, candidates[-1])
        if sample is None:
            continue
        groups = [_scores(some, candidates, store.spec, linear.rank) for _, some in sample.groups()]
        # Of several groups each is done with before the next one: what it holds is large.
        of_windows = zip(*(groups if len(groups) == 1 else map(list, groups)), strict=True)
        own, best = SHORTEST_WINDOW_S, None
        for window_s, of_groups in zip(candidates, of_windows, strict=False):
            scores = torch.cat(of_groups)
            if best is not None:
                driven = torch.maximum(scores, best) > LEAST_SCORE
                own = window_s
                if not scores[driven].sum() > (1 + LEAST_GAIN) * best[driven].sum():
                    break
            best = scores
        logger.info("session %s: its units look back %.1f s", id_, own)
        found = max(found, own)
    return model.with_window(found)


def windows_of(store: RecordingStore) -> list[float]:
    """The windows that blocks are long enough for, in seconds."""
    longest_s = MOST_OF_A_BLOCK * median(
        block.n_bins / store.spec.bins_per_s
        for session in store.sessions.values()
        for block in session.blocks_in("train")
    )
    return [w for w in WINDOWS_S if w <= max(longest_s, SHORTEST_WINDOW_S)]


def _scores(
    sample: Sample, windows_s: Sequence[float], spec: DataSpec, rank: int
) -> Iterator[Float[Tensor, " units"]]:
    """What filters of each window predict; nothing where the stimulus never changes."""
    moments = sample.of_pixels()
    if moments is None:
        return
    for window_s in windows_s:
        n_lags = max(round(window_s * spec.bins_per_s / sample.grain.step), 1)
        yield torch.stack(
            [
                moments.score(cut, rank)
                for ridge in RIDGES
                for cut, _ in cuts(moments.solve(ridge, n_lags), moments.grid)
            ]
        ).amax(0)


def window_numbers(
    spec: DataSpec, n_units: int, train_bins: int, longest_s: float, rank: int, config: InitialiseConfig
) -> int:
    """The most float32 numbers that finding the window holds for a session; none where there is one to choose."""
    if longest_s <= SHORTEST_WINDOW_S:
        return 0
    grain = Grain.of(spec, longest_s)
    bins = grain.bins(spec, train_bins, min(config.max_minutes_per_session, MOST_MINUTES))
    sample = grain.numbers(bins, n_units)
    numbers = MomentNumbers.of(bins, grain.pixels, grain.lags, min(n_units, grain.units_at_once), rank)
    joined = sample - bins * (grain.pixels + grain.cells)
    return max(sample, joined + numbers.made, joined + numbers.held + numbers.solved)
