"""One pass over all video of a recording: what the checks of leaks need, in bounded memory.

Of every frame in a block a hash is kept, of some ten frames a second a small grey copy, and of every bin,
those between blocks included, the moments of the signals that normalisation is fitted on.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Float64, Int, Shaped, UInt64

from visioncore.data.splits import SPLITS, Block, spread_share
from visioncore.data.store import RecordingStore, SessionStore

SAMPLED_HZ = 10.0
"""Frames per second that are compared for likeness; the exact comparison takes all frames."""
MAX_SAMPLED = {"train": 20_000, "validation": 3_000, "test": 3_000}
"""At most about this many frames per split are compared for likeness: spread over the recording, so that
hours of video cost no more than one."""
LEAST_CHANGES = 32
"""Times that a clip without contrast (full-field flicker) must change: shorter ones may agree by chance."""
SIDE_PX = 32
"""Sampled frames are averaged down until no side is longer."""
_PIECE_BYTES = 2**22


class Moments:
    """Number, mean and spread per column; sums about a pivot near the mean, so that parts can be added up."""

    def __init__(self, pivot: Float64[np.ndarray, " columns"]) -> None:
        self._pivot = pivot
        self.count = 0
        self._sum, self._squares = np.zeros_like(pivot), np.zeros_like(pivot)

    def add(self, values: Shaped[np.ndarray, "samples columns"]) -> None:
        """Take in more samples."""
        self.count += len(values)
        for i, column in enumerate(values.T):
            if values.dtype == np.uint8:
                levels = np.arange(256) - self._pivot[i]
                weights = np.bincount(column, minlength=256)
                self._sum[i] += weights @ levels
                self._squares[i] += weights @ levels**2
            else:
                away = column.astype(np.float64) - self._pivot[i]
                self._sum[i] += away.sum()
                self._squares[i] += (away**2).sum()

    def column(self, i: int) -> "Moments":
        """Of one column alone."""
        own = Moments(self._pivot[[i]])
        own.count, own._sum, own._squares = self.count, self._sum[[i]], self._squares[[i]]
        return own

    def __add__(self, other: "Moments") -> "Moments":
        both = Moments(self._pivot)
        both.count = self.count + other.count
        both._sum, both._squares = self._sum + other._sum, self._squares + other._squares
        return both

    @property
    def mean(self) -> Float64[np.ndarray, " columns"]:
        """Mean of all samples."""
        return self._pivot + self._sum / max(self.count, 1)

    @property
    def std(self) -> Float64[np.ndarray, " columns"]:
        """Standard deviation of all samples."""
        n = max(self.count, 1)
        return np.sqrt(np.maximum(self._squares / n - (self._sum / n) ** 2, 0))


@dataclass
class FrameTable:
    """Frames of one split; `block` counts through `Scan.blocks`, `bin` is the session's."""

    hashes: UInt64[np.ndarray, " frames"]
    mirrored: UInt64[np.ndarray, " frames"]
    """Hashes of the frames seen in a mirror: as likely as the frames themselves to match another by chance."""
    block: Int[np.ndarray, " frames"]
    bin: Int[np.ndarray, " frames"]

    def place(self, frame: int) -> tuple[int, int]:
        """Block and bin of one frame."""
        return int(self.block[frame]), int(self.bin[frame])


@dataclass
class Scan:
    """What one pass has gathered."""

    blocks: list[tuple[str, Block]]
    """Every block with its session's id."""
    clips: list[bytes]
    """A digest of each block's whole video; empty where no frame has contrast and it hardly ever changes."""
    frames: dict[str, FrameTable]
    """Per split, the frames that have contrast, all of them."""
    sampled: dict[str, Float32[np.ndarray, "frames rows columns"]]
    """Per split, small grey copies."""
    sampled_at: dict[str, list[tuple[int, int]]]
    """Block and bin of each."""
    video: dict[str, dict[str, Moments]]
    """Per session and split; `spared`, of training blocks that the twin did not have; and `outside` of all blocks."""
    behaviour: dict[str, dict[str, Moments]]
    """Likewise, of the signals that the session has."""


