"""How a rate depends on each pixel of the video before it: gradients, and attributions made of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor

from visioncore.data.splits import Block
from visioncore.data.store import SessionStore
from visioncore.model import Twin
from visioncore.model.cores.vivit import ViViT
from visioncore.model.twin import TwinState, evaluating

CONTEXT_S = 1.0
"""Of video before a moment's window: it sets the state, and is not differentiated."""
IG_STEPS = 32
SMOOTH_SAMPLES, SMOOTH_NOISE = 16, 0.1
"""SmoothGrad's samples, and its noise as a share of the window's range of pixels."""


@dataclass(frozen=True)
class Moments:
    """Bins of a session whose rates are asked about, each with the video that led to it.

    A moment's last `window` frames can be differentiated; its own bin is the last of them.
    """

    session: str
    video: Shaped[np.ndarray, "moments frames channels height width"]
    behaviour: Float32[np.ndarray, "moments frames behaviours"] | None
    window: int
    bins: tuple[int, ...] = ()
    """Where they stand in the session."""

    def __len__(self) -> int:
        return len(self.video)

    @property
    def shown(self) -> Shaped[np.ndarray, "moments window channels height width"]:
        """The part that can be differentiated."""
        return self.video[:, -self.window :]

    def take(self, some: slice) -> Self:
        """Some of them."""
        behaviour = None if self.behaviour is None else self.behaviour[some]
        return replace(self, video=self.video[some], behaviour=behaviour, bins=self.bins[some])

    def of_last(self, pixels: Shaped[np.ndarray, "moments window channels height width"]) -> Self:
        """The same moments with other pixels in their windows."""
        return replace(self, video=np.concatenate((self.video[:, : -self.window], pixels), axis=1))


def draw_moments(
    twin: Twin,
    session: SessionStore,
    blocks: tuple[Block, ...],
    count: int,
    window: int,
    generator: np.random.Generator,
) -> Moments | None:
    """Moments of these blocks, one at a random place of each of `count` stretches; None where blocks are too short.

    Every phase of a token is as likely as any other.
    """
    first = max(window, twin.stride)
    usable = [(block.start, block.stop) for block in blocks if block.n_bins > first]
    total = sum(stop - start - first for start, stop in usable)
    if not usable or total < count:
        return None
    places = (np.arange(count) + generator.random(count)) * total / count
    ends = []
    for place in places.astype(int):
        for start, stop in usable:
            if place < stop - start - first:
                # What came before is cut off at the block's start, and made up for by the block's first frame.
                ends.append((start, start + first + int(place)))
                break
            place -= stop - start - first
    return moments_at(twin, session, ends, window)


def moments_at(twin: Twin, session: SessionStore, ends: Sequence[tuple[int, int]], window: int) -> Moments:
    """Moments at these bins.

    Args:
        ends: of each moment the first bin of its block, and its own.
        window: frames that can be differentiated.
    """
    n = window + round(CONTEXT_S * twin.spec.rate_hz)
    video = [_before(session.video, begin, end, n) for begin, end in ends]
    behaviour = None
    if twin.uses_behaviour and session.spec.behaviour_names:
        behaviour = np.stack([_before(session.behaviour, begin, end, n) for begin, end in ends])
    return Moments(session.id, np.stack(video), behaviour, window, tuple(end for _, end in ends))


def _before(read: object, begin: int, end: int, n: int) -> np.ndarray:
    """The `n` bins up to `end`, itself included; before `begin` its own value stands."""
    assert callable(read)
    found = np.asarray(read(max(begin, end + 1 - n), end + 1))
    lacking = n - len(found)
    return np.concatenate((np.repeat(found[:1], lacking, axis=0), found)) if lacking else found


