"""Groups of trials that belong together, and the split that each goes to."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from visioncore.errors import DataError
from visioncore.recording import Split, Trial

SPLITS: tuple[Split, ...] = get_args(Split)
HELD_OUT: tuple[Split, ...] = ("test", "validation")
_FILLED: tuple[Split, ...] = ("train", *HELD_OUT)
MOST = 1.5
"""Of a split's share: a group that would take it further than this trains, where another group can fill the split."""


@dataclass(frozen=True)
class Piece:
    """A trial, or one time block of a long trial, on its way to a split."""

    session: str
    start: int
    stop: int
    trial: Trial
    split: Split | None

    @property
    def n_bins(self) -> int:
        return self.stop - self.start


class Budget:
    """Bins that each split of each session should have, and has."""

    def __init__(self, pieces: Iterable[Piece], shares: Mapping[Split, float]) -> None:
        self._total: dict[str, int] = defaultdict(int)
        self._has: dict[tuple[str, Split], int] = defaultdict(int)
        self._share: dict[Split, float] = {"train": 1 - sum(shares.values()), **shares}
        for piece in pieces:
            self._total[piece.session] += piece.n_bins
            if piece.split is not None:
                self.add([piece], piece.split)

    def add(self, pieces: Iterable[Piece], split: Split) -> None:
        for piece in pieces:
            self._has[piece.session, split] += piece.n_bins

    def move(self, pieces: Iterable[Piece], giver: Split, split: Split) -> None:
        for piece in pieces:
            self._has[piece.session, giver] -= piece.n_bins
            self._has[piece.session, split] += piece.n_bins

    def wanted(self, session: str, split: Split) -> float:
        return self._share[split] * self._total[session]

    def missing(self, session: str, split: Split) -> float:
        return self.wanted(session, split) - self._has[session, split]

    def is_empty(self, session: str, split: Split) -> bool:
        return self._has[session, split] == 0

    def lacks(self, session: str, split: Split) -> bool:
        """Whether the split is to have bins of the session, and has none."""
        return self.wanted(session, split) > 0 and self.is_empty(session, split)

    def has_more_than(self, pieces: Iterable[Piece], split: Split) -> bool:
        """Whether every session of these pieces, which are in the split, keeps something there without them."""
        without: dict[str, int] = {}
        for piece in pieces:
            held = without.setdefault(piece.session, self._has[piece.session, split])
            without[piece.session] = held - piece.n_bins
        return all(held > 0 for held in without.values())

    def missed(self, session: str) -> dict[Split, tuple[float, float]]:
        """Shares outside 0.5 to 1.5 times what was asked: each as it is, and as it was asked."""
        shares = {split: self._has[session, split] / self._total[session] for split in self._share}
        asked = {split: share for split, share in self._share.items() if split != "train"}
        return {
            split: (shares[split], share)
            for split, share in asked.items()
            if share and not 0.5 * share <= shares[split] <= MOST * share
        }


def fitting_split(group: list[Piece], budget: Budget) -> Split:
    """Test or validation where the group fits what is missing, rounded, and is not far too large; else training."""
    sessions = {p.session for p in group}
    size = sum(p.n_bins for p in group)
    for split in HELD_OUT:
        missing = sum(budget.missing(session, split) for session in sessions)
        wanted = sum(budget.wanted(session, split) for session in sessions)
        if missing >= size / 2 and wanted - missing + size <= MOST * wanted:
            return split
    return "train"


def assign_groups(pieces: list[Piece], budget: Budget, seed: int) -> list[Piece]:
    """The pieces, those of groups with their splits. A given split decides for its whole group.

    Raises:
        DataError: a group has two given splits.
    """
    groups = linked(pieces)
    given = _given_splits(groups)
    for number, split in given.items():
        budget.add((p for p in groups[number] if p.split is None), split)
    for number in _order(groups, seed):
        if number not in given:
            given[number] = fitting_split(groups[number], budget)
            budget.add(groups[number], given[number])
    return _with_splits(pieces, {number: (groups[number], split) for number, split in given.items()})


