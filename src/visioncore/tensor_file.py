"""Tensors with a header in one `.safetensors` file, and a digest over both: read back unchanged, or refused."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from visioncore.errors import CheckpointError
from visioncore.files import write_bytes

_DIGEST = "sha256"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], name: str, header: str) -> None:
    """Write tensors of any device to `path`, atomically: who is killed meanwhile leaves the old file or none.

    Args:
        name: of the header, which tells what the file is.
    """
    own = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    # Not `save_file`, which makes files that only their owner can read.
    write_bytes(path, save(own, metadata={name: header, _DIGEST: _digest(header, own)}))


def read_tensors(path: Path, name: str, what: str) -> tuple[str, dict[str, Tensor]]:
    """The header of this name, and the tensors.

    Args:
        what: what messages call such a file, such as "a VisionCore twin".

    Raises:
        CheckpointError: the file cannot be read, is another kind of file, or is damaged.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from None
    if name not in metadata or _DIGEST not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but not {what} (no header of ours)")
    if _digest(metadata[name], tensors) != metadata[_DIGEST]:
        raise CheckpointError(f"{path}: the contents do not match their digest: the file is damaged")
    return metadata[name], tensors


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