@dataclass
class _Columns:
    """Pieces of a `FrameTable`."""

    hashes: list[np.ndarray] = field(default_factory=list)
    mirrored: list[np.ndarray] = field(default_factory=list)
    block: list[np.ndarray] = field(default_factory=list)
    bin: list[np.ndarray] = field(default_factory=list)

    def table(self) -> FrameTable:
        hashes, mirrored = (
            np.concatenate([np.empty(0, np.uint64), *h]) for h in (self.hashes, self.mirrored)
        )
        block, bins = (np.concatenate([np.empty(0, np.int64), *c]) for c in (self.block, self.bin))
        return FrameTable(hashes, mirrored, block, bins)


@dataclass
class _Clip:
    """A block's video as it passes by."""

    n_changes: int = 0
    contrast: bool = False

    def __post_init__(self) -> None:
        self._hash = hashlib.sha256()
        self._last: np.ndarray | None = None

    def add(self, frames: Shaped[np.ndarray, "time channels height width"], contrast: bool) -> None:
        self._hash.update(np.ascontiguousarray(frames).tobytes())
        self.contrast |= contrast
        corner = frames[:, :, 0, 0]
        if self._last is not None:
            corner = np.concatenate([self._last, corner])
        self.n_changes += int((np.diff(corner.astype(np.float64), axis=0) != 0).any(1).sum())
        self._last = corner[-1:]

    def digest(self) -> bytes:
        """Empty for a video that says nothing about which clip it is."""
        return self._hash.digest() if self.contrast or self.n_changes >= LEAST_CHANGES else b""


def scan(store: RecordingStore, advance: Callable[[int], None], train_share: float = 1.0) -> Scan:
    """Read all video and behaviour once.

    Args:
        advance: is told how many bins have been read.
        train_share: of the training blocks, what the twin was trained on.
    """
    places = (*SPLITS, "spared", "outside")
    columns = {split: _Columns() for split in SPLITS}
    found = Scan([], [], {}, {}, {}, {}, {})
    sampling = {split: _Sampling.of(store, split) for split in SPLITS}
    small: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    at: dict[str, list[tuple[int, int]]] = {split: [] for split in SPLITS}
    # One pivot for all sessions, so that their moments add up.
    pivot = np.array(store.spec.sessions[0].normalisation.video_mean)
    for session in store.sessions.values():
        video = found.video[session.id] = {place: Moments(pivot) for place in places}
        n_signals = len(session.spec.behaviour_names)
        behaviour = found.behaviour[session.id] = {place: Moments(np.zeros(n_signals)) for place in places}
        for start, stop in _outside(session):
            for first, frames in _pieces(session, start, stop):
                video["outside"].add(_pixels(frames))
                _add_behaviour(behaviour["outside"], session, first, first + len(frames))
                advance(len(frames))
        trained = set(spread_share(session.blocks_in("train"), train_share))
        for block in session.blocks:
            index = len(found.blocks)
            found.blocks.append((session.id, block))
            place = "spared" if block.split == "train" and block not in trained else block.split
            sampled, clip = sampling[block.split].of_next(block), _Clip()
            for first, frames in _pieces(session, block.start, block.stop):
                video[place].add(_pixels(frames))
                _add_behaviour(behaviour[place], session, first, first + len(frames))
                kept = np.flatnonzero(_has_contrast(frames))
                clip.add(frames, bool(kept.size))
                _take(columns[block.split], frames, kept, index, first)
                chosen = kept[np.isin(first + kept, sampled)]
                small[block.split].append(reduced(frames[chosen]))
                at[block.split] += [(index, first + int(i)) for i in chosen]
                advance(len(frames))
            found.clips.append(clip.digest())
    sampling_of = store.spec.sampling
    empty = reduced(np.empty((0, sampling_of.channels, sampling_of.height, sampling_of.width), np.float32))
    found.frames = {split: columns[split].table() for split in SPLITS}
    found.sampled = {split: np.concatenate([empty, *small[split]]) for split in SPLITS}
    found.sampled_at = at
    return found


