"""Repeats of a film, told from the numbers of its frames: runs from the first to the last."""

import numpy as np
from jaxtyping import Int64

from visioncore.data.align import Shown

_LARGEST_STEP = 3
"""Frames that a film may drop, one after the other, and go on."""
_MOSTLY = 0.6


def is_film(picture: Int64[np.ndarray, " frames"]) -> bool:
    """Whether pictures follow one another as in a film, and not in another order."""
    known = picture[picture >= 0]
    steps = np.diff(known)
    if not len(steps):
        return False
    forward = (steps >= 0) & (steps <= _LARGEST_STEP)
    return bool(forward.mean() >= _MOSTLY and (steps > 0).any())


def runs(picture: Int64[np.ndarray, " frames"], start: int, name: str, first: int, last: int) -> list[Shown]:
    """Trials of frames in their order: one ends where numbers go back.

    A run from `first` to `last` shows all of the film, and is named after it; another is named by its part.

    Args:
        picture: numbers of one stretch; negative where nothing was shown.
        start: the number of its first frame in the session.
    """
    known = np.flatnonzero(picture >= 0)
    if not len(known):
        return []
    back = np.flatnonzero(np.diff(picture[known]) < 0) + 1
    found = []
    for part in np.split(known, back):
        low, high = int(picture[part[0]]), int(picture[part[-1]])
        whole = (low, high) == (first, last)
        stimulus_id = name if whole else f"{name}, frames {low} to {high}"
        found.append(
            Shown(
                start + int(part[0]),
                start + int(part[-1]) + 1,
                None,
                stimulus_id,
                None if whole else name,
                name,
            )
        )
    return found
