"""CutMix for video and responses: a box of each clip, at all its times, comes from another clip of its session.

Source: Yun et al. 2019, algorithm A1 with α = 1: the box's area is uniform, its centre is, and what hangs over the
edge is cut off. Responses and behaviour are mixed in proportion to area, as by DwiseNeuro (Baikulov 2023, the winner
of Sensorium).

The limit of that: a unit sees a small part of the frame, so a box that covers a third of the frame holds all or nothing
of its receptive field, and a third of the other response is wrong either way. Targets are right on average over the
field, not for each unit: they regularise as smoothed labels do. Time is never cut, so that all of a unit's memory is of
one mixture. Counts become fractions, for which the Poisson loss still has its minimum at the mixed rate.
"""

from dataclasses import replace

import numpy as np
import torch

from visioncore.data import Batch, SessionClips


def cutmix(batch: Batch, probability: float, rng: np.random.Generator) -> Batch:
    """The batch, or with `probability` one with a box pasted into every clip; a lone clip of a session stays."""
    if rng.random() >= probability:
        return batch
    return tuple(part if len(part.starts) == 1 else _mixed(part, rng) for part in batch)


def _mixed(part: SessionClips, rng: np.random.Generator) -> SessionClips:
    n_clips, height, width = len(part.starts), *part.video.shape[-2:]
    # A turn instead of a permutation: none is mixed with itself. The order of clips is random anyway.
    turn = int(rng.integers(1, n_clips))
    rows, columns = _box(height, width, rng)
    share = (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    video = part.video.clone()
    video[..., rows, columns] = part.video.roll(turn, 0)[..., rows, columns]
    behaviour = part.behaviour
    return replace(
        part,
        video=video,
        behaviour=None if behaviour is None else torch.lerp(behaviour, behaviour.roll(turn, 0), share),
        responses=torch.lerp(part.responses, part.responses.roll(turn, 0), share),
        valid=part.valid & part.valid.roll(turn, 0),
        lengths=tuple(
            min(pair) for pair in zip(part.lengths, np.roll(part.lengths, turn).tolist(), strict=True)
        ),
    )


def _box(height: int, width: int, rng: np.random.Generator) -> tuple[slice, slice]:
    side = rng.random() ** 0.5
    edges = []
    for size in (height, width):
        centre, half = rng.integers(size), round(size * side) // 2
        edges.append(slice(int(max(centre - half, 0)), int(min(centre + half, size))))
    return edges[0], edges[1]
