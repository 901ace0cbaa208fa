"""Whether a recording that has just been prepared can be learnt from; what is doubtful is said before any training."""

import logging

import numpy as np

from visioncore.data.plausibility import require_one_scale
from visioncore.data.splits import SPLITS
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.errors import DataError
from visioncore.recording import Split

NAMED_UNITS = 5

logger = logging.getLogger(__name__)


def usable_minutes(store: RecordingStore, session: SessionStore, split: Split) -> tuple[float, float]:
    """Minutes of a session in a split, and what of them is left after the burn-in of every block."""
    blocks = session.blocks_in(split)
    bins = sum(block.n_bins for block in blocks)
    left = sum(max(block.n_bins - store.burn_in_bins, 0) for block in blocks)
    per_minute = store.spec.bins_per_s * 60
    return bins / per_minute, left / per_minute


def require_usable(store: RecordingStore, where: str) -> None:
    """Refuse a recording that nothing can be learnt from, and log what will weaken what is learnt.

    Raises:
        DataError: no unit responds in training, or the sessions' videos are on different scales.
    """
    _require_responses(store, where)
    videos = {f"session '{name}'": _video_moments(session) for name, session in store.sessions.items()}
    require_one_scale(videos, where)
    _say_what_burn_in_takes(store)
    if store.spec.response_kind == "trace":
        for name, session in store.sessions.items():
            _say_outliers(name, session)


def _require_responses(store: RecordingStore, where: str) -> None:
    counts = store.spec.response_kind == "counts"
    silent = {name: session.silent_in_training for name, session in store.sessions.items()}
    has_units = any(session.unit_ids for session in store.sessions.values())
    if counts and has_units and all(units.all() for units in silent.values()):
        raise DataError(
            f"{where}: there is no spike in the training bins of any unit, so nothing can be learnt; are these the "
            "responses, and is `valid` True where they count?"
        )
    for name, session in store.sessions.items():
        units = [unit for unit, none in zip(session.unit_ids, silent[name], strict=True) if none]
        if units:
            logger.warning(
                "session %s: %d of %d units %s in training (%s): they are trained at that, and leave every score",
                name,
                len(units),
                len(session.unit_ids),
                "have no spike" if counts else "never change",
                _some(units),
            )
    for split in SPLITS[1:]:
        sessions = store.sessions.values()
        if counts and has_units and not any(_spikes(store, session, split) for session in sessions):
            purpose = "choose the best twin by" if split == "validation" else "score a twin on"
            logger.warning("%s: there is no spike in the %s split to %s", where, split, purpose)


def _spikes(store: RecordingStore, session: SessionStore, split: Split) -> bool:
    for block in session.blocks_in(split):
        start = min(block.start + store.burn_in_bins, block.stop)
        valid = session.valid(start, block.stop)
        if bool((session.responses(start, block.stop) * valid).any()):
            return True
    return False


def _video_moments(session: SessionStore) -> tuple[float, float]:
    """Mean and spread of the training frames."""
    moments = np.concatenate([session.frame_moments(b.start, b.stop) for b in session.blocks_in("train")])
    mean, deviations = moments[..., 0], moments[..., 1]
    within = deviations.mean() / (session.sampling.height * session.sampling.width)
    return float(mean.mean()), float(np.sqrt(within + mean.var()))


def _say_what_burn_in_takes(store: RecordingStore) -> None:
    for name, session in store.sessions.items():
        for split in SPLITS:
            minutes, left = usable_minutes(store, session, split)
            if minutes and left < minutes / 2:
                shortest = sum(b.n_bins <= store.burn_in_bins for b in session.blocks_in(split))
                logger.warning(
                    "session %s: of %.2f %s minutes %.2f are used (%.0f %%): burn_in_s takes %.3g s from every "
                    "block, and %d of %d blocks are no longer than that; make burn_in_s shorter, or trials longer",
                    name,
                    minutes,
                    split,
                    left,
                    100 * left / minutes,
                    store.burn_in_bins / store.spec.bins_per_s,
                    shortest,
                    len(session.blocks_in(split)),
                )


def _say_outliers(name: str, session: SessionStore) -> None:
    found = session.trace_statistics()
    wild = np.flatnonzero(found.n_outliers)
    if len(wild):
        units = [session.unit_ids[i] for i in wild]
        logger.warning(
            "session %s: a few values make most of the variance of %d of %d traces (%s), such as %d values of unit %s "
            "that lie outside of %.3g to %.3g: training gives them less weight, and in the test split they count in "
            "full; mark artefacts False in `valid`",
            name,
            len(wild),
            len(session.unit_ids),
            _some(units),
            found.n_outliers[wild[0]],
            units[0],
            found.low[wild[0]],
            found.high[wild[0]],
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_UNITS} more" if len(names) > NAMED_UNITS else ""
    return f"{', '.join(names[:NAMED_UNITS])}{more}"
