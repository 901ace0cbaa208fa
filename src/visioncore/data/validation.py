"""Whole blocks for validation, several of one session and length at a time."""

import math
from itertools import groupby

import numpy as np
import torch
from torch.utils.data import Dataset

from visioncore.data.clips import SessionClips
from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore


class ValidationBlocks(Dataset[SessionClips]):
    """`dataset[i]`: up to `blocks_at_once` validation blocks, with the burn-in of each masked out.

    Args:
        max_minutes: of each session; blocks spread over the recording are left out beyond it.
    """

    def __init__(self, store: RecordingStore, blocks_at_once: int, max_minutes: float | None = None) -> None:
        self._burn_in_bins = store.burn_in_bins
        self._groups: list[tuple[SessionStore, tuple[Block, ...]]] = []
        for session in (own for own in store.sessions.values() if own.unit_ids):
            usable = [b for b in session.blocks_in("validation") if b.n_bins > store.burn_in_bins]
            if max_minutes is not None:
                minutes = sum(b.n_bins for b in usable) / store.spec.bins_per_s / 60
                usable = usable[:: max(math.ceil(minutes / max_minutes), 1)]
            for _, same in groupby(sorted(usable, key=lambda b: (b.n_bins, b.start)), lambda b: b.n_bins):
                blocks = tuple(same)
                self._groups += [
                    (session, blocks[start : start + blocks_at_once])
                    for start in range(0, len(blocks), blocks_at_once)
                ]

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> SessionClips:
        session, blocks = self._groups[index]
        windows = [(block.start, block.stop) for block in blocks]
        valid = np.stack([session.valid(*window) for window in windows])
        valid[:, : self._burn_in_bins] = False
        video = np.stack([session.video(*window) for window in windows])
        samples = [s for s in (session.behaviour(*window) for window in windows) if s is not None]
        return SessionClips(
            session=session.id,
            video=torch.from_numpy(np.ascontiguousarray(video.swapaxes(1, 2))),
            behaviour=torch.from_numpy(np.stack(samples)) if samples else None,
            responses=torch.from_numpy(np.stack([session.responses(*window) for window in windows])),
            valid=torch.from_numpy(valid),
            lengths=tuple(block.n_bins for block in blocks),
            starts=tuple(block.start for block in blocks),
        )
