"""Clips for training: which window of which session clip n of a run is, is a function of the seed and n alone.

So a run that is killed and resumed, or dealt out to other batches, workers or machines, sees the same clips.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from visioncore.data.balance import Balance, Mixing, balance_weights, clip_weights
from visioncore.data.splits import GOLDEN, Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.errors import DataError
from visioncore.recording import Split


@dataclass(frozen=True)
class SessionClips:
    """Clips of one session; frames and samples as recorded, not normalised."""

    session: str
    video: Shaped[Tensor, "batch channels time height width"]
    behaviour: Float[Tensor, "batch time behaviours"] | None
    responses: Float[Tensor, "batch time units"]
    valid: Bool[Tensor, "batch time units"]
    """False where the response is missing, in each clip's burn-in, and after the end of a short block."""
    lengths: tuple[int, ...]
    """Bins of each clip before its padding."""
    starts: tuple[int, ...]
    """First bin of each clip in its session, to name it in messages."""
    weight: float = 1.0
    """Of each clip in the loss."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "SessionClips":
        """The same clips on a device."""
        return replace(
            self,
            video=self.video.to(device, non_blocking=non_blocking),
            behaviour=None
            if self.behaviour is None
            else self.behaviour.to(device, non_blocking=non_blocking),
            responses=self.responses.to(device, non_blocking=non_blocking),
            valid=self.valid.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> "SessionClips":
        """The same clips in page-locked memory, for the DataLoader's `pin_memory`."""
        return replace(
            self,
            video=self.video.pin_memory(),
            behaviour=None if self.behaviour is None else self.behaviour.pin_memory(),
            responses=self.responses.pin_memory(),
            valid=self.valid.pin_memory(),
        )


Batch = tuple[SessionClips, ...]


