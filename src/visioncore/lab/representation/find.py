"""How a population of predicted units represents what it sees, beside the recorded one and a second predictor's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch.nn import functional

from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.evaluation.prediction import BlockPredictor, check_fit
from visioncore.lab.receptive_fields.watched import spread_blocks
from visioncore.lab.representation.measures import (
    Reading,
    alignment,
    alike,
    decodability,
    similarity,
    spectrum,
    thinned_spectrum,
    unit_by_unit,
)
from visioncore.lab.representation.result import Population, Representation, SessionView
from visioncore.lab.rig import Rig
from visioncore.predictor import Predictor

BIN_S = 0.1
"""Responses are summed over bins of this length."""
FITTED_MINUTES = 3.0
"""Of each session's training blocks, on which what is read from responses is fitted."""
CELLS = (3, 4)
"""The frame is cut into so many cells, down and across; what is decoded is of each of them (`TARGETS`)."""
LAGS = 3
"""Bins from a picture to its response, 0 included; the best is chosen."""
Say = Callable[[str, float], None]


def representation(
    rig: Rig,
    store: RecordingStore,
    *,
    other: Predictor | None = None,
    seed: int = 0,
    say: Say = lambda what, share: None,
) -> Representation | None:
    """Of the validation blocks, session by session; None where these or the training blocks are too short.

    Raises:
        DataError: the other predictor does not fit the recording.
    """
    generator = np.random.default_rng(seed)
    if other is not None:
        check_fit(other, store)
    views = []
    for number, session in enumerate(store.sessions[name] for name in rig.sessions if name in store.sessions):
        view = _of_session(rig, session.with_units(rig.unit_ids(session.id)), store, other, generator)
        say("representation", (number + 1) / len(rig.sessions))
        if view is not None:
            views.append(view)
    if not views:
        return None
    return Representation(
        twin_digest=rig.predictor.digest,
        behaviour="as it was recorded with the video",
        other_digest=None if other is None else other.digest,
        bin_s=max(round(BIN_S * rig.display.rate_hz), 1) / rig.display.rate_hz,
        sessions=tuple(views),
    )


@dataclass(frozen=True)
class _Responses:
    """Blocks one after the other: what was recorded, what was predicted, and what was on the screen."""

    recorded: Float32[np.ndarray, "time units"]
    predicted: dict[str, Float32[np.ndarray, "time units"]]
    picture: Float32[np.ndarray, "time targets"]
    stretches: Int[np.ndarray, " time"]

    @classmethod
    def of(
        cls,
        each: Mapping[str, BlockPredictor],
        session: SessionStore,
        blocks: Sequence[Block],
        level: float,
    ) -> "_Responses":
        """Bins in which every unit counts."""
        predicted: dict[str, list[np.ndarray]] = {name: [] for name in each}
        recorded, pictures, stretches = [], [], []
        burn_in, step = each["twin"].burn_in_bins, each["twin"].bins_summed
        number = 0
        for block in blocks:
            found = {name: predict(block) for name, predict in each.items()}
            valid = found["twin"].valid.all(1)
            recorded.append(found["twin"].recorded[valid])
            for name, own in found.items():
                predicted[name].append(own.prediction[valid])
            pictures.append(_picture(session, block, burn_in, step, level)[valid])
            # Where bins in between do not count, another stretch begins.
            breaks = np.cumsum(~valid)[valid]
            stretches.append(number + breaks)
            number += int(breaks.max(initial=0)) + 1
        return cls(
            np.concatenate(recorded),
            {name: np.concatenate(own) for name, own in predicted.items()},
            np.concatenate(pictures),
            np.concatenate(stretches),
        )

    def of_population(self, name: str) -> Float32[np.ndarray, "time units"]:
        """`recorded`, or a predictor's."""
        return self.recorded if name == "recorded" else self.predicted[name]

    def reading(self, name: str) -> Reading:
        """What can be read from it."""
        return Reading(self.of_population(name), self.picture, self.stretches)


def _of_session(
    rig: Rig,
    session: SessionStore,
    store: RecordingStore,
    other: Predictor | None,
    generator: np.random.Generator,
) -> SessionView | None:
    step = max(round(BIN_S * rig.display.rate_hz), 1)
    least = store.burn_in_bins + 2 * LAGS * step
    train, validation = (
        [block for block in session.blocks_in(split) if block.n_bins >= least]
        for split in ("train", "validation")
    )
    if not train or not validation or len(session.unit_ids) < 2:
        return None
    train = spread_blocks(train, rig.display.rate_hz, FITTED_MINUTES)
    predictors = {"twin": rig.during(session, burn_in_bins=store.burn_in_bins, bins_summed=step)}
    if other is not None:
        predictors["other"] = BlockPredictor(
            other, session, burn_in_bins=store.burn_in_bins, bins_summed=step, scale_was_said=True
        )
    # A grey level of a byte, or as small a part of other pixels' range.
    level = (np.mean(rig.display.white) - np.mean(rig.display.black)) / 255
    fitted, seen = (
        _Responses.of(predictors, session, blocks, float(level)) for blocks in (train, validation)
    )
    if min(len(fitted.recorded), len(seen.recorded)) < 10 * LAGS:
        return None
    counts = rig.predictor.spec.response_kind == "counts"
    populations = {}
    for name in ("recorded", *predictors):
        own = seen.of_population(name)
        noisy = name == "recorded" and counts
        populations[name] = Population(
            decoded=decodability(fitted.reading(name), seen.reading(name), LAGS),
            spectrum=thinned_spectrum(own, generator) if noisy else spectrum(own),
            similarity=similarity(own),
        )
    twin, beside = seen.predicted["twin"], seen.predicted.get("other")
    return SessionView(
        session=session.id,
        unit_ids=session.unit_ids,
        populations=populations,
        with_recorded=unit_by_unit(twin, seen.recorded),
        with_other=None if beside is None else unit_by_unit(twin, beside),
        alike={
            name: alike(populations["twin"].similarity, own.similarity)
            for name, own in populations.items()
            if name != "twin"
        },
        alignment=None if beside is None else alignment(twin, beside),
        bins=len(seen.recorded),
    )


def _picture(
    session: SessionStore, block: Block, burn_in_bins: int, step: int, level: float
) -> Float32[np.ndarray, "time targets"]:
    """In each cell of the frame, bin by bin after the burn-in: light, and the logarithms of edges and of change.

    Args:
        level: the smallest difference that counts.
    """
    n = (block.n_bins - burn_in_bins) // step
    start = block.start + burn_in_bins
    video = torch.from_numpy(session.video(start, start + n * step)).float().mean(1)
    slow = video.unflatten(0, (n, step)).mean(1)
    down, across = functional.pad(slow.diff(dim=1), (0, 0, 0, 1)), functional.pad(slow.diff(dim=2), (0, 1))
    edges = (down.square() + across.square()).sqrt()
    change = functional.pad(video.diff(dim=0).abs(), (0, 0, 0, 0, 1, 0)).unflatten(0, (n, step)).mean(1)
    light, edges, change = (
        functional.adaptive_avg_pool2d(values[:, None], CELLS).flatten(1) for values in (slow, edges, change)
    )
    return torch.cat((light, (edges + level).log(), (change + level).log()), dim=1).numpy()
