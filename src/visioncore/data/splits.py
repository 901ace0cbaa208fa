"""Which bins train, select and test: trials or time blocks, with stimuli and photographs never in two splits.

The rules and their reasons stand in docs/decisions/0004-splits-and-burn-in.md.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    model_serializer,
    model_validator,
)

from visioncore.config import Config
from visioncore.data.folds import ByKind, divided_by_kind, tested_fold, without_splits
from visioncore.data.split_groups import (
    SPLITS,
    Budget,
    Stretch,
    assign_groups,
    fill_empty_splits,
    has_repeats,
    linked,
    names_of,
    require_one_split,
)
from visioncore.data.stimulus_clips import cut_stimuli
from visioncore.errors import DataError
from visioncore.recording import Split, Trial

__all__ = ["GOLDEN", "SPLITS", "Block", "SplitConfig", "assign_blocks", "spread_share"]

TEST_SHARE = 0.2
_logger = logging.getLogger(__name__)


class SplitConfig(Config):
    """How bins without a split of their own are divided."""

    validation: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=TEST_SHARE, gt=0, lt=1)
    """Not where folds or kinds decide what is tested."""
    seed: NonNegativeInt = 0
    block_s: PositiveFloat = 20.0
    split_gap_s: NonNegativeFloat = 1.0
    cut_stimuli: bool = False
    """Cut stimuli longer than `block_s` into clips, alike in each repeat, so that one long film can be divided."""
    fold: NonNegativeInt | None = None
    """Test on this one of `folds`, from 0. Over all of them everything is tested once, whatever splits are given."""
    folds: int | None = Field(default=None, ge=2)
    by_kind: ByKind | None = None
    """Train on some kinds of stimulus and test on others."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked_for(self, whole: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """As before there were folds, so that recordings are called what they were."""
        dumped = whole(self)
        return {key: value for key, value in dumped.items() if value is not None and value is not False}

    @property
    def test_share(self) -> float:
        """Of what is drawn by chance; 0 where folds or kinds decide."""
        return self.test if self.folds is None and self.by_kind is None else 0.0

    @model_validator(mode="after")
    def _says_once_what_is_tested(self) -> "SplitConfig":
        if (self.fold is None) != (self.folds is None):
            raise ValueError("gives one of fold and folds; `{fold: 0, folds: 5}` tests on the first of five")
        if self.fold is not None and self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds}; they are counted from 0")
        if self.folds is not None and self.by_kind is not None:
            raise ValueError("gives both folds and by_kind; give one of them")
        if self.test_share == 0 and self.test != TEST_SHARE:
            raise ValueError("gives both test and folds or by_kind, which say what is tested; leave test out")
        return self

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> "SplitConfig":
        if self.validation + (1 / self.folds if self.folds else self.test_share) >= 1:
            raise ValueError("validation and test leave nothing to train on; together they must stay below 1")
        if self.split_gap_s > self.block_s / 4:
            raise ValueError("split_gap_s is more than a quarter of block_s; make the blocks longer")
        return self


@dataclass(frozen=True)
class Block:
    """Bins [start, stop) of one split without a break: the twin's state starts afresh at `start`."""

    start: int
    stop: int
    split: Split
    stimulus_id: str | None = None
    kind: str = "video"
    group: str | None = None

    @property
    def n_bins(self) -> int:
        """Length of the block."""
        return self.stop - self.start


GOLDEN = (5**0.5 - 1) / 2
"""Multiples of the golden ratio, each modulo 1, spread evenly over 0 to 1, however many are taken."""


def spread_share(blocks: Sequence[Block], share: float) -> tuple[Block, ...]:
    """Blocks of about this share of all bins, at least one, in order of time and spread over it.

    Blocks are taken in one order whatever the share, so that a smaller share is part of a larger one.
    """
    order = sorted(range(len(blocks)), key=lambda i: (i + 1) * GOLDEN % 1.0)
    wanted = share * sum(block.n_bins for block in blocks)
    kept: list[int] = []
    n_bins = 0
    for i in order:
        # Half a block more or less: the share is met as nearly as whole blocks can.
        if kept and n_bins + blocks[i].n_bins / 2 > wanted:
            break
        kept.append(i)
        n_bins += blocks[i].n_bins
    return tuple(blocks[i] for i in sorted(kept))