class ClipDataset(Dataset[Batch]):
    """Endless batches of clips: `dataset[i]` depends on the seed and i alone, in any process and any order.

    A clip is a window of `clip_frames` bins inside one block, drawn uniformly within a block that is drawn in
    proportion to its length; a shorter block is padded at its end. Sessions get their share of clips by
    systematic sampling of the weights, within a step and from step to step, instead of by chance. Which clips make up
    a step does not depend on how many batches they are dealt out to. Use with
    `DataLoader(dataset, batch_size=None, sampler=StepSampler(...))`; `clips_per_batch` counts all sessions.

    Args:
        batches_per_step: of all processes together.
    """

    def __init__(
        self,
        store: RecordingStore,
        clip_frames: int,
        clips_per_batch: int,
        seed: int,
        balance: Balance,
        split: Split = "train",
        *,
        batches_per_step: int = 1,
        mixing: Mixing = "clips",
    ) -> None:
        self._burn_in_bins = store.burn_in_bins
        if clip_frames <= self._burn_in_bins:
            raise DataError(
                f"clips of {clip_frames} frames are all burn-in (burn_in_s is {self._burn_in_bins} bins); "
                "make the clips longer or burn_in_s shorter"
            )
        self._clip_frames = clip_frames
        self._clips_per_batch, self._clips_per_step = clips_per_batch, clips_per_batch * batches_per_step
        self._seed, self._mixing = seed, mixing
        with_units = [session for session in store.sessions.values() if session.unit_ids]
        if not with_units:
            raise DataError("no session has units, so there are no responses to train on")
        blocks = {session.id: self._usable(session, split) for session in with_units}
        self._blocks = {session: own for session, own in blocks.items() if own}
        if not self._blocks:
            raise DataError(f"no {split} block is longer than the burn-in of {self._burn_in_bins} bins")
        self._sessions = tuple(store.sessions[session] for session in self._blocks)
        n_sessions = len(self._sessions)
        if mixing == "round" and self._clips_per_step % n_sessions:
            raise DataError(
                f"a step has {self._clips_per_step} clips, which are no rounds of {n_sessions} sessions; with "
                f"training.mixing=round make training.accumulate_grad_batches or batch_size a multiple of {n_sessions}"
            )
        bins = [sum(block.n_bins for block in own) for own in self._blocks.values()]
        self.weights = balance_weights(tuple(s.subject for s in self._sessions), tuple(bins), balance)
        """What each session counts in training, of those that have clips; sums to 1."""
        shares = self.weights * n_sessions if mixing == "round" else 1.0
        self._clip_weights = clip_weights(store, self._blocks) * shares
        store.load_into_memory()

    def __getitem__(self, index: int) -> Batch:
        """Batch `index`; there is no last one."""
        step, first = divmod(index * self._clips_per_batch, self._clips_per_step)
        in_step = first + np.arange(self._clips_per_batch)
        sessions = self._sessions_of(step, in_step)
        numbers = step * self._clips_per_step + in_step
        return tuple(
            self._clips(place, numbers[sessions == place].tolist()) for place in np.unique(sessions).tolist()
        )

    def _usable(self, session: SessionStore, split: Split) -> tuple[Block, ...]:
        return tuple(block for block in session.blocks_in(split) if block.n_bins > self._burn_in_bins)

    def _sessions_of(self, step: int, in_step: Int64[np.ndarray, " clips"]) -> Int64[np.ndarray, " clips"]:
        """Systematic sampling with an offset that the golden ratio spreads evenly over the steps.

        So each step holds each session's share to within one clip, and so does any run of steps, nearly.
        """
        n_sessions, n_clips = len(self._sessions), self._clips_per_step
        if self._mixing == "round":
            return in_step * n_sessions // n_clips
        first = np.random.default_rng(self._seed).random()
        offset = (first + step * GOLDEN) % 1.0
        points = np.full(len(in_step), offset) if self._mixing == "session" else (offset + in_step) / n_clips
        edges = np.cumsum(self.weights)
        return np.minimum(np.searchsorted(edges, points, side="right"), n_sessions - 1)

    def _clips(self, place: int, numbers: list[int]) -> SessionClips:
        session = self._sessions[place]
        windows = [self._window(session, number) for number in numbers]
        valid = self._stack([session.valid(*window) for window in windows])
        valid[:, : self._burn_in_bins] = False
        video = self._stack([session.video(*window) for window in windows])
        behaviour = [session.behaviour(*window) for window in windows]
        known = [samples for samples in behaviour if samples is not None]
        return SessionClips(
            session=session.id,
            video=torch.from_numpy(np.ascontiguousarray(video.swapaxes(1, 2))),
            behaviour=torch.from_numpy(self._stack(known)) if known else None,
            responses=torch.from_numpy(self._stack([session.responses(*window) for window in windows])),
            valid=torch.from_numpy(valid),
            lengths=tuple(stop - start for start, stop in windows),
            starts=tuple(start for start, _ in windows),
            weight=float(self._clip_weights[place]),
        )

    def _window(self, session: SessionStore, number: int) -> tuple[int, int]:
        """First bin, and the one after the last, of a clip by its number in the run."""
        rng = np.random.default_rng([self._seed, number])
        blocks = self._blocks[session.id]
        lengths = np.array([block.n_bins for block in blocks], np.float64)
        block = blocks[int(rng.choice(len(blocks), p=lengths / lengths.sum()))]
        length = min(self._clip_frames, block.n_bins)
        start = block.start + int(rng.integers(block.n_bins - length + 1))
        return start, start + length

    def _stack(self, clips: list[Shaped[np.ndarray, "..."]]) -> Shaped[np.ndarray, "batch time ..."]:
        """One array of clips, zeros after the end of one that is too short."""
        stacked = np.zeros((len(clips), self._clip_frames, *clips[0].shape[1:]), clips[0].dtype)
        for row, clip in zip(stacked, clips, strict=True):
            row[: len(clip)] = clip
        return stacked


def clip_length(store: RecordingStore, clip_frames: int) -> int:
    """Frames of a training clip: as asked, but no more than the longest block has, as what follows would be padding."""
    longest = max(block.n_bins for session in store.sessions.values() for block in session.blocks_in("train"))
    return min(clip_frames, longest)


class StepSampler(Sampler[int]):
    """The batch indices of one epoch, however the run was interrupted; each rank has its own."""

    def __init__(
        self, steps_per_epoch: int, rank: int = 0, world_size: int = 1, epoch: int = 0, first: int = 0
    ) -> None:
        """`epoch` is the one to begin with, and `first` how many of its batches were drawn before."""
        self._steps_per_epoch = steps_per_epoch
        self._began_in, self._first = epoch, first
        self._rank = rank
        self._world_size = world_size
        self._epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is; Lightning calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._steps_per_epoch

    def __iter__(self) -> Iterator[int]:
        first = self._first if self._epoch == self._began_in else 0
        for step in range(first, self._steps_per_epoch):
            yield (self._epoch * self._steps_per_epoch + step) * self._world_size + self._rank
