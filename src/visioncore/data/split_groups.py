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
class Stretch:
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
    """Bins that each split of each session should have, and has.

    Args:
        closed: splits that have all they are to have.
    """

    def __init__(
        self, stretches: Iterable[Stretch], shares: Mapping[Split, float], closed: Iterable[Split] = ()
    ) -> None:
        self._closed = frozenset(closed)
        self._total: dict[str, int] = defaultdict(int)
        self._has: dict[tuple[str, Split], int] = defaultdict(int)
        self._share: dict[Split, float] = {"train": 1 - sum(shares.values()), **shares}
        for stretch in stretches:
            self._total[stretch.session] += stretch.n_bins
            if stretch.split is not None:
                self.add([stretch], stretch.split)

    def add(self, stretches: Iterable[Stretch], split: Split) -> None:
        for stretch in stretches:
            self._has[stretch.session, split] += stretch.n_bins

    def move(self, stretches: Iterable[Stretch], giver: Split, split: Split) -> None:
        for stretch in stretches:
            self._has[stretch.session, giver] -= stretch.n_bins
            self._has[stretch.session, split] += stretch.n_bins

    def wanted(self, session: str, split: Split) -> float:
        return self._share[split] * self._total[session]

    def missing(self, session: str, split: Split) -> float:
        return 0.0 if split in self._closed else self.wanted(session, split) - self._has[session, split]

    def is_empty(self, session: str, split: Split) -> bool:
        return self._has[session, split] == 0 and split not in self._closed

    def lacks(self, session: str, split: Split) -> bool:
        """Whether the split is to have bins of the session, and has none."""
        return self.wanted(session, split) > 0 and self.is_empty(session, split)

    def has_more_than(self, stretches: Iterable[Stretch], split: Split) -> bool:
        """Whether every session of these stretches, which are in the split, keeps something there without them."""
        without: dict[str, int] = {}
        for stretch in stretches:
            held = without.setdefault(stretch.session, self._has[stretch.session, split])
            without[stretch.session] = held - stretch.n_bins
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


def fitting_split(group: list[Stretch], budget: Budget) -> Split:
    """Test or validation where the group fits what is missing, rounded, and is not far too large; else training."""
    sessions = {s.session for s in group}
    size = sum(s.n_bins for s in group)
    for split in HELD_OUT:
        missing = sum(budget.missing(session, split) for session in sessions)
        wanted = sum(budget.wanted(session, split) for session in sessions)
        if missing >= size / 2 and wanted - missing + size <= MOST * wanted:
            return split
    return "train"


def assign_groups(stretches: list[Stretch], budget: Budget, seed: int) -> list[Stretch]:
    """The stretches, those of groups with their splits. A given split decides for its whole group.

    Raises:
        DataError: a group has two given splits.
    """
    groups = linked(stretches)
    given = _given_splits(groups)
    for number, split in given.items():
        budget.add((s for s in groups[number] if s.split is None), split)
    for number in _order(groups, seed):
        if number not in given:
            given[number] = fitting_split(groups[number], budget)
            budget.add(groups[number], given[number])
    return _with_splits(stretches, {number: (groups[number], split) for number, split in given.items()})


def fill_empty_splits(stretches: list[Stretch], budget: Budget, seed: int) -> list[Stretch]:
    """The stretches, where a split that is empty in a session has taken the group that fits best.

    Training gives, or else another split, but none its last bins in a session. Every session needs training; test and
    validation go by a group that no session of it has any of.
    """
    groups = linked(stretches)
    order = [n for n in _order(groups, seed) if all(s.trial.split is None for s in groups[n])]
    moved: dict[int, tuple[list[Stretch], Split]] = {}

    def misfit(number: int, split: Split) -> float:
        missing = sum(budget.missing(session, split) for session in {s.session for s in groups[number]})
        return abs(sum(s.n_bins for s in groups[number]) - missing)

    now = {number: groups[number][0].split for number in order}
    for session in dict.fromkeys(s.session for s in stretches):
        for split in _FILLED:
            if not budget.lacks(session, split):
                continue
            # A split without a share of its own was decided upon, and keeps what it has.
            for giver in (s for s in _FILLED if s != split and budget.wanted(session, s)):
                fit = [
                    number
                    for number in order
                    if now[number] == giver
                    and any(s.session == session for s in groups[number])
                    and (split == "train" or all(budget.is_empty(s.session, split) for s in groups[number]))
                    and budget.has_more_than(groups[number], giver)
                ]
                if fit:
                    best = min(fit, key=lambda number: misfit(number, split))
                    budget.move(groups[best], giver, split)
                    now[best] = split
                    moved[best] = (groups[best], split)
                    break
    return _with_splits(stretches, moved)


def require_one_split(stretches: list[Stretch]) -> None:
    """Refuse stretches that share a stimulus id or a group and have two given splits.

    Raises:
        DataError: naming both.
    """
    _given_splits(linked(stretches))


def _given_splits(groups: list[list[Stretch]]) -> dict[int, Split]:
    given: dict[int, Split] = {}
    for number, group in enumerate(groups):
        splits = {s.split for s in group if s.split is not None}
        if len(splits) > 1:
            raise DataError(_straddles(group))
        if splits:
            given[number] = splits.pop()
    return given


def _order(groups: list[list[Stretch]], seed: int) -> list[int]:
    """Numbers of the groups as they are assigned: by chance, those with repeats first."""
    shuffled = [int(number) for number in np.random.default_rng([seed, 0]).permutation(len(groups))]
    return sorted(shuffled, key=lambda number: not has_repeats(groups[number]))


def _with_splits(
    stretches: list[Stretch], chosen: Mapping[int, tuple[list[Stretch], Split]]
) -> list[Stretch]:
    of_stretch = {(s.session, s.start): split for group, split in chosen.values() for s in group}
    return [replace(s, split=of_stretch.get((s.session, s.start), s.split)) for s in stretches]


def linked(stretches: list[Stretch]) -> list[list[Stretch]]:
    """Stretches that share a stimulus id or a group, directly or through others (union-find)."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(name: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for stretch in stretches:
        names = names_of(stretch)
        for other in names[1:]:
            parent[root(other)] = root(names[0])
    groups: dict[tuple[str, str], list[Stretch]] = defaultdict(list)
    for stretch in stretches:
        if names := names_of(stretch):
            groups[root(names[0])].append(stretch)
    return list(groups.values())


def names_of(stretch: Stretch) -> list[tuple[str, str]]:
    named = (("stimulus_id", stretch.trial.stimulus_id), ("group", stretch.trial.group))
    return [(what, name) for what, name in named if name is not None]


def has_repeats(group: list[Stretch]) -> bool:
    """Whether a session shows one of the stimuli more than once."""
    shown = [(s.session, s.trial.stimulus_id) for s in group if s.trial.stimulus_id is not None]
    return len(set(shown)) < len(shown)


def _straddles(group: list[Stretch]) -> str:
    first = next(s for s in group if s.split is not None)
    other = next(s for s in group if s.split not in (None, first.split))
    shared = [f"{what} '{name}'" for what, name in names_of(first) if (what, name) in names_of(other)]
    link = " and ".join(shared) or "a chain of shared stimulus ids and groups"
    return (
        f"session '{first.session}' bins {first.start} to {first.stop} ({first.split}) and "
        f"session '{other.session}' bins {other.start} to {other.stop} ({other.split}) share {link}; "
        "a stimulus belongs to one split: change the given splits, or the ids if these are different stimuli "
        "(ids count across sessions)"
    )