def assign_blocks(
    trials: Mapping[str, tuple[Trial, ...]], sampling_rate_hz: float, burn_in_bins: int, config: SplitConfig
) -> dict[str, tuple[Block, ...]]:
    """How a recording is divided.

    Given splits stand; where they train and test and no trial is left to select by, validation is drawn from those that
    train. Trials with a stimulus id or a group are assigned whole groups at a time, groups with
    repeats to the test split first; an id names the same stimulus in every session. A group much larger than a split's
    share trains. All other trials are cut into time blocks, which are spread over the session. Where folds or kinds
    say what is tested, validation alone is drawn so, from the rest.

    Raises:
        DataError: a group straddles given splits, or a split would be empty.
    """
    block_bins = max(1, round(config.block_s * sampling_rate_hz))
    gap_bins = math.ceil(config.split_gap_s * sampling_rate_hz)
    if config.by_kind is not None:
        trials = divided_by_kind(trials, config.by_kind)
    if config.folds is not None:
        trials = without_splits(trials)
    trials, closed = _with_training_to_draw_from(trials)
    stretches = [
        s for session, own in trials.items() for trial in own for s in _cut(session, trial, block_bins)
    ]
    if config.cut_stimuli:
        stretches = cut_stimuli(stretches, block_bins)
    if config.fold is not None and config.folds is not None:
        stretches = tested_fold(stretches, config.fold, config.folds, config.seed)
    assigned, budget = _divided(stretches, config, closed)
    assigned = fill_empty_splits(assigned, budget, config.seed)
    blocks = {
        session: _with_gaps([s for s in assigned if s.session == session], gap_bins) for session in trials
    }
    _require_every_split(blocks, stretches, burn_in_bins)
    _say_what_was_missed(assigned, budget)
    return blocks


def _with_training_to_draw_from(
    trials: Mapping[str, tuple[Trial, ...]],
) -> tuple[Mapping[str, tuple[Trial, ...]], tuple[Split, ...]]:
    """Trials of which validation can be drawn where a recording brings training and test alone; what takes no more."""
    given = {trial.split for own in trials.values() for trial in own}
    if given != {"train", "test"}:
        return trials, ()
    require_one_split([Stretch(id_, t.start, t.stop, t, t.split) for id_, own in trials.items() for t in own])
    freed = {
        session: tuple(replace(trial, split=None) if trial.split == "train" else trial for trial in own)
        for session, own in trials.items()
    }
    return freed, ("test",)


def _divided(
    stretches: list[Stretch], config: SplitConfig, closed: tuple[Split, ...]
) -> tuple[list[Stretch], Budget]:
    """The stretches with their splits, groups first: time blocks fill what groups have left."""
    budget = Budget(stretches, {"validation": config.validation, "test": config.test_share}, closed)
    assigned = assign_groups(stretches, budget, config.seed)
    for number, session in enumerate(dict.fromkeys(s.session for s in stretches)):
        own_stretches = [s for s in assigned if s.session == session and s.split is None]
        spread = _spread(own_stretches, budget, np.random.default_rng([config.seed, 1, number]))
        assigned = [spread.get((s.session, s.start), s) for s in assigned]
    return assigned, budget


def _say_what_was_missed(assigned: list[Stretch], budget: Budget) -> None:
    """A warning where a split of ours is far from its share, and where repeats train while the test split has none."""
    for session in dict.fromkeys(s.session for s in assigned):
        own = [s for s in assigned if s.session == session]
        if any(s.trial.split is not None for s in own):
            continue
        groups = linked(own)
        n_blocks = sum(not names_of(s) for s in own)
        largest = max((sum(s.n_bins for s in group) for group in groups), default=0)
        for split, (got, asked) in budget.missed(session).items():
            _logger.warning(
                "session '%s': %.0f %% of it is in the %s split, and %.0f %% was asked: %s; %s, or change split.%s",
                session,
                100 * got,
                split,
                100 * asked,
                f"what shares a stimulus_id or a group stays together, which makes {len(groups)} groups, the largest "
                f"of {largest / sum(s.n_bins for s in own):.0%}"
                if groups
                else f"it has {n_blocks} time blocks",
                "give splits of your own" if groups else "make split.block_s shorter",
                split,
            )
        repeated = [group for group in groups if has_repeats(group)]
        drawn = budget.wanted(session, "test") > 0
        if drawn and repeated and not any(s.split == "test" for group in repeated for s in group):
            _logger.warning(
                "session '%s': no stimulus of the test split is shown twice, since the repeated ones are far larger "
                "than its share and train: there will be no noise-corrected scores; raise split.test, or give splits",
                session,
            )


