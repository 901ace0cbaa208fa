"""How much memory a run takes, known before it: one step is walked through with tensors that have sizes and no content.

Counted are weights, gradients, the optimiser's state, the average of the weights, and the most that one batch holds on
its way forward and back: each tensor once, for as long as anything holds it, as PyTorch's allocators do.
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
from visioncore.spec import DataSpec
from visioncore.training.experiment import TrainingConfig
from visioncore.training.transfer import freeze

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

    @property
    def device(self) -> int:
        """Where the model computes."""
        return self.parameters + self.optimiser + self.batch

    def host(self, *, on_gpu: bool) -> int:
        """Of the process: on a CPU the model computes there too."""
        return int(PROCESS_BYTES) + self.cache + (0 if on_gpu else self.device)

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
            f"{self.optimiser / 1e9:.2f}, a batch {self.batch / 1e9:.2f}); on the host "
            f"{self.host(on_gpu=False) / 1e9:.2f} GB without a GPU, {self.host(on_gpu=True) / 1e9:.2f} GB with one"
        )


def estimate(
    model: TwinConfig, config: TrainingConfig, spec: DataSpec, cache_bytes: int = 0
) -> MemoryEstimate:
    """What training `model` on such data takes; all clips of a batch are taken from the session with most units.

    Args:
        spec: with constants.

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
    return MemoryEstimate(weights + average, state, live.most, cache_bytes)


def say_before(model: TwinConfig, config: TrainingConfig, store: RecordingStore) -> None:
    """Log what the run will take; a model that cannot be walked through without content is trained all the same."""
    try:
        logger.info("memory: %s", estimate(model, config, store.spec, store.cached_bytes))
    except (NotImplementedError, RuntimeError) as error:
        logger.info("memory: not known, for this model cannot be walked through without data (%s)", error)


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
