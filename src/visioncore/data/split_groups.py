"""Groups of trials that belong together, and the split that each goes to."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from visioncore.data.recording import Split, Trial
from visioncore.errors import DataError

MOST = 1.5
"""Of a split's share: a group that would take it further than this trains, where another group can fill the split."""

_logger = logging.getLogger(__name__)


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
        self._share = dict(shares)
        self._given: set[str] = set()
        for piece in pieces:
            self._total[piece.session] += piece.n_bins
            if piece.split is not None:
                self.add(piece, piece.split)
                self._given.add(piece.session)

    def add(self, piece: Piece, split: Split) -> None:
        self._has[piece.session, split] += piece.n_bins

    def remove(self, piece: Piece, split: Split) -> None:
        self._has[piece.session, split] -= piece.n_bins

    def wanted(self, session: str, split: Split) -> float:
        return self._share[split] * self._total[session]

    def missing(self, session: str, split: Split) -> float:
        return self.wanted(session, split) - self._has[session, split]

    def is_empty(self, session: str, split: Split) -> bool:
        return self._has[session, split] == 0

    def say_what_was_missed(self) -> None:
        """A warning where a split of ours is half as large again as was asked, or half as small."""
        for session, total in self._total.items():
            for split, share in self._share.items():
                got = self._has[session, split] / total
                if session in self._given or 0.5 * share <= got <= 1.5 * share:
                    continue
                _logger.warning(
                    "session '%s': %.0f %% of it is in the %s split, and %.0f %% was asked: what shares a "
                    "stimulus_id or a group stays together; give splits of your own, or change split.%s",
                    session,
                    100 * got,
                    split,
                    100 * share,
                    split,
                )


def assign_groups(
    pieces: list[Piece], budget: Budget, free: set[str], rng: np.random.Generator
) -> tuple[list[Piece], bool]:
    """The pieces with the splits of their groups, and whether the first version of the rules agrees.

    Args:
        free: sessions with pieces of no group, which can fill a split that no group has filled.
    """
    groups = linked(pieces)
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
    as_before = True
    for number in order:
        given[number], usual = _choose(groups[number], budget)
        as_before = as_before and usual
        for piece in groups[number]:
            budget.add(piece, given[number])
    if _fill_empty_splits(groups, order, given, budget, free):
        as_before = False
    chosen = {(p.session, p.start): given[number] for number, group in enumerate(groups) for p in group}
    return [replace(p, split=chosen.get((p.session, p.start), p.split)) for p in pieces], as_before


def _choose(group: list[Piece], budget: Budget) -> tuple[Split, bool]:
    """The split that a group goes to, and whether it would have gone there by the first version of the rules."""
    sessions = {p.session for p in group}
    size = sum(p.n_bins for p in group)
    before: Split | None = None
    now: Split | None = None
    for split in ("test", "validation"):
        missing = sum(budget.missing(session, split) for session in sessions)
        starved = all(budget.is_empty(session, split) for session in sessions)
        wanted = sum(budget.wanted(session, split) for session in sessions)
        if before is None and (starved or missing >= size / 2):
            before = split
        if now is None and missing >= size / 2 and wanted - missing + size <= MOST * wanted:
            now = split
    return now or "train", (now or "train") == (before or "train")


def _fill_empty_splits(
    groups: list[list[Piece]],
    order: Sequence[int],
    given: dict[int, Split],
    budget: Budget,
    free: set[str],
) -> bool:
    """A split that is still empty takes the group that fits it best, but not another split's last one; whether any did.

    Training gives first, then the other split.
    """
    moved = False

    def bins(number: int, session: str) -> int:
        return sum(p.n_bins for p in groups[number] if p.session == session)

    for session in dict.fromkeys(p.session for number in order for p in groups[number]):
        for split in ("test", "validation"):
            if session in free or not budget.is_empty(session, split):
                continue
            missing = budget.missing(session, split)
            for giver in ("train", "test", "validation"):
                has = [n for n, where in given.items() if where == giver and bins(n, session)]
                movable = [n for n in has if n in order and len(has) > 1 and giver != split]
                if movable:
                    best = min(movable, key=lambda n: (abs(bins(n, session) - missing), n))
                    for piece in groups[best]:
                        budget.remove(piece, giver)
                        budget.add(piece, split)
                    given[best] = split
                    moved = True
                    break
    return moved


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


def _has_repeats(group: list[Piece]) -> bool:
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
