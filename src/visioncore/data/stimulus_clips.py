"""Long stimuli cut into clips, alike in each repeat: so that one part of a film trains and another tests."""

import logging
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

from visioncore.data.split_groups import Stretch

_logger = logging.getLogger(__name__)


def cut_stimuli(stretches: list[Stretch], block_bins: int) -> list[Stretch]:
    """A long stimulus as stretches of about `block_bins` that begin at the same frames in each of its repeats.

    A clip has an id of its own, made of the stimulus and its bins. A trial that shows a part of such a stimulus (its
    `group` is the stimulus) is left out: it cannot be told which clips it shows.
    """
    n_clips, longest = _lengths(stretches, block_bins)
    found, left_out = [], 0
    for stretch in stretches:
        trial = stretch.trial
        if trial.group in n_clips:
            left_out += 1
            continue
        if trial.stimulus_id not in n_clips:
            found.append(stretch)
            continue
        name = trial.stimulus_id
        edges = [longest[name] * k // n_clips[name] for k in range(n_clips[name] + 1)]
        for start, stop in pairwise(edges):
            end = min(trial.start + stop, trial.stop)
            if trial.start + start < end:
                clip = replace(trial, stimulus_id=f"{name}, bins {start} to {stop}", group=None)
                found.append(Stretch(stretch.session, trial.start + start, end, clip, None))
    if left_out:
        _logger.warning(
            "%d trials that show a part of a stimulus that is cut into clips are left out", left_out
        )
    return found


def _lengths(stretches: list[Stretch], block_bins: int) -> tuple[dict[str, int], dict[str, int]]:
    """For each stimulus that is cut: how many clips it has, and how many bins its longest repeat."""
    longest: dict[str, int] = defaultdict(int)
    kept_whole = set()
    for stretch in stretches:
        trial = stretch.trial
        if trial.stimulus_id is None:
            continue
        longest[trial.stimulus_id] = max(longest[trial.stimulus_id], trial.stop - trial.start)
        if trial.split is not None or trial.group is not None:
            kept_whole.add(trial.stimulus_id)
    n_clips = {
        name: round(n_bins / block_bins)
        for name, n_bins in longest.items()
        if name not in kept_whole and round(n_bins / block_bins) > 1
    }
    return n_clips, dict(longest)
