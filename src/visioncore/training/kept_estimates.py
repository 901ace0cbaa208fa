"""Estimates before training, kept beside the recording plan, for the trainings that would make the same ones.

A file per session and way of estimating, `estimates/KEY.safetensors`. The key is a digest of all that the estimates
depend on to the last bit, so what is read is what would be computed; a file that is damaged is computed anew. Two
processes that compute the same both write it, and the last one wins. The folder may be deleted at any time.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from visioncore.config import dump_config
from visioncore.data import RecordingStore, SessionStore
from visioncore.errors import CheckpointError
from visioncore.model import Twin
from visioncore.model.adapters import NoAdapterConfig
from visioncore.model.heads import Head
from visioncore.tensor_file import read_tensors, write_tensors
from visioncore.training.experiment import InitialiseConfig

ESTIMATES_VERSION = 1
"""Raised with any change of the code that makes estimates, unless they stay equal to the bit."""
FOLDER = "estimates"
_HEADER, _CENTRES = "visioncore-estimates", "centres"
_OF_COMPONENTS = ("linear.spatial", "linear.temporal")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Estimates:
    """What is found of a session, beside what is set in its head."""

    n_components: int
    """How many filters of each unit are set; those that a longer window would give stay as they were drawn."""
    n_cut_off: int
    """Units whose filters are cut off."""
    minutes: float
    """Of recording, that were read."""
    centres: Float[Tensor, "units 2"] | None
    """Row and column that each unit looks at, in pixels; None where nothing tells, or nobody asks."""


class KeptEstimates:
    """One session's place for them."""

    def __init__(self, folder: Path, twin: Twin, session: SessionStore, config: InitialiseConfig) -> None:
        self._key = key_of(twin, session, config)
        self._head, self._session = twin.heads[session.id], session.id
        self._file = folder / f"{self._key}.safetensors"

    @classmethod
    def of(
        cls, folder: Path | None, twin: Twin, session: SessionStore, config: InitialiseConfig
    ) -> "KeptEstimates | None":
        """None without a folder; and where estimates would depend on weights, or on a GPU's arithmetic."""
        straight = type(twin.config.adapter) is NoAdapterConfig and twin.device.type == "cpu"
        return cls(folder, twin, session, config) if folder is not None and straight else None

    def read(self) -> Estimates | None:
        """Set the head as it was kept; None, with the reason said, where nothing that can be used is there."""
        if not self._file.is_file():
            return None
        try:
            header, tensors = read_tensors(self._file, _HEADER, "estimates of VisionCore")
            told = json.loads(header)
            if told.pop("key", None) != self._key:
                raise CheckpointError(f"{self._file}: holds other estimates; was it renamed?")
        except CheckpointError as error:
            logger.warning("session %s: %s; estimated anew", self._session, error)
            return None
        found = Estimates(centres=tensors.pop(_CENTRES, None), **told)
        with torch.no_grad():
            for name, part in _parts(self._head, found.n_components).items():
                part.copy_(tensors[name])
        logger.info("session %s: estimates as kept in %s", self._session, self._file)
        return found

    def write(self, found: Estimates) -> None:
        """Keep what was set in the head, for other trainings; where that cannot be, it is said."""
        tensors = dict(_parts(self._head, found.n_components))
        if found.centres is not None:
            tensors[_CENTRES] = found.centres
        told = {"n_components": found.n_components, "n_cut_off": found.n_cut_off, "minutes": found.minutes}
        try:
            write_tensors(self._file, tensors, _HEADER, json.dumps({"key": self._key, **told}))
        except OSError as error:
            logger.info("session %s: its estimates are not kept (%s)", self._session, error)


def folder_of(store: RecordingStore) -> Path | None:
    """Where a recording's estimates are kept; None behind a URL, where they are not."""
    return store.path.parent / FOLDER if isinstance(store.path, Path) else None


def key_of(twin: Twin, session: SessionStore, config: InitialiseConfig) -> str:
    """Digest of all that a session's estimates depend on, of a twin whose estimates can be kept."""
    model, spec = twin.config, twin.spec
    content = {
        "version": ESTIMATES_VERSION,
        # Other libraries, threads and instructions round otherwise.
        "arithmetic": [torch.__version__, torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()],
        "signals": session.signals_fingerprint,
        "train": [(block.start, block.stop) for block in session.blocks_in("train")],
        "units": session.unit_ids,
        "train_mean": session.train_mean.tolist(),
        "silent": session.silent_in_training.tolist(),
        "sampling": dump_config(spec.sampling),
        "session": [spec.response_kind, dump_config(spec.session(session.id).normalisation)],
        "linear": dump_config(model.linear),
        "output": [dump_config(model.output), dump_config(model.trace_output)],
        "config": dump_config(config),
        "positions": config.positions and twin.placed_readout(session.id) is not None,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _parts(head: Head, n_components: int) -> dict[str, Tensor]:
    """What estimates set in a head; views."""
    wanted = ("output.", "linear.") if n_components else ("output.",)
    return {
        name: tensor[:, :n_components] if name in _OF_COMPONENTS else tensor
        for name, tensor in head.state_dict().items()
        if name.startswith(wanted)
    }
