"""Independent random streams, one per purpose and index, so that adding one draw never shifts another."""

import zlib

import numpy as np


def stream(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """The generator that belongs to (seed, purpose, indices), the same on every call."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *indices])
