"""Whether two frames show the same picture: moved a little, brighter or paler, but the same.

Candidates come from a coarse fingerprint; a candidate is compared in full over all small shifts. What makes a
picture that picture is in its details: large areas of light and dark agree between many pictures, so they are
taken out first. A frame that looks the same when it is moved (a grating, a single long edge) says nothing
about which picture it is part of.
"""

import math

import numpy as np
from jaxtyping import Bool, Float32, Int
from scipy.ndimage import gaussian_filter

SAME_PICTURE = 0.8
"""Correlation of details from which on two frames count as the same picture. On the embedded recording nearly half
of all frames reach it with a frame of another trial with the same picture, and none with any other picture."""
CANDIDATES = 3
"""Frames that each frame is compared with in full."""
SMALLEST_SIDE = 8
"""Smaller frames agree by chance: white noise of fewer pixels reaches `SAME_PICTURE` among thousands of frames."""
_FINGERPRINT_SIDE = 14
_DETAIL_SIGMA = 2.0
_QUERIES_AT_ONCE = 512
_PAIRS_AT_ONCE = 2048

Frames = Float32[np.ndarray, "frames rows columns"]


def details(frames: Frames) -> Frames:
    """Frames less their surround."""
    return frames - gaussian_filter(frames, (0, _DETAIL_SIGMA, _DETAIL_SIGMA))


def largest_shift(rows: int, columns: int) -> int:
    """How many pixels two frames of this size may be moved against each other and still be compared."""
    return 2 * _margin(rows, columns)


def candidates(
    queries: Float32[np.ndarray, "queries rows columns"], base: Frames
) -> Int[np.ndarray, "queries candidates"]:
    """For each query, the base frames with the most similar fingerprints, at nine places of the query."""
    margin = _margin(*queries.shape[1:])
    k = min(CANDIDATES, len(base))
    own = _fingerprint(base, margin, 0, 0)
    chosen = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        some = queries[start : start + _QUERIES_AT_ONCE]
        best = np.full((len(some), len(base)), -1.0, np.float32)
        for down in (-margin, 0, margin):
            for right in (-margin, 0, margin):
                np.maximum(best, _fingerprint(some, margin, down, right) @ own.T, out=best)
        chosen.append(np.argpartition(-best, k - 1, axis=1)[:, :k])
    return np.concatenate([np.empty((0, k), np.int64), *chosen])


def likeness(a: Frames, b: Frames) -> Float32[np.ndarray, " frames"]:
    """Highest correlation of the details of frame pairs over all small shifts, always over most of a frame."""
    reach = largest_shift(*a.shape[1:])
    found = [np.empty(0, np.float32)]
    for start in range(0, len(a), _PAIRS_AT_ONCE):
        pair = slice(start, start + _PAIRS_AT_ONCE)
        mine, theirs = details(a[pair]), details(b[pair])
        best = np.full(len(mine), -1.0, np.float32)
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                np.maximum(best, _correlation(mine, theirs, down, right), out=best)
        found.append(best)
    return np.concatenate(found)


def is_distinctive(frames: Frames) -> Bool[np.ndarray, " frames"]:
    """Whether a frame is unlike itself wherever it is moved by the largest shift."""
    reach = largest_shift(*frames.shape[1:])
    own = details(frames)
    most = np.full(len(frames), -1.0, np.float32)
    for angle in np.arange(0, np.pi, np.pi / (4 * reach)):
        down, right = round(reach * math.sin(angle)), round(reach * math.cos(angle))
        np.maximum(most, _correlation(own, own, down, right), out=most)
    return most < SAME_PICTURE


def _margin(rows: int, columns: int) -> int:
    return max(1, round(min(rows, columns) / 9))


def _fingerprint(frames: Frames, margin: int, down: int, right: int) -> Float32[np.ndarray, "frames cells"]:
    """A coarse copy of the middle of a frame, moved, with zero mean and unit length."""
    rows, columns = frames.shape[1:]
    middle = frames[:, margin + down : rows - margin + down, margin + right : columns - margin + right]
    factor = math.ceil(max(middle.shape[1:]) / _FINGERPRINT_SIDE)
    rows, columns = (max(side // factor, 1) for side in middle.shape[1:])
    middle = middle[:, : rows * factor, : columns * factor]
    height, width = middle.shape[1] // rows, middle.shape[2] // columns
    cells = middle.reshape(len(frames), rows, height, columns, width).mean((2, 4)).reshape(len(frames), -1)
    cells = cells - cells.mean(1, keepdims=True)
    return np.asarray(cells / np.maximum(np.linalg.norm(cells, axis=1, keepdims=True), 1e-6), np.float32)


def _correlation(a: Frames, b: Frames, down: int, right: int) -> Float32[np.ndarray, " frames"]:
    """Correlation of pixel (i, j) of `a` with (i - down, j - right) of `b`, where both exist."""
    rows, columns = a.shape[1:]
    mine = a[:, max(down, 0) : rows + min(down, 0), max(right, 0) : columns + min(right, 0)]
    theirs = b[:, max(-down, 0) : rows + min(-down, 0), max(-right, 0) : columns + min(-right, 0)]
    n = mine.shape[1] * mine.shape[2]
    x, y = mine.reshape(len(a), n), theirs.reshape(len(a), n)
    mean_x, mean_y = x.mean(1), y.mean(1)
    covariance = np.einsum("pn,pn->p", x, y) / n - mean_x * mean_y
    var_x = np.einsum("pn,pn->p", x, x) / n - mean_x**2
    var_y = np.einsum("pn,pn->p", y, y) / n - mean_y**2
    scale = np.sqrt(np.maximum(var_x * var_y, 0))
    # Where nothing is left but rounding, there is no detail to agree in.
    return np.where(scale > 1e-6, covariance / np.maximum(scale, 1e-6), -1.0).astype(np.float32)
