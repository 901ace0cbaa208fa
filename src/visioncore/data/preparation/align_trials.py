"""Trials that begin with an event of their own: repeats from the onset of fixation on, not from the trial's."""

import logging
import math
from typing import Literal

from pydantic import Field

from visioncore.data.preparation.base import BaseStepConfig, ChangedRecording, shifted
from visioncore.data.preparation.causal import bins_of, rate_of
from visioncore.errors import DataError
from visioncore.recording import SessionRecording, Trial
from visioncore.spec import Sampling

_STEP = "align_trials"

_logger = logging.getLogger(__name__)


class AlignTrialsConfig(BaseStepConfig):
    """`type: align_trials`: each trial starts at its event, to the nearest bin. What came before is left out.

    A trial whose event is not known is left out.
    """

    type: Literal["align_trials"] = "align_trials"
    column: str = Field(min_length=1)
    """Of the trials: when the event happened, in seconds after the trial's start."""

    @classmethod
    def tiny(cls) -> "AlignTrialsConfig":
        return cls(column="fixation_s")

    def apply(self, recording: SessionRecording, sampling: Sampling) -> "AlignedTrials":
        return AlignedTrials(recording, self.column, rate_of(sampling, _STEP))


class AlignedTrials(ChangedRecording):
    """Trials that start later."""

    def __init__(self, before: SessionRecording, column: str, rate_hz: float) -> None:
        super().__init__(before)
        where = f"session '{self.spec.id}', step {_STEP}"
        offsets = column_of_trials(before, column, where)
        kept: list[tuple[int, Trial]] = []
        for number, (trial, offset_s) in enumerate(zip(before.trials, offsets, strict=True)):
            if offset_s is None:
                continue
            if isinstance(offset_s, bool) or not isinstance(offset_s, int | float):
                raise DataError(
                    f"{where}: column '{column}' is {offset_s!r} in trial {number}; expected seconds"
                )
            start = trial.start + bins_of(offset_s, rate_hz) if math.isfinite(offset_s) else -1
            if not trial.start <= start < trial.stop:
                raise DataError(
                    f"{where}: column '{column}' is {offset_s:g} s in trial {number}, which lasts "
                    f"{(trial.stop - trial.start) / rate_hz:g} s; expected seconds after its start, inside it"
                )
            kept.append((number, shifted(trial, start, trial.stop)))
        self.keep_trials(kept, _STEP)
        if lost := len(before.trials) - len(kept):
            _logger.warning(
                "%s: '%s' is not known of %d of %d trials, which are left out",
                where, column, lost, len(before.trials),
            )  # fmt: skip


def column_of_trials(recording: SessionRecording, column: str, where: str) -> tuple[object, ...]:
    """One value per trial.

    Raises:
        DataError: there is no such column.
    """
    if column not in recording.trial_columns:
        raise DataError(
            f"{where}: trials have no column '{column}'; they have: {', '.join(recording.trial_columns) or 'none'}"
        )
    return recording.trial_columns[column]
