"""What units watched and what they did, slowed down and seen coarsely, for spike-triggered statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from jaxtyping import Float32
from torch.nn import functional

from visioncore.data.splits import Block
from visioncore.data.store import SessionStore

RATE_HZ = 60.0
"""Frames are averaged, and responses summed, down to about this rate."""
MAX_PIXELS = 2500
WINDOW_S = 0.25
"""How far back kernels see."""
Respond = Callable[[Block], Float32[np.ndarray, "time units"]]
"""Responses to a block, bin by bin."""


@dataclass(frozen=True)
class Watched:
    """Blocks one after the other; channels are averaged."""

    frames: Float32[np.ndarray, "time pixels"]
    """Contrast in deviations of the recording's pixels, without its mean."""
    grid: tuple[int, int]
    responses: Float32[np.ndarray, "time units"]
    weight: Float32[np.ndarray, "time units"]
    """1 for bins that count, and whose past is known; else 0."""
    lags: int
    lag_s: float
    px: int
    """Pixels of the display along one of the grid's."""
    minutes: float

    @classmethod
    def of(
        cls,
        session: SessionStore,
        blocks: Sequence[Block],
        rate_hz: float,
        respond: Respond,
        burn_in_bins: int,
        window_s: float = WINDOW_S,
    ) -> "Watched | None":
        """These blocks of a session; None where none of them is long enough.

        Args:
            respond: what is taken for the responses: recorded ones, a twin's, or several kinds side by side.
        """
        step = max(round(rate_hz / RATE_HZ), 1)
        lags = max(round(window_s * rate_hz / step), 1)
        size = session.sampling.height * session.sampling.width
        px = max(round((size / MAX_PIXELS) ** 0.5), 1)
        frames, responses, weights, bins = [], [], [], 0
        for block in blocks:
            n = block.n_bins // step
            if n <= lags:
                continue
            stop = block.start + n * step
            video = torch.from_numpy(session.video(block.start, stop)).float().mean(1)
            slow = video.unflatten(0, (n, step)).mean(1)
            frames.append(functional.avg_pool2d(slow[:, None], px, ceil_mode=True).flatten(1).numpy())
            answered = respond(block)[: n * step]
            valid = session.valid(block.start, stop)
            usable = np.tile(valid, (1, answered.shape[1] // valid.shape[1])) & np.isfinite(answered)
            usable[: max(burn_in_bins, 0)] = False
            weight = np.array(usable.reshape(n, step, -1).all(1))
            weight[: lags - 1] = False
            responses.append(np.nan_to_num(answered).reshape(n, step, -1).sum(1))
            weights.append(weight)
            bins += n * step
        if not frames:
            return None
        together = np.concatenate(frames)
        together -= together.mean(0)
        together /= max(float(together.std()), 1e-6)
        height, width = (-(-side // px) for side in (session.sampling.height, session.sampling.width))
        return cls(
            frames=together,
            grid=(height, width),
            responses=np.concatenate(responses).astype(np.float32),
            weight=np.concatenate(weights).astype(np.float32),
            lags=lags,
            lag_s=step / rate_hz,
            px=px,
            minutes=bins / rate_hz / 60,
        )

    def of_units(self, columns: slice) -> Self:
        """The same frames with some of the responses."""
        return replace(self, responses=self.responses[:, columns], weight=self.weight[:, columns])

    @property
    def centred(self) -> Float32[np.ndarray, "time units"]:
        """Responses less their mean; 0 where they do not count."""
        n = np.maximum(self.weight.sum(0), 1)
        return np.asarray((self.responses - (self.responses * self.weight).sum(0) / n) * self.weight)


def spread_blocks(blocks: Sequence[Block], rate_hz: float, max_minutes: float) -> list[Block]:
    """At most so many minutes of these blocks, spread over them; one at least."""
    allowed = max_minutes * 60 * rate_hz
    total = sum(block.n_bins for block in blocks)
    every = max(-(-total // max(int(allowed), 1)), 1)
    return list(blocks[::every])