class Differentiated:
    """A twin's rates at the moments' own bins, as a function of the pixels in their windows."""

    def __init__(self, twin: Twin, moments: Moments) -> None:
        self.twin, self.moments = twin, moments
        with torch.no_grad(), evaluating(twin):
            context = self._video(moments.video[:, : -moments.window])
            _, self._state = twin.advance(
                None, context, self._behaviour(before=True), session=moments.session
            )

    def pixels(self) -> Float[Tensor, "moments channels window height width"]:
        """The windows' own."""
        return self._video(self.moments.shown).float()

    def rates(
        self, pixels: Float[Tensor, "moments channels window height width"]
    ) -> Float[Tensor, "moments units"]:
        """Expected counts per bin (or the trace) at the last bin; units in the twin's order."""
        state: TwinState = self._state
        with evaluating(self.twin):
            rates, _ = self.twin.advance(
                state, pixels, self._behaviour(before=False), session=self.moments.session
            )
        return rates[:, -1]

    def gradients(
        self, pixels: Float[Tensor, "moments channels window height width"], columns: np.ndarray
    ) -> Iterator[tuple[Float[Tensor, " moments"], Float[Tensor, "moments channels window height width"]]]:
        """Per unit of these columns, its rates and their gradient; one after the other, since each is large."""
        pixels = pixels.detach().requires_grad_()
        rates = self.rates(pixels)
        for column in columns.tolist():
            with _fast_to_pixels(self.twin):
                (gradient,) = torch.autograd.grad(rates[:, column].sum(), pixels, retain_graph=True)
            yield rates[:, column].detach(), gradient

    def _video(self, frames: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(frames)).to(self.twin.device).transpose(1, 2)

    def _behaviour(self, *, before: bool) -> Tensor | None:
        if self.moments.behaviour is None:
            return None
        own = self.moments.behaviour
        part = own[:, : -self.moments.window] if before else own[:, -self.moments.window :]
        return torch.from_numpy(np.ascontiguousarray(part, np.float32)).to(self.twin.device)


@contextmanager
def _fast_to_pixels(twin: Twin) -> Iterator[None]:
    """On a CPU, the gradient of a ViViT's convolution to its input by PyTorch's own code, which takes a third of the
    time that oneDNN's takes; a rival's further convolutions are slower that way.
    """
    onednn: Any = torch.backends.mkldnn
    before = onednn.enabled
    onednn.enabled = before and not isinstance(twin.trunk.core, ViViT)
    try:
        yield
    finally:
        onednn.enabled = before


def integrated_gradients(
    twin: Twin, moments: Moments, column: int, grey: Float[np.ndarray, " channels"], steps: int = IG_STEPS
) -> Float32[np.ndarray, "moments window channels height width"]:
    """What each pixel adds to a unit's rate, against a window of grey; they sum up to the difference of the two rates.

    Source: Sundararajan, Taly & Yan 2017, eq. 3, by the midpoint rule.
    """
    function = Differentiated(twin, moments)
    shown = function.pixels()
    base = torch.as_tensor(grey, dtype=shown.dtype, device=shown.device).view(1, -1, 1, 1, 1).expand_as(shown)
    total = torch.zeros_like(shown)
    for step in range(steps):
        between = base + (shown - base) * ((step + 0.5) / steps)
        total += next(function.gradients(between, np.array([column])))[1]
    return ((shown - base) * total / steps).transpose(1, 2).cpu().numpy()


def smooth_grad(
    twin: Twin,
    moments: Moments,
    column: int,
    generator: np.random.Generator,
    samples: int = SMOOTH_SAMPLES,
    noise: float = SMOOTH_NOISE,
) -> Float32[np.ndarray, "moments window channels height width"]:
    """The gradient averaged over copies of the window with noise.

    Source: Smilkov et al. 2017. The noise is Gaussian, its deviation `noise` times the window's range of pixels.
    """
    function = Differentiated(twin, moments)
    shown = function.pixels()
    spread = noise * (shown.amax() - shown.amin())
    total = torch.zeros_like(shown)
    for _ in range(samples):
        drawn = torch.from_numpy(generator.standard_normal(shown.shape).astype(np.float32)).to(shown.device)
        total += next(function.gradients(shown + spread * drawn, np.array([column])))[1]
    return (total / samples).transpose(1, 2).cpu().numpy()
