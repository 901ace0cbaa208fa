"""What each session counts in training: its share of the clips, and the weight of a clip in the loss."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore

Balance = Literal["subject", "session", "none"]
"""What counts equally in training: subjects, sessions, or (none) bins."""
Mixing = Literal["clips", "session", "round"]
"""What a step holds: clips of all sessions by their shares; clips of one session, by turns; equally many of each, which
the loss weighs by their shares."""
_BINS_AT_ONCE = 4096


def balance_weights(
    subjects: tuple[str, ...], bins: tuple[int, ...], balance: Balance
) -> Float64[np.ndarray, " sessions"]:
    """Share of the clips per session: equal for subjects, equal for sessions, or in proportion to bins.

    The sessions of one subject divide its share by their bins.
    """
    n_bins = np.array(bins, np.float64)
    if balance == "session":
        weights = np.ones(len(bins))
    elif balance == "none":
        weights = n_bins
    else:
        of_subject = {s: n_bins[[other == s for other in subjects]].sum() for s in subjects}
        weights = n_bins / np.array([of_subject[s] for s in subjects])
    return weights / weights.sum()


def clip_weights(
    store: RecordingStore, blocks: Mapping[str, Sequence[Block]]
) -> Float64[np.ndarray, " sessions"]:
    """What a clip of each session weighs in the loss, so that none counts for more by how its data are.

    The loss of counts grows with their rate: it is divided by the session's mean rate, in units of the sessions' mean.
    And it is a sum over valid bins: it is divided by the share of bins that are valid, so that of a session with gaps
    all clips together count as much as of one without. One session without gaps has a weight of 1.

    Args:
        blocks: of each session, those that clips come from.
    """
    rates = np.array([_mean_count(store, store.sessions[name]) for name in blocks])
    valid = np.array(
        [_valid_share(store.sessions[name], own, store.burn_in_bins) for name, own in blocks.items()]
    )
    return rates.mean() / rates / valid


def _mean_count(store: RecordingStore, session: SessionStore) -> float:
    """Per bin and unit that is not silent, as the loss scales it; 1 for traces, whose loss has no rate."""
    if store.spec.response_kind == "trace":
        return 1.0
    scale = np.array(store.spec.session(session.id).normalisation.count_scale or 1.0)
    means = (session.train_mean / scale)[~session.silent_in_training]
    return float(means.mean()) if len(means) else 1.0


def _valid_share(session: SessionStore, blocks: Sequence[Block], burn_in_bins: int) -> float:
    n_valid = n_all = 0
    for block in blocks:
        for start in range(block.start + burn_in_bins, block.stop, _BINS_AT_ONCE):
            valid = session.valid(start, min(start + _BINS_AT_ONCE, block.stop))
            n_valid, n_all = n_valid + int(valid.sum()), n_all + valid.size
    # Without a valid bin nothing is weighed.
    return n_valid / n_all if n_valid else 1.0
