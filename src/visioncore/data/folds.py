"""What is tested where shares do not say it: one fold of several, or kinds of stimulus that nothing is trained on."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from visioncore.config import Config
from visioncore.data.split_groups import Stretch, has_repeats, linked, names_of
from visioncore.errors import DataError
from visioncore.recording import Trial

Trials = Mapping[str, tuple[Trial, ...]]
Kinds = Annotated[tuple[str, ...], Field(min_length=1)]

_logger = logging.getLogger(__name__)


class ByKind(Config):
    """Kinds of stimulus that train (and select: validation is drawn from them), and others that test."""

    train: Kinds
    test: Kinds

    @model_validator(mode="after")
    def _are_apart(self) -> "ByKind":
        if both := sorted(set(self.train) & set(self.test)):
            raise ValueError(f"kind '{both[0]}' both trains and tests; give it once")
        return self


def tested_fold(stretches: list[Stretch], fold: int, folds: int, seed: int) -> list[Stretch]:
    """The stretches, those of this fold in the test split. Each is of one fold, whichever is asked for.

    What shares a stimulus or a group, in all sessions, is of one fold. Folds are filled by bins, evenly in every
    session; time blocks next to each other are of different ones, so that each fold lies all over the session.

    Raises:
        DataError: there is less to deal out than there are folds.
    """
    groups = linked(stretches)
    alone = [[stretch] for stretch in stretches if not names_of(stretch)]
    if len(groups) + len(alone) < folds:
        raise DataError(
            f"split.folds is {folds}, and the recording has {len(groups)} stimuli (by stimulus_id and group) and "
            f"{len(alone)} time blocks or trials without; give fewer folds, or make split.block_s shorter"
        )
    bins = {session: np.zeros(folds, np.int64) for session in dict.fromkeys(s.session for s in stretches)}
    shuffled = [groups[i] for i in np.random.default_rng([seed, 2]).permutation(len(groups))]
    # Repeats are dealt out first, so that each fold has some; then large ones before those that even them out.
    shuffled.sort(key=lambda group: (not has_repeats(group), -_bins(group)))
    repeats = np.zeros(folds, np.int64)
    tested: set[tuple[str, int]] = set()

    def deal(group: list[Stretch], number: int) -> None:
        for stretch in group:
            bins[stretch.session][number] += stretch.n_bins
        if number == fold:
            tested.update((stretch.session, stretch.start) for stretch in group)

    for group in shuffled:
        shown = has_repeats(group)
        own_bins = np.sum([bins[session] for session in {stretch.session for stretch in group}], axis=0)
        all_bins = np.sum(list(bins.values()), axis=0)
        order = np.lexsort((all_bins, own_bins, repeats * shown))
        number = int(order[0])
        repeats[number] += shown
        deal(group, number)
    for session in dict.fromkeys(stretch.session for (stretch,) in alone):
        own = sorted((group for group in alone if group[0].session == session), key=lambda g: g[0].start)
        rng = np.random.default_rng([seed, 3, *session.encode()])
        for first in range(0, len(own), folds):
            some = own[first : first + folds]
            # Of the last few, where there are less than folds, the emptiest folds take one each.
            order = rng.permutation(folds) if len(some) == folds else np.argsort(bins[session], kind="stable")
            for group, number in zip(some, order.tolist(), strict=False):
                deal(group, number)
    return [
        replace(stretch, split="test" if (stretch.session, stretch.start) in tested else None)
        for stretch in stretches
    ]


def without_splits(trials: Trials) -> dict[str, tuple[Trial, ...]]:
    """The trials as if the source had not divided them: over all folds, every one is tested."""
    return {session: tuple(replace(trial, split=None) for trial in own) for session, own in trials.items()}


def divided_by_kind(trials: Trials, kinds: ByKind) -> dict[str, tuple[Trial, ...]]:
    """The trials of these kinds, those of the test kinds given to the test split.

    Other kinds are left out, and so is of the kinds that train what the source tests on, and what shares a stimulus or
    a group with a trial that is tested.

    Raises:
        DataError: no trial is of one of these kinds.
    """
    found = {trial.kind for own in trials.values() for trial in own}
    for kind in (*kinds.train, *kinds.test):
        if kind not in found:
            raise DataError(
                f"split.by_kind names kind '{kind}', and the trials are of: {', '.join(sorted(found))} (a preparation "
                "step trial_kinds takes kinds from a column of the trials)"
            )
    stretches = [
        Stretch(session, trial.start, trial.stop, trial, None)
        for session, own in trials.items()
        for trial in own
    ]
    tested = {
        (stretch.session, stretch.start)
        for group in linked(stretches)
        if any(stretch.trial.kind in kinds.test for stretch in group)
        for stretch in group
    }
    divided: dict[str, tuple[Trial, ...]] = {}
    shared = 0
    for session, own in trials.items():
        kept: list[Trial] = []
        for trial in own:
            if trial.kind in kinds.test:
                kept.append(replace(trial, split="test"))
            elif trial.kind in kinds.train and trial.split != "test":
                if (session, trial.start) in tested:
                    shared += 1
                else:
                    kept.append(trial)
        divided[session] = tuple(kept)
    if shared:
        _logger.warning(
            "split.by_kind: %d trials of the kinds that train share a stimulus_id or a group with trials that are "
            "tested, and are left out",
            shared,
        )
    return divided


def _bins(group: list[Stretch]) -> int:
    return sum(stretch.n_bins for stretch in group)