def reduced(
    frames: Shaped[np.ndarray, "frames channels height width"],
) -> Float32[np.ndarray, "frames rows columns"]:
    """Grey frames, averaged over squares until no side is longer than `SIDE_PX`."""
    grey = frames.mean(1, dtype=np.float32)
    n, height, width = grey.shape
    factor = math.ceil(max(height, width) / SIDE_PX)
    rows, columns = max(height // factor, 1), max(width // factor, 1)
    cut = grey[:, : rows * factor, : columns * factor]
    if factor == 1 or min(height, width) < factor:
        return grey
    return np.asarray(cut.reshape(n, rows, factor, columns, factor).mean((2, 4)), np.float32)


@dataclass
class _Sampling:
    """Which frames of a split are compared for likeness: one in `step`, and of short blocks the middle one.

    A static image shown for one bin is a block of its own. Where there are very many, one block in `every` is taken.
    """

    step: int
    every: int
    n_blocks: int = 0

    @classmethod
    def of(cls, store: RecordingStore, split: str) -> "_Sampling":
        sizes = [b.n_bins for s in store.sessions.values() for b in s.blocks if b.split == split]
        most = MAX_SAMPLED[split]
        step = max(round(store.spec.bins_per_s / SAMPLED_HZ), math.ceil(sum(sizes) / most), 1)
        return cls(step, max(math.ceil(len(sizes) / most), 1))

    def of_next(self, block: Block) -> Int[np.ndarray, " frames"]:
        """The session's bins that are sampled in the split's next block."""
        self.n_blocks += 1
        if (self.n_blocks - 1) % self.every:
            return np.empty(0, np.int64)
        return np.arange(block.start + min(self.step, block.n_bins) // 2, block.stop, self.step)


def _outside(session: SessionStore) -> Iterator[tuple[int, int]]:
    """Stretches of a session that no block covers."""
    end = 0
    for block in sorted(session.blocks, key=lambda b: b.start):
        if block.start > end:
            yield end, block.start
        end = max(end, block.stop)
    if end < session.n_bins:
        yield end, session.n_bins


def _pieces(session: SessionStore, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
    first_frame = session.video(start, start + 1) if stop > start else np.empty(0)
    rows = max(_PIECE_BYTES // max(first_frame.nbytes, 1), 1)
    for first in range(start, stop, rows):
        yield first, session.video(first, min(first + rows, stop))


def _pixels(
    frames: Shaped[np.ndarray, "time channels height width"],
) -> Shaped[np.ndarray, "pixels channels"]:
    return np.moveaxis(frames, 1, -1).reshape(-1, frames.shape[1])


def _add_behaviour(moments: Moments, session: SessionStore, start: int, stop: int) -> None:
    samples = session.behaviour(start, stop)
    if samples is not None:
        moments.add(samples)


def _has_contrast(frames: Shaped[np.ndarray, "time channels height width"]) -> np.ndarray:
    """Frames that are not one colour all over: a grey screen between stimuli is no leak."""
    flat = frames.reshape(*frames.shape[:2], -1)
    return np.asarray((flat != flat[:, :, :1]).any((1, 2)))


def _take(columns: _Columns, frames: np.ndarray, kept: np.ndarray, block: int, first: int) -> None:
    columns.hashes.append(_hashes(frames[kept]))
    columns.mirrored.append(_hashes(frames[kept][..., ::-1]))
    columns.block.append(np.full(len(kept), block))
    columns.bin.append(first + kept)


def _hashes(frames: np.ndarray) -> UInt64[np.ndarray, " frames"]:
    if not len(frames):
        return np.empty(0, np.uint64)
    rows = np.ascontiguousarray(frames).reshape(len(frames), -1).view(np.uint8)
    digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, np.uint64)
