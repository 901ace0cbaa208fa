"""Which bins train, select and test: trials or time blocks, with stimuli and photographs never in two splits.

The rules and their reasons stand in docs/decisions/0004-splits-and-burn-in.md.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import get_args

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from visioncore.config import Config
from visioncore.data.recording import Split, Trial
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


@dataclass(frozen=True)
class _Piece:
    """A trial, or one time block of a long trial, on its way to a split."""

    session: str
    start: int
    stop: int
    trial: Trial
    split: Split | None

    @property
    def n_bins(self) -> int:
        return self.stop - self.start


def assign_blocks(
    trials: Mapping[str, tuple[Trial, ...]], sampling_rate_hz: float, burn_in_bins: int, config: SplitConfig
) -> dict[str, tuple[Block, ...]]:
    """The blocks of every session, in order of time.

    Given splits stand. Trials with a stimulus id or a group are assigned whole groups at a time, groups with
    repeats to the test split first; an id names the same stimulus in every session. All other trials are cut
    into time blocks, which are spread over the session.

    Raises:
        DataError: a group straddles given splits, or a split would be empty.
    """
    block_bins = max(1, round(config.block_s * sampling_rate_hz))
    gap_bins = math.ceil(config.split_gap_s * sampling_rate_hz)
    pieces = [p for session, own in trials.items() for trial in own for p in _cut(session, trial, block_bins)]
    budget = _Budget(pieces, config)
    assigned = _assign_groups(pieces, budget, np.random.default_rng([config.seed, 0]))
    for number, session in enumerate(trials):
        own_pieces = [p for p in assigned if p.session == session and p.split is None]
        spread = _spread(own_pieces, budget, np.random.default_rng([config.seed, 1, number]))
        assigned = [spread.get((p.session, p.start), p) for p in assigned]
    blocks = {
        session: _with_gaps([p for p in assigned if p.session == session], gap_bins) for session in trials
    }
    _require_every_split(blocks, burn_in_bins)
    return blocks


def _cut(session: str, trial: Trial, block_bins: int) -> list[_Piece]:
    """Time blocks of about equal length where the trial is long and nothing holds it together."""
    free = trial.split is None and trial.stimulus_id is None and trial.group is None
    n_pieces = max(1, round((trial.stop - trial.start) / block_bins)) if free else 1
    edges = [trial.start + (trial.stop - trial.start) * k // n_pieces for k in range(n_pieces + 1)]
    return [_Piece(session, start, stop, trial, trial.split) for start, stop in pairwise(edges)]


class _Budget:
    """Bins that each split of each session should have, and has."""

    def __init__(self, pieces: Iterable[_Piece], config: SplitConfig) -> None:
        self._total: dict[str, int] = defaultdict(int)
        self._has: dict[tuple[str, Split], int] = defaultdict(int)
        self._share: dict[Split, float] = {"validation": config.validation, "test": config.test}
        for piece in pieces:
            self._total[piece.session] += piece.n_bins
            if piece.split is not None:
                self.add(piece, piece.split)

    def add(self, piece: _Piece, split: Split) -> None:
        self._has[piece.session, split] += piece.n_bins

    def missing(self, session: str, split: Split) -> float:
        return self._share[split] * self._total[session] - self._has[session, split]

    def is_empty(self, session: str, split: Split) -> bool:
        return self._has[session, split] == 0


def _assign_groups(pieces: list[_Piece], budget: _Budget, rng: np.random.Generator) -> list[_Piece]:
    groups = _linked(pieces)
    given: dict[int, Split] = {}
    for number, group in enumerate(groups):
        splits = {p.split for p in group if p.split is not None}
        if len(splits) > 1:
            raise DataError(_straddles(group))
        if splits:
            given[number] = splits.pop()
    order = [int(number) for number in rng.permutation(len(groups)) if int(number) not in given]
    order.sort(key=lambda number: not _has_repeats(groups[number]))
    for number in given:
        for piece in groups[number]:
            if piece.split is None:
                budget.add(piece, given[number])
    for number in order:
        given[number] = _choose(groups[number], budget)
        for piece in groups[number]:
            budget.add(piece, given[number])
    chosen = {(p.session, p.start): given[number] for number, group in enumerate(groups) for p in group}
    return [replace(p, split=chosen.get((p.session, p.start), p.split)) for p in pieces]


def _choose(group: list[_Piece], budget: _Budget) -> Split:
    sessions = {p.session for p in group}
    for split in ("test", "validation"):
        missing = sum(budget.missing(session, split) for session in sessions)
        starved = all(budget.is_empty(session, split) for session in sessions)
        if starved or missing >= sum(p.n_bins for p in group) / 2:
            return split
    return "train"


def _linked(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Pieces that share a stimulus id or a group, directly or through others (union-find)."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(name: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for piece in pieces:
        names = _names(piece)
        for other in names[1:]:
            parent[root(other)] = root(names[0])
    groups: dict[tuple[str, str], list[_Piece]] = defaultdict(list)
    for piece in pieces:
        if names := _names(piece):
            groups[root(names[0])].append(piece)
    return list(groups.values())


def _names(piece: _Piece) -> list[tuple[str, str]]:
    named = (("stimulus_id", piece.trial.stimulus_id), ("group", piece.trial.group))
    return [(what, name) for what, name in named if name is not None]


def _has_repeats(group: list[_Piece]) -> bool:
    shown = [(p.session, p.trial.stimulus_id) for p in group if p.trial.stimulus_id is not None]
    return len(set(shown)) < len(shown)


def _straddles(group: list[_Piece]) -> str:
    first = next(p for p in group if p.split is not None)
    other = next(p for p in group if p.split not in (None, first.split))
    shared = [f"{what} '{name}'" for what, name in _names(first) if (what, name) in _names(other)]
    link = " and ".join(shared) or "a chain of shared stimulus ids and groups"
    return (
        f"session '{first.session}' bins {first.start} to {first.stop} ({first.split}) and "
        f"session '{other.session}' bins {other.start} to {other.stop} ({other.split}) share {link}; "
        "a stimulus belongs to one split: change the given splits, or the ids if these are different stimuli "
        "(ids count across sessions)"
    )


def _spread(pieces: list[_Piece], budget: _Budget, rng: np.random.Generator) -> dict[tuple[str, int], _Piece]:
    """Splits for time blocks: a test block somewhere in each of equal stretches, validation alike."""
    left = sorted(pieces, key=lambda p: p.start)
    chosen: dict[tuple[str, int], _Piece] = {}
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


def _with_gaps(pieces: list[_Piece], gap_bins: int) -> tuple[Block, ...]:
    """Blocks with gaps between a trial's pieces of different splits; neighbours that train are joined.

    The gap comes out of the training side where there is one: the other splits are scarcer.
    """
    blocks: list[Block] = []
    before: _Piece | None = None
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


def _require_every_split(blocks: Mapping[str, tuple[Block, ...]], burn_in_bins: int) -> None:
    remedy = (
        "label more trials, or make split.block_s shorter so that the session has at least three blocks, "
        "or change split.validation and split.test"
    )
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
