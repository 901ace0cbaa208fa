"""Which trials a session has: repeated test stimuli, and stimuli shown once in each split."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from visioncore.errors import DataError
from visioncore.recording import Split


@dataclass(frozen=True)
class PlannedTrial:
    """One showing of a stimulus; equal `stimulus` numbers are repeats."""

    split: Split
    kind: str
    stimulus: int


def plan_trials(
    session_id: str,
    kinds: Sequence[str],
    n_trials: int,
    *,
    repeated_stimuli: int,
    repeats: int,
    test_fraction: float,
    validation_fraction: float,
    generator: np.random.Generator,
) -> list[PlannedTrial]:
    """Trials in random order, `kinds` dealt out in turn within each split.

    Args:
        test_fraction: unrepeated test trials, on top of the repeated ones.

    Raises:
        DataError: no trial is left for training.
    """
    n_repeated = repeated_stimuli * repeats
    n_test = round(test_fraction * n_trials)
    n_validation = round(validation_fraction * n_trials)
    n_train = n_trials - n_repeated - n_test - n_validation
    if n_train < 1:
        raise DataError(
            f"session '{session_id}': {n_trials} trials do not hold {n_repeated} repeated, {n_test} test and "
            f"{n_validation} validation trials and one for training; raise minutes_per_session or lower "
            "repeats"
        )
    plans: list[PlannedTrial] = []
    stimulus = 0
    stimuli_of: tuple[tuple[Split, int, int], ...] = (
        ("test", repeated_stimuli, repeats),
        ("test", n_test, 1),
        ("validation", n_validation, 1),
        ("train", n_train, 1),
    )
    for split, n_stimuli, n_shown in stimuli_of:
        for kind in islice(cycle(kinds), n_stimuli):
            plans += [PlannedTrial(split, kind, stimulus)] * n_shown
            stimulus += 1
    return [plans[position] for position in generator.permutation(len(plans))]
