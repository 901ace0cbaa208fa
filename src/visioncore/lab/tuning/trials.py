"""Gratings that a recording showed, by the columns of its trials: what was recorded of each, and what is predicted.

A trial shows a grating where its direction is a number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.evaluation.prediction import BlockPredictor, repeats_together
from visioncore.predictor import Predictor
from visioncore.recording import Split

DIRECTION = ("direction_deg", "direction", "orientation_deg", "orientation")
"""In degrees. The first of them that a recording has; which way they count does not matter here."""
OTHERS = (
    (
        "period_px",
        "spatial_period_px",
        "spatial_frequency_cycles_per_deg",
        "spatial_frequency_cpd",
        "spatial_frequency",
    ),
    ("temporal_frequency_hz", "temporal_frequency"),
    ("contrast",),
)
"""What else makes trials of one direction different conditions."""


@dataclass(frozen=True)
class Conditions:
    """One session's gratings. Trials with the same values are one condition."""

    session: str
    directions_deg: Float64[np.ndarray, " conditions"]
    others: Float64[np.ndarray, "conditions parameters"]
    """Spatial and temporal frequency or period, and contrast, where they are known; else NaN."""
    recorded: Float64[np.ndarray, "conditions units"]
    """Mean response per bin, in the store's order of units; NaN where no bin of a unit counts."""
    predicted: Float64[np.ndarray, "conditions units"]
    """Over the same bins."""
    unseen: Bool[np.ndarray, " conditions"]
    """Of which no trial is in the training split."""
    splits: dict[Split, int]
    """How many trials are in each; a trial that was cut counts for each."""

    @property
    def whole_circle(self) -> bool:
        """Whether there are directions on both sides: else they are orientations."""
        return bool(np.nanmax(self.directions_deg) >= 180)


def gratings_in(session: SessionStore) -> Float64[np.ndarray, "trials parameters"] | None:
    """Direction and other parameters of each trial, NaN where it shows no grating; None where no trial does."""
    columns = [_column(session, names) for names in (DIRECTION, *OTHERS)]
    found = np.stack(columns, axis=1)
    return found if np.isfinite(found[:, 0]).any() else None


def conditions_of(
    predictor: Predictor, store: RecordingStore, session: SessionStore, more: Callable[[int], None]
) -> Conditions | None:
    """What was recorded of a session's gratings, and what is predicted with the recorded behaviour.

    Args:
        more: told how many more frames have been predicted.
    """
    gratings = gratings_in(session)
    if gratings is None:
        return None
    predict = BlockPredictor(predictor, session, burn_in_bins=store.burn_in_bins, scale_was_said=True)
    sums: dict[tuple[float, ...], np.ndarray] = {}
    splits: dict[tuple[float, ...], set[Split]] = {}
    trials: dict[Split, set[int]] = {}
    each = _blocks(session, gratings)
    for block in repeats_together(list(each)):
        trial = each[block]
        # NaN is not equal to itself.
        condition = tuple(-np.inf if np.isnan(value) else float(value) for value in gratings[trial])
        found = predict(block)
        more(block.n_bins)
        counted = [found.recorded, found.prediction, np.ones_like(found.recorded)]
        own = np.stack([np.where(found.valid, values, 0).sum(0, dtype=np.float64) for values in counted])
        if own[2].any():
            sums[condition] = sums.get(condition, 0) + own
            splits.setdefault(condition, set()).add(block.split)
            trials.setdefault(block.split, set()).add(trial)
    if not sums:
        return None
    parameters = np.array(list(sums))
    recorded, predicted, bins = np.stack(list(sums.values()), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Conditions(
            session=session.id,
            directions_deg=parameters[:, 0],
            others=np.where(np.isinf(parameters[:, 1:]), np.nan, parameters[:, 1:]),
            recorded=recorded / bins,
            predicted=predicted / bins,
            unseen=np.array(["train" not in splits[key] for key in sums]),
            splits={split: len(some) for split, some in trials.items()},
        )


def frames_of_gratings(session: SessionStore) -> int:
    """How many frames `conditions_of` predicts."""
    gratings = gratings_in(session)
    return 0 if gratings is None else sum(block.n_bins for block in _blocks(session, gratings))


def _blocks(session: SessionStore, gratings: np.ndarray) -> dict[Block, int]:
    """The blocks that show gratings, and the trials that they are of."""
    order = sorted(range(len(session.trials)), key=lambda k: session.trials[k].start)
    starts = np.array([session.trials[k].start for k in order])
    found = {}
    for block in session.blocks:
        trial = order[int(np.searchsorted(starts, block.start, side="right")) - 1]
        if np.isfinite(gratings[trial, 0]) and block.start < session.trials[trial].stop:
            found[block] = trial
    return found


def _column(session: SessionStore, names: Sequence[str]) -> Float64[np.ndarray, " trials"]:
    """The first of these columns that there is, as numbers; NaN for what is none."""
    found = next((session.trial_columns[name] for name in names if name in session.trial_columns), None)
    if found is None:
        return np.full(len(session.trials), np.nan)
    return np.array([_number(value) for value in found])


def _number(value: object) -> float:
    if value is None or isinstance(value, bool):
        return np.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return np.nan
