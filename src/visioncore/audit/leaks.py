"""What of one split can be seen in another: frames, look-alikes, repeats, neighbours in time."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from visioncore.audit.findings import Finding, Level
from visioncore.audit.likeness import (
    SAME_PICTURE,
    SMALLEST_SIDE,
    candidates,
    is_distinctive,
    largest_shift,
    likeness,
)
from visioncore.audit.numbers import (
    ContextNumbers,
    Example,
    FramesNumbers,
    RepeatsNumbers,
    SharedFrames,
    Straddling,
)
from visioncore.audit.scan import Scan
from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore
from visioncore.predictor import Predictor

TOLERATED = 0.001
"""Share of a split's frames that may be found in another without failing: fewer cannot move a score."""
EXAMPLES = 5
_PAIRS = (("test", ("train", "validation")), ("validation", ("train",)))
"""Whose frames must not be found where."""
_GROUP_REMEDY = (
    "give trials that show the same picture or clip one `group` (or `stimulus_id`, if they are repeats), and "
    "prepare again: groups never straddle splits"
)


def exact_duplicates(found: Scan) -> Finding:
    """Frames of a split that stand in another, to the last bit."""
    pairs: list[SharedFrames] = []
    for split, others in _PAIRS:
        mine = found.frames[split]
        for other in others:
            theirs = found.frames[other]
            shared, by_chance = (np.isin(h, theirs.hashes) for h in (mine.hashes, mine.mirrored))
            at = np.flatnonzero(shared)
            chosen = at[np.unique(np.linspace(0, len(at) - 1, min(len(at), EXAMPLES)).astype(int))]
            order = np.argsort(theirs.hashes, kind="stable")
            duplicates = order[np.searchsorted(theirs.hashes, mine.hashes[chosen], sorter=order)]
            examples = [
                Example.from_json(
                    {split: _place(found, *mine.place(i)), other: _place(found, *theirs.place(j))}
                )
                for i, j in zip(chosen.tolist(), duplicates.tolist(), strict=True)
            ]
            pairs.append(
                SharedFrames.counted(
                    split, other, int(shared.sum()), int(by_chance.sum()), len(shared), tuple(examples)
                )
            )
    return _about_frames("exact duplicates", "the same to the last bit", pairs)


def near_duplicates(found: Scan, advance: Callable[[int], None]) -> Finding:
    """Sampled frames of a split that show the same picture as one of another, moved or at another contrast."""
    rows, columns = found.sampled["test"].shape[1:]
    if min(rows, columns) < SMALLEST_SIDE:
        return Finding(
            check="near duplicates",
            level="note",
            sentence=f"Not checked: frames of {rows} by {columns} pixels agree by chance once they may be moved.",
            numbers=FramesNumbers(rows=rows, columns=columns),
        )
    pairs: list[SharedFrames] = []
    for split, others in _PAIRS:
        for other in others:
            pairs.append(_look_alikes(found, split, other))
            advance(1)
    shift = largest_shift(rows, columns)
    what = f"alike (details correlate by {SAME_PICTURE:g} or more, moved by up to {shift} of {columns} by {rows} cells)"
    return _about_frames("near duplicates", what, pairs)


def _look_alikes(found: Scan, split: str, other: str) -> SharedFrames:
    mine, theirs = found.sampled[split], found.sampled[other]
    if not len(mine) or not len(theirs):
        return SharedFrames.counted(split, other)
    distinctive = is_distinctive(mine)
    counts, examples = [], []
    # What looks alike in a mirror as well is what frames of this kind share by chance.
    for queries in (mine, np.ascontiguousarray(mine[:, :, ::-1])):
        nearest = candidates(queries, theirs)
        k = nearest.shape[1]
        alike = likeness(np.repeat(queries, k, axis=0), theirs[nearest.ravel()]).reshape(-1, k)
        same = distinctive & (alike.max(1) >= SAME_PICTURE)
        counts.append(int(same.sum()))
        if queries is mine:
            best = sorted(np.flatnonzero(same), key=lambda i: -alike[i].max())[:EXAMPLES]
            for i in best:
                most_alike = nearest[i, alike[i].argmax()]
                places = {
                    split: _place(found, *found.sampled_at[split][i]),
                    other: _place(found, *found.sampled_at[other][most_alike]),
                }
                examples.append(Example.from_json({**places, "correlation": round(float(alike[i].max()), 3)}))
    frames, by_chance = counts
    return SharedFrames.counted(split, other, frames, by_chance, len(mine), tuple(examples))


