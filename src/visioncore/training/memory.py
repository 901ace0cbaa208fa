"""How much memory a run takes, known before it: one step is walked through with tensors that have sizes and no content.

Counted are weights, gradients, the optimiser's state, the average of the weights, and the most that one batch holds on
its way forward and back: each tensor once, for as long as anything holds it, as PyTorch's allocators do. What the
estimates before training hold is known from sizes alone: beside the code of each stands how many numbers it keeps.
"""

import logging
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from visioncore.data import RecordingStore
from visioncore.losses import masked_loss
from visioncore.model import InputClips, Twin, TwinConfig
from visioncore.model.linear import LowRankLinearConfig
from visioncore.spec import DataSpec
from visioncore.training.experiment import TrainingConfig
from visioncore.training.initialise import start_numbers
from visioncore.training.transfer import freeze
from visioncore.training.window import WINDOWS_S, window_numbers, windows_of

logger = logging.getLogger(__name__)

PROCESS_BYTES = 550e6
"""Of Python with PyTorch and Lightning, before any tensor."""


@dataclass(frozen=True)
class MemoryEstimate:
    """In bytes, of one process, at full precision."""

    parameters: int
    """Weights, and their average where the recipe has one."""
    optimiser: int
    batch: int
    """The most that is held beside these while one batch goes forward and back, gradients and video included."""
    cache: int
    """The recording, where it is kept in memory."""
    start: int = 0
    """The most that estimates before training hold, on the host and where the model computes."""
    start_on_device: int = 0
    """How much of it is where the model computes, at most."""

    @property
    def device(self) -> int:
        """Where the model computes."""
        return max(self.parameters + self.optimiser + self.batch, self.parameters + self.start_on_device)

    def host(self, *, on_gpu: bool) -> int:
        """Of the process: on a CPU the model computes there too."""
        training = 0 if on_gpu else self.parameters + self.optimiser + self.batch
        start = self.start + (0 if on_gpu else self.parameters)
        return int(PROCESS_BYTES) + self.cache + max(training, start)

    def to_json(self) -> dict[str, int]:
        """Plain values, in bytes."""
        return {
            **asdict(self),
            "device": self.device,
            "host_with_gpu": self.host(on_gpu=True),
            "host_without_gpu": self.host(on_gpu=False),
        }

    def __str__(self) -> str:
        return (
            f"{self.device / 1e9:.2f} GB where the model computes (weights {self.parameters / 1e9:.2f}, optimiser "
            f"{self.optimiser / 1e9:.2f}, a batch {self.batch / 1e9:.2f}; before training, estimates "
            f"{self.start / 1e9:.2f}); on the host "
            f"{self.host(on_gpu=False) / 1e9:.2f} GB without a GPU, {self.host(on_gpu=True) / 1e9:.2f} GB with one"
        )


@dataclass(frozen=True)
class Recorded:
    """How much of a recording the estimates before training read."""

    train_bins: Mapping[str, int]
    """Of each session."""
    longest_window_s: float
    """That the linear path may get, where it is found from the data."""

    @classmethod
    def of(cls, store: RecordingStore) -> "Recorded":
        """Of a prepared recording."""
        bins = {id_: sum(b.n_bins for b in own.blocks_in("train")) for id_, own in store.sessions.items()}
        return cls(bins, windows_of(store)[-1])


def estimate(
    model: TwinConfig,
    config: TrainingConfig,
    spec: DataSpec,
    cache_bytes: int = 0,
    recorded: Recorded | None = None,
    window_was_found: bool = False,
) -> MemoryEstimate:
    """What training `model` on such data takes; all clips of a batch are taken from the session with most units.

    Args:
        spec: with constants.
        recorded: what there is to read; as much as the estimates read at most when left out.
        window_was_found: whether the linear path's window, which `model` has, was found from the data.

    Raises:
        ConfigError: config and data disagree, or the optimiser has nothing to steer.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        twin = model.build(spec).train()
        if config.transfer is not None:
            freeze(twin, config.transfer.train)
        optimiser = config.optimiser.build(twin)
        weights = _bytes_of([*twin.parameters(), *twin.buffers()])
        average = 0 if config.ema_decay is None else weights
        with _Live() as live:
            _loss(twin, config).backward()
        optimiser.step()
        state = _bytes_of(tree_leaves([dict(own) for own in optimiser.state.values()]))
    start, on_device = _start(model, twin, config, recorded, window_was_found)
    return MemoryEstimate(weights + average, state, live.most, cache_bytes, start, on_device)


def say_before(
    model: TwinConfig, config: TrainingConfig, store: RecordingStore, *, window_was_found: bool
) -> None:
    """Log what the run will take; a model that cannot be walked through without content is trained all the same."""
    try:
        recorded = Recorded.of(store)
        found = estimate(model, config, store.spec, store.cached_bytes, recorded, window_was_found)
        logger.info("memory: %s", found)
    except (NotImplementedError, RuntimeError) as error:
        logger.info("memory: not known, for this model cannot be walked through without data (%s)", error)


def _start(
    model: TwinConfig,
    twin: Twin,
    config: TrainingConfig,
    recorded: Recorded | None,
    window_was_found: bool,
) -> tuple[int, int]:
    """Bytes of the estimates before training: all of them, and those where the model computes."""
    spec, initialise, linear = twin.spec, config.initialise, model.linear
    low_rank = linear if isinstance(linear, LowRankLinearConfig) else None
    searched = window_was_found or (
        low_rank is not None and low_rank.window_s == "auto" and config.transfer is None and initialise.linear
    )
    longest_s = WINDOWS_S[-1] if recorded is None else recorded.longest_window_s
    all_, on_device = 0, 0
    for session in spec.sessions:
        longest = round(initialise.max_minutes_per_session * 60 * spec.bins_per_s)
        bins = longest if recorded is None else recorded.train_bins.get(session.id, 0)
        own, fit = start_numbers(twin, session.id, bins, initialise)
        all_, on_device = max(all_, own), max(on_device, fit)
        if searched and low_rank is not None:
            n_units = len(session.unit_ids)
            all_ = max(all_, window_numbers(spec, n_units, bins, longest_s, low_rank.rank, initialise))
    return 4 * all_, 4 * on_device


def _loss(twin: Twin, config: TrainingConfig) -> Tensor:
    spec, frames, clips = twin.spec, config.clip_frames, config.batch_size
    session = max(spec.sessions, key=lambda own: len(own.unit_ids))
    sampling = spec.sampling
    video = torch.zeros(clips, sampling.channels, frames, sampling.height, sampling.width)
    n_behaviours = len(session.behaviour_names)
    behaviour = torch.zeros(clips, frames, n_behaviours) if n_behaviours else None
    responses = torch.zeros(clips, frames, len(session.unit_ids))
    (rates,), _ = twin.forward_with_extras([InputClips(session.id, video, behaviour)], (0, 0))
    scale = twin.heads[session.id].output.response_scale
    return masked_loss(spec.response_kind, rates, responses, responses == 0, scale)


class _Live(TorchDispatchMode):
    """The bytes of all tensors made inside that something still holds, and the most of them at any time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: dict[int, Any] = {}
        self.now = self.most = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._hold(tensor.untyped_storage())
        self.most = max(self.most, self.now)
        return result

    def _hold(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()

        def gone(reference: Any) -> None:
            if self._known.get(key) is reference:
                del self._known[key]
                self.now -= size

        self._known[key] = weakref.ref(storage, gone)
        self.now += size


def _bytes_of(tensors: Iterable[Any]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))
