"""Which bins train, select and test: trials or time blocks, with stimuli and photographs never in two splits.

The rules and their reasons stand in docs/decisions/0004-splits-and-burn-in.md.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from visioncore.config import Config
from visioncore.data.split_groups import (
    SPLITS,
    Budget,
    Piece,
    assign_groups,
    fill_empty_splits,
    has_repeats,
    linked,
    names_of,
)
from visioncore.data.stimulus_clips import cut_stimuli
from visioncore.errors import DataError
from visioncore.recording import Split, Trial

__all__ = ["SPLITS", "Block", "SplitConfig", "assign_blocks", "spread_share"]

_logger = logging.getLogger(__name__)


class SplitConfig(Config):
    """How bins without a split of their own are divided."""

    validation: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)
    seed: NonNegativeInt = 0
    block_s: PositiveFloat = 20.0
    split_gap_s: NonNegativeFloat = 1.0
    cut_stimuli: bool = False
    """Cut stimuli longer than `block_s` into clips, alike in each repeat, so that one long film can be divided."""

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


def assign_blocks(
    trials: Mapping[str, tuple[Trial, ...]], sampling_rate_hz: float, burn_in_bins: int, config: SplitConfig
) -> dict[str, tuple[Block, ...]]:
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
    if config.cut_stimuli:
        pieces = cut_stimuli(pieces, block_bins)
    assigned, budget = _divided(pieces, config)
    assigned = fill_empty_splits(assigned, budget, config.seed)
    blocks = {
        session: _with_gaps([p for p in assigned if p.session == session], gap_bins) for session in trials
    }
    _require_every_split(blocks, pieces, burn_in_bins)
    _say_what_was_missed(assigned, budget)
    return blocks


def _divided(pieces: list[Piece], config: SplitConfig) -> tuple[list[Piece], Budget]:
    """The pieces with their splits, groups first: time blocks fill what groups have left."""
    budget = Budget(pieces, {"validation": config.validation, "test": config.test})
    assigned = assign_groups(pieces, budget, config.seed)
    for number, session in enumerate(dict.fromkeys(p.session for p in pieces)):
        own_pieces = [p for p in assigned if p.session == session and p.split is None]
        spread = _spread(own_pieces, budget, np.random.default_rng([config.seed, 1, number]))
        assigned = [spread.get((p.session, p.start), p) for p in assigned]
    return assigned, budget


def _say_what_was_missed(assigned: list[Piece], budget: Budget) -> None:
    """A warning where a split of ours is far from its share, and where repeats train while the test split has none."""
    for session in dict.fromkeys(p.session for p in assigned):
        own = [p for p in assigned if p.session == session]
        if any(p.trial.split is not None for p in own):
            continue
        groups = linked(own)
        n_blocks = sum(not names_of(p) for p in own)
        largest = max((sum(p.n_bins for p in group) for group in groups), default=0)
        for split, (got, asked) in budget.missed(session).items():
            _logger.warning(
                "session '%s': %.0f %% of it is in the %s split, and %.0f %% was asked: %s; %s, or change split.%s",
                session,
                100 * got,
                split,
                100 * asked,
                f"what shares a stimulus_id or a group stays together, which makes {len(groups)} groups, the largest "
                f"of {largest / sum(p.n_bins for p in own):.0%}"
                if groups
                else f"it has {n_blocks} time blocks",
                "give splits of your own" if groups else "make split.block_s shorter",
                split,
            )
        repeated = [group for group in groups if has_repeats(group)]
        if repeated and not any(p.split == "test" for group in repeated for p in group):
            _logger.warning(
                "session '%s': no stimulus of the test split is shown twice, since the repeated ones are far larger "
                "than its share and train: there will be no noise-corrected scores; raise split.test, or give splits",
                session,
            )


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
            budget.add([piece], split)
        left = [p for p in left if (p.session, p.start) not in chosen]
    budget.add(left, "train")
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
        if before is not None and before.trial.start == trial.start:
            if before.split == piece.split == "train":
                same = blocks[-1].stimulus_id == block.stimulus_id
                block = replace(
                    block, start=blocks.pop().start, stimulus_id=block.stimulus_id if same else None
                )
            elif before.split != piece.split and before.split == "train":
                blocks[-1] = replace(blocks[-1], stop=piece.start - gap_bins)
            elif before.split != piece.split:
                block = replace(block, start=piece.start + gap_bins)
        blocks.append(block)
        before = piece
    return tuple(block for block in blocks if block.n_bins > 0)


def _require_every_split(
    blocks: Mapping[str, tuple[Block, ...]], pieces: list[Piece], burn_in_bins: int
) -> None:
    """Refuse a division that lacks a split, with the remedy for its case."""
    for session, own in blocks.items():
        if not any(block.split == "train" for block in own):
            remedy = _remedy([p for p in pieces if p.session == session])
            raise DataError(f"session '{session}': nothing is left to train on; {remedy}")
    for split in SPLITS:
        in_split = [block for own in blocks.values() for block in own if block.split == split]
        if not in_split:
            raise DataError(
                f"no trial or time block of the recording is in the {split} split; {_remedy(pieces)}"
            )
        longest = max(block.n_bins for block in in_split)
        if longest <= burn_in_bins:
            raise DataError(
                f"the longest {split} block has {longest} bins and burn_in_s takes the first {burn_in_bins}; "
                "make burn_in_s shorter or the trials and blocks longer"
            )


def _remedy(pieces: list[Piece]) -> str:
    """What helps where these pieces do not fill every split."""
    if any(p.split is None and not names_of(p) for p in pieces):
        return (
            "label more trials, or make split.block_s shorter so that the session has at least three blocks, "
            "or change split.validation and split.test"
        )
    groups = linked(pieces)
    free = sum(all(p.split is None for p in group) for group in groups)
    if not free:
        return "give at least one trial to every split: train, validation and test"
    if any(p.split is not None for p in pieces):
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