def _about_frames(check: str, what: str, pairs: list[SharedFrames]) -> Finding:
    """Fails where more frames are shared than mirrored frames, which share by chance alone."""
    numbers = FramesNumbers(pairs=tuple(pairs))
    if not any(pair.compared for pair in pairs):
        sentence = "Not checked: every frame is of one value all over, so that single frames tell nothing."
        return Finding(check=check, level="note", sentence=sentence, numbers=numbers)
    leaks = [
        pair
        for pair in pairs
        if pair.frames > max(2 * pair.by_chance, pair.by_chance + TOLERATED * pair.compared)
    ]
    some = leaks or [pair for pair in pairs if pair.frames]
    above_chance = any(pair.frames > pair.by_chance for pair in pairs)
    level: Level = "fail" if leaks else "note" if above_chance else "pass"
    if not some:
        compared = ", ".join(f"{pair.compared:,} {pair.split}" for pair in pairs[-2:])
        sentence = f"No frame of one split is in another, {what} ({compared} frames with contrast compared)."
        return Finding(check=check, level=level, sentence=sentence, numbers=numbers)
    told = "; ".join(
        f"{pair.frames:,} of {pair.compared:,} {pair.split} frames ({pair.share:.2%}; by chance "
        f"{pair.by_chance:,}) are in {pair.found_in}, {what}"
        + (f", such as {_example(pair)}" if pair.examples else "")
        for pair in some
    )
    sentence = f"{told}." + ("" if leaks else " That is no more than chance gives, or too few to matter.")
    return Finding(
        check=check,
        level=level,
        sentence=sentence,
        numbers=numbers,
        remedy=_GROUP_REMEDY if leaks else "",
    )


def _example(pair: SharedFrames) -> str:
    example = pair.examples[0]
    return f"{example.place(pair.split)} and {example.place(pair.found_in)}"


def _place(found: Scan, block: int, at: int) -> str:
    return f"session {found.blocks[block][0]} bin {at}"


def repeats_astride(found: Scan) -> Finding:
    """Stimulus ids, groups and whole clips that stand in two splits."""
    names: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    clips: dict[bytes, dict[str, str]] = defaultdict(dict)
    for (session, block), clip in zip(found.blocks, found.clips, strict=True):
        where = f"session {session} bins {block.start} to {block.stop}"
        for what, name in (("stimulus_id", block.stimulus_id), ("group", block.group)):
            if name is not None:
                names[what, name].setdefault(block.split, where)
        if clip:
            clips[clip].setdefault(block.split, where)
    everything = [*names.items(), *((("clip", c.hex()[:16]), splits) for c, splits in clips.items())]
    straddling = [
        Straddling(what=what, name=name, splits=splits)
        for (what, name), splits in everything
        if len(splits) > 1
    ]
    numbers = RepeatsNumbers(
        ids_and_groups=len(names),
        clips=len(clips),
        straddling=tuple(straddling[:EXAMPLES]),
        n_straddling=len(straddling),
    )
    if not straddling:
        sentence = f"Each of {len(names):,} stimulus ids and groups and {len(clips):,} different clips is in one split."
        return Finding(check="repeats astride", level="pass", sentence=sentence, numbers=numbers)
    first = straddling[0]
    places = " and ".join(f"{split} ({where})" for split, where in first.splits.items())
    sentence = f"{len(straddling):,} stimuli are in two splits: {first.what} '{first.name}' in {places}."
    return Finding(
        check="repeats astride", level="fail", sentence=sentence, numbers=numbers, remedy=_GROUP_REMEDY
    )


def context(store: RecordingStore, twin: Predictor) -> Finding:
    """Whether blocks share bins, or touch on a recording that may run on; and how far back the twin looks."""
    overlaps, close = [], []
    gap_s = store.settings.split.split_gap_s
    rate_hz = store.spec.bins_per_s
    for name, session in store.sessions.items():
        for a, b in _neighbours(session.blocks):
            where = f"session {name}, {a.split} to {a.stop} and {b.split} from {b.start}"
            if b.start < a.stop:
                overlaps.append(where)
            elif (
                a.split != b.split
                and _unnamed(a)
                and _unnamed(b)
                and b.start - a.stop < math.ceil(gap_s * rate_hz)
            ):
                close.append(where)
    history = twin.history_frames()
    numbers = ContextNumbers(
        overlaps=tuple(overlaps[:EXAMPLES]),
        n_overlaps=len(overlaps),
        closer_than_gap=tuple(close[:EXAMPLES]),
        n_closer_than_gap=len(close),
        split_gap_s=gap_s,
        burn_in_s=store.burn_in_bins / rate_hz,
        history_s=None if history is None else history / rate_hz,
    )
    seen = "without bound" if history is None else f"{history / rate_hz:.2f} s"
    state = (
        f"The twin's state begins afresh with every block, so no rate rests on a frame of another block, however far "
        f"back the twin looks ({seen}; burn-in {numbers.burn_in_s:g} s)."
    )
    if overlaps:
        sentence = f"{len(overlaps):,} blocks share bins with the one before ({overlaps[0]}). {state}"
        return Finding(
            check="context",
            level="fail",
            sentence=sentence,
            numbers=numbers,
            remedy="prepare the recording again; no bin may count twice",
        )
    if close:
        sentence = (
            f"{len(close):,} blocks of different splits, without stimulus id or group, are less than split_gap_s "
            f"({gap_s:g} s) apart ({close[0]}). {state}"
        )
        remedy = (
            "fine where the stimulus breaks between them; where the recording runs on, give no trials, so that "
            "time blocks with gaps are cut"
        )
        return Finding(check="context", level="note", sentence=sentence, numbers=numbers, remedy=remedy)
    return Finding(
        check="context", level="pass", sentence=f"No two blocks share a bin. {state}", numbers=numbers
    )


def _neighbours(blocks: tuple[Block, ...]) -> Iterator[tuple[Block, Block]]:
    yield from pairwise(sorted(blocks, key=lambda block: (block.start, block.stop)))


def _unnamed(block: Block) -> bool:
    return block.stimulus_id is None and block.group is None
