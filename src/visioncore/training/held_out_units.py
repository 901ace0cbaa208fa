"""Units that are left out of a training, so that what the trunk is worth for units it never saw can be told.

The seed of the recording's split draws them, as it draws test bins: all models and all seeds of a training hold out the
same ones, and a smaller share is part of a larger one.
"""

import hashlib
import logging

import numpy as np

from visioncore.data import RecordingStore
from visioncore.errors import DataError

logger = logging.getLogger(__name__)


def drawn(store: RecordingStore, share: float) -> dict[str, tuple[str, ...]]:
    """The ids of the units of each session that are held out, at least one where there are several.

    They depend on ids alone, not on their order.

    Raises:
        DataError: a session would be left without a unit, or none is held out.
    """
    if share == 0:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name, session in store.sessions.items():
        n_units = len(session.unit_ids)
        n_held_out = max(round(share * n_units), 1) if n_units > 1 else round(share * n_units)
        if n_units and n_held_out >= n_units:
            raise DataError(
                f"training.held_out_units is {share:g}, which leaves none of the {n_units} unit(s) of session '{name}' "
                "to train on; hold out fewer, or leave the session out"
            )
        of_session = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
        order = np.random.default_rng([store.settings.split.seed, of_session]).permutation(n_units)
        ids = sorted(session.unit_ids)
        if held_out := tuple(sorted(ids[k] for k in order[:n_held_out])):
            found[name] = held_out
    if not found:
        raise DataError(
            f"training.held_out_units is {share:g}, and no session has a unit to spare: each has one at "
            "most; leave it out"
        )
    told = ", ".join(f"{len(units)} of session {name}" for name, units in found.items())
    logger.info("held out, and left out of all that is fitted: units %s", told)
    return found