def fill_empty_splits(pieces: list[Piece], budget: Budget, seed: int) -> list[Piece]:
    """The pieces, where a split that is empty in a session has taken the group that fits best.

    Training gives, or else another split, but none its last bins in a session. Every session needs training; test and
    validation go by a group that no session of it has any of.
    """
    groups = linked(pieces)
    order = [n for n in _order(groups, seed) if all(p.trial.split is None for p in groups[n])]
    moved: dict[int, tuple[list[Piece], Split]] = {}

    def misfit(number: int, split: Split) -> float:
        missing = sum(budget.missing(session, split) for session in {p.session for p in groups[number]})
        return abs(sum(p.n_bins for p in groups[number]) - missing)

    now = {number: groups[number][0].split for number in order}
    for session in dict.fromkeys(p.session for p in pieces):
        for split in _FILLED:
            if not budget.lacks(session, split):
                continue
            # A split without a share of its own was decided upon, and keeps what it has.
            for giver in (s for s in _FILLED if s != split and budget.wanted(session, s)):
                fit = [
                    number
                    for number in order
                    if now[number] == giver
                    and any(p.session == session for p in groups[number])
                    and (split == "train" or all(budget.is_empty(p.session, split) for p in groups[number]))
                    and budget.has_more_than(groups[number], giver)
                ]
                if fit:
                    best = min(fit, key=lambda number: misfit(number, split))
                    budget.move(groups[best], giver, split)
                    now[best] = split
                    moved[best] = (groups[best], split)
                    break
    return _with_splits(pieces, moved)


def _given_splits(groups: list[list[Piece]]) -> dict[int, Split]:
    given: dict[int, Split] = {}
    for number, group in enumerate(groups):
        splits = {p.split for p in group if p.split is not None}
        if len(splits) > 1:
            raise DataError(_straddles(group))
        if splits:
            given[number] = splits.pop()
    return given


def _order(groups: list[list[Piece]], seed: int) -> list[int]:
    """Numbers of the groups as they are assigned: by chance, those with repeats first."""
    shuffled = [int(number) for number in np.random.default_rng([seed, 0]).permutation(len(groups))]
    return sorted(shuffled, key=lambda number: not has_repeats(groups[number]))


def _with_splits(pieces: list[Piece], chosen: Mapping[int, tuple[list[Piece], Split]]) -> list[Piece]:
    of_piece = {(p.session, p.start): split for group, split in chosen.values() for p in group}
    return [replace(p, split=of_piece.get((p.session, p.start), p.split)) for p in pieces]


def linked(pieces: list[Piece]) -> list[list[Piece]]:
    """Pieces that share a stimulus id or a group, directly or through others (union-find)."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(name: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for piece in pieces:
        names = names_of(piece)
        for other in names[1:]:
            parent[root(other)] = root(names[0])
    groups: dict[tuple[str, str], list[Piece]] = defaultdict(list)
    for piece in pieces:
        if names := names_of(piece):
            groups[root(names[0])].append(piece)
    return list(groups.values())


def names_of(piece: Piece) -> list[tuple[str, str]]:
    named = (("stimulus_id", piece.trial.stimulus_id), ("group", piece.trial.group))
    return [(what, name) for what, name in named if name is not None]


def has_repeats(group: list[Piece]) -> bool:
    """Whether a session shows one of the stimuli more than once."""
    shown = [(p.session, p.trial.stimulus_id) for p in group if p.trial.stimulus_id is not None]
    return len(set(shown)) < len(shown)


def _straddles(group: list[Piece]) -> str:
    first = next(p for p in group if p.split is not None)
    other = next(p for p in group if p.split not in (None, first.split))
    shared = [f"{what} '{name}'" for what, name in names_of(first) if (what, name) in names_of(other)]
    link = " and ".join(shared) or "a chain of shared stimulus ids and groups"
    return (
        f"session '{first.session}' bins {first.start} to {first.stop} ({first.split}) and "
        f"session '{other.session}' bins {other.start} to {other.stop} ({other.split}) share {link}; "
        "a stimulus belongs to one split: change the given splits, or the ids if these are different stimuli "
        "(ids count across sessions)"
    )