def _cut(session: str, trial: Trial, block_bins: int) -> list[Stretch]:
    """Time blocks of about equal length where the trial is long and nothing holds it together."""
    free = trial.split is None and trial.stimulus_id is None and trial.group is None
    n_stretches = max(1, round((trial.stop - trial.start) / block_bins)) if free else 1
    edges = [trial.start + (trial.stop - trial.start) * k // n_stretches for k in range(n_stretches + 1)]
    return [Stretch(session, start, stop, trial, trial.split) for start, stop in pairwise(edges)]


def _spread(
    stretches: list[Stretch], budget: Budget, rng: np.random.Generator
) -> dict[tuple[str, int], Stretch]:
    """Splits for time blocks: a test block somewhere in each of equal parts, validation alike."""
    left = sorted(stretches, key=lambda s: s.start)
    chosen: dict[tuple[str, int], Stretch] = {}
    for split in ("test", "validation"):
        if not left:
            break
        mean_bins = sum(s.n_bins for s in left) / len(left)
        session = left[0].session
        wanted = max(round(budget.missing(session, split) / mean_bins), int(budget.lacks(session, split)), 0)
        parts = np.array_split(np.arange(len(left)), wanted) if wanted else []
        for index in [int(rng.choice(part)) for part in parts if len(part)]:
            stretch = replace(left[index], split=split)
            chosen[stretch.session, stretch.start] = stretch
            budget.add([stretch], split)
        left = [s for s in left if (s.session, s.start) not in chosen]
    budget.add(left, "train")
    return chosen | {(s.session, s.start): replace(s, split="train") for s in left}


def _with_gaps(stretches: list[Stretch], gap_bins: int) -> tuple[Block, ...]:
    """Blocks with gaps between a trial's stretches of different splits; neighbours that train are joined.

    The gap comes out of the training side where there is one: the other splits are scarcer.
    """
    blocks: list[Block] = []
    before: Stretch | None = None
    for stretch in sorted(stretches, key=lambda s: s.start):
        assert stretch.split is not None
        trial = stretch.trial
        block = Block(stretch.start, stretch.stop, stretch.split, trial.stimulus_id, trial.kind, trial.group)
        if before is not None and before.trial.start == trial.start:
            if before.split == stretch.split == "train":
                same = blocks[-1].stimulus_id == block.stimulus_id
                block = replace(
                    block, start=blocks.pop().start, stimulus_id=block.stimulus_id if same else None
                )
            elif before.split != stretch.split and before.split == "train":
                blocks[-1] = replace(blocks[-1], stop=stretch.start - gap_bins)
            elif before.split != stretch.split:
                block = replace(block, start=stretch.start + gap_bins)
        blocks.append(block)
        before = stretch
    return tuple(block for block in blocks if block.n_bins > 0)


def _require_every_split(
    blocks: Mapping[str, tuple[Block, ...]], stretches: list[Stretch], burn_in_bins: int
) -> None:
    """Refuse a division that lacks a split, with the remedy for its case."""
    for session, own in blocks.items():
        if not any(block.split == "train" for block in own):
            remedy = _remedy([s for s in stretches if s.session == session])
            raise DataError(f"session '{session}': nothing is left to train on; {remedy}")
    for split in SPLITS:
        in_split = [block for own in blocks.values() for block in own if block.split == split]
        if not in_split:
            raise DataError(
                f"no trial or time block of the recording is in the {split} split; {_remedy(stretches)}"
            )
        longest = max(block.n_bins for block in in_split)
        if longest <= burn_in_bins:
            raise DataError(
                f"the longest {split} block has {longest} bins and burn_in_s takes the first {burn_in_bins}; "
                "make burn_in_s shorter or the trials and blocks longer"
            )


def _remedy(stretches: list[Stretch]) -> str:
    """What helps where these stretches do not fill every split."""
    if any(s.split is None and not names_of(s) for s in stretches):
        return (
            "label more trials, or make split.block_s shorter so that the session has at least three blocks, "
            "or change split.validation and split.test"
        )
    groups = linked(stretches)
    free = sum(all(s.split is None for s in group) for group in groups)
    if not free:
        return "give at least one trial to every split: train, validation and test"
    if any(s.split is not None for s in stretches):
        return (
            f"the trials without a split of their own show {_stimuli(free)} (by their stimulus_id and group); give at "
            "least one trial to every split: train, validation and test"
        )
    return (
        f"all trials show {_stimuli(free)} (by their stimulus_id and group), and a stimulus belongs to one split, so "
        "training, validation and test cannot differ in stimulus: at least three are needed. Record more, or cut "
        "the stimulus into parts with ids of their own (split.cut_stimuli: true cuts long ones); without ids its "
        "repeats are divided, and a test score then says nothing about other stimuli"
    )


def _stimuli(number: int) -> str:
    return "one stimulus" if number == 1 else f"{number} stimuli"
