"""What tells whether a session of a recording is the one that a twin was trained on, when the recording has changed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from visioncore.data.splits import Block
from visioncore.data.stored_array import ArrayManifest


def session_fingerprint(
    id_: str,
    unit_ids: Sequence[str],
    blocks: Sequence[Block],
    train_mean: Sequence[float],
    arrays: Mapping[str, ArrayManifest],
) -> str:
    """Hex digest of a session's units, splits, training means, and of the shape and compressed size of all its signals.

    The signals themselves are not read: of two that differ and yet agree in all of this there is hardly a pair.
    """
    content = {
        "id": id_,
        "unit_ids": list(unit_ids),
        "blocks": [asdict(block) for block in blocks],
        "train_mean": [f"{mean:.9g}" for mean in train_mean],
        "arrays": {name: [array.shape, array.dtype, array.chunk_sizes] for name, array in arrays.items()},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
