"""Which bins train, select and test: trials or time blocks, with stimuli and photographs never in two splits.

The rules and their reasons stand in docs/decisions/0004-splits-and-burn-in.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import get_args

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from visioncore.config import Config
from visioncore.data.recording import Split, Trial
from visioncore.data.split_groups import Budget, Piece, assign_groups, linked, names_of
from visioncore.errors import DataError

SPLITS: tuple[Split, ...] = get_args(Split)


class SplitConfig(Config):
    """How bins without a split of their own are divided."""

    validation: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)
    seed: NonNegativeInt = 0
    block_s: PositiveFloat = 20.0
    split_gap_s: NonNegativeFloat = 1.0

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> "SplitConfig":
        if self.validation + self.test >= 1:
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


_GOLDEN = (5**0.5 - 1) / 2


def spread_share(blocks: Sequence[Block], share: float) -> tuple[Block, ...]:
    """Blocks of about this share of all bins, at least one, in order of time and spread over it.

    Blocks are taken in one order whatever the share, so that a smaller share is part of a larger one.
    """
    order = sorted(range(len(blocks)), key=lambda i: (i + 1) * _GOLDEN % 1.0)
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


class Division(dict[str, tuple[Block, ...]]):
    """The blocks of every session, in order of time."""

    def __init__(self, blocks: Mapping[str, tuple[Block, ...]], as_before: bool) -> None:
        super().__init__(blocks)
        self.as_before = as_before
        """Whether the first version of these rules, which gave an empty split the next group of any size, agrees."""


def assign_blocks(
    trials: Mapping[str, tuple[Trial, ...]], sampling_rate_hz: float, burn_in_bins: int, config: SplitConfig
) -> Division:
    """How a recording is divided.

    Given splits stand. Trials with a stimulus id or a group are assigned whole groups at a time, groups with
    repeats to the test split first; an id names the same stimulus in every session. A group much larger than a split's
    share trains. All other trials are cut into time blocks, which are spread over the session.

    Raises:
        DataError: a group straddles given splits, or a split would be empty.
    """
    block_bins = max(1, round(config.block_s * sampling_rate_hz))
    gap_bins = math.ceil(config.split_gap_s * sampling_rate_hz)
    pieces = [p for session, own in trials.items() for trial in own for p in _cut(session, trial, block_bins)]
    budget = Budget(pieces, {"validation": config.validation, "test": config.test})
    free = {p.session for p in pieces if p.split is None and not names_of(p)}
    assigned, as_before = assign_groups(pieces, budget, free, np.random.default_rng([config.seed, 0]))
    for number, session in enumerate(trials):
        own_pieces = [p for p in assigned if p.session == session and p.split is None]
        spread = _spread(own_pieces, budget, np.random.default_rng([config.seed, 1, number]))
        assigned = [spread.get((p.session, p.start), p) for p in assigned]
    blocks = {
        session: _with_gaps([p for p in assigned if p.session == session], gap_bins) for session in trials
    }
    n_groups = sum(all(p.split is None for p in group) for group in linked(pieces))
    _require_every_split(blocks, n_groups, bool(free), burn_in_bins)
    budget.say_what_was_missed()
    return Division(blocks, as_before)


def _cut(session: str, trial: Trial, block_bins: int) -> list[Piece]:
    """Time blocks of about equal length where the trial is long and nothing holds it together."""
    free = trial.split is None and trial.stimulus_id is None and trial.group is None
    n_pieces = max(1, round((trial.stop - trial.start) / block_bins)) if free else 1
    edges = [trial.start + (trial.stop - trial.start) * k // n_pieces for k in range(n_pieces + 1)]
    return [Piece(session, start, stop, trial, trial.split) for start, stop in pairwise(edges)]


def _spread(pieces: list[Piece], budget: Budget, rng: np.random.Generator) -> dict[tuple[str, int], Piece]:
    """Splits for time blocks: a test block somewhere in each of equal stretches, validation alike."""
    left = sorted(pieces, key=lambda p: p.start)
    chosen: dict[tuple[str, int], Piece] = {}
    for split in ("test", "validation"):
        if not left:
            break
        mean_bins = sum(p.n_bins for p in left) / len(left)
        session = left[0].session
        wanted = max(
            round(budget.missing(session, split) / mean_bins), int(budget.is_empty(session, split)), 0
        )
        stretches = np.array_split(np.arange(len(left)), wanted) if wanted else []
        for index in [int(rng.choice(stretch)) for stretch in stretches if len(stretch)]:
            piece = replace(left[index], split=split)
            chosen[piece.session, piece.start] = piece
            budget.add(piece, split)
        left = [p for p in left if (p.session, p.start) not in chosen]
    return chosen | {(p.session, p.start): replace(p, split="train") for p in left}


def _with_gaps(pieces: list[Piece], gap_bins: int) -> tuple[Block, ...]:
    """Blocks with gaps between a trial's pieces of different splits; neighbours that train are joined.

    The gap comes out of the training side where there is one: the other splits are scarcer.
    """
    blocks: list[Block] = []
    before: Piece | None = None
    for piece in sorted(pieces, key=lambda p: p.start):
        assert piece.split is not None
        trial = piece.trial
        block = Block(piece.start, piece.stop, piece.split, trial.stimulus_id, trial.kind, trial.group)
        if before is not None and before.trial is trial:
            if before.split == piece.split == "train":
                block = replace(block, start=blocks.pop().start)
            elif before.split != piece.split and before.split == "train":
                blocks[-1] = replace(blocks[-1], stop=piece.start - gap_bins)
            elif before.split != piece.split:
                block = replace(block, start=piece.start + gap_bins)
        blocks.append(block)
        before = piece
    return tuple(block for block in blocks if block.n_bins > 0)


def _require_every_split(
    blocks: Mapping[str, tuple[Block, ...]], n_groups: int, some_are_free: bool, burn_in_bins: int
) -> None:
    """Refuse a division that lacks a split, with the remedy for its case.

    Args:
        n_groups: how many groups of trials share a stimulus id or a group.
        some_are_free: whether there are trials of no group without a split of their own.
    """
    if some_are_free:
        remedy = (
            "label more trials, or make split.block_s shorter so that the session has at least three blocks, "
            "or change split.validation and split.test"
        )
    elif n_groups:
        stimuli = "one stimulus" if n_groups == 1 else f"{n_groups} stimuli"
        remedy = (
            f"all trials show {stimuli} (by their stimulus_id and group), and a stimulus belongs to one split, so "
            "training, validation and test cannot differ in stimulus: at least three are needed. Record more, or cut "
            "the stimulus into parts with ids of their own; without ids its repeats are divided, and a test score "
            "then says nothing about other stimuli"
        )
    else:
        remedy = "give at least one trial to every split: train, validation and test"
    for session, own in blocks.items():
        if not any(block.split == "train" for block in own):
            raise DataError(f"session '{session}': nothing is left to train on; {remedy}")
    for split in SPLITS:
        in_split = [block for own in blocks.values() for block in own if block.split == split]
        if not in_split:
            raise DataError(f"no trial or time block of the recording is in the {split} split; {remedy}")
        longest = max(block.n_bins for block in in_split)
        if longest <= burn_in_bins:
            raise DataError(
                f"the longest {split} block has {longest} bins and burn_in_s takes the first {burn_in_bins}; "
                "make burn_in_s shorter or the trials and blocks longer"
            )
