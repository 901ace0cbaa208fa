"""Kinds of stimulus from what is known of the trials: scores are told per kind, and splits may go by them."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from visioncore.data.preparation.align_trials import column_of_trials
from visioncore.data.preparation.base import BaseStepConfig, ChangedRecording
from visioncore.errors import DataError
from visioncore.recording import SessionRecording
from visioncore.spec import Sampling

_STEP = "trial_kinds"


class TrialKindsConfig(BaseStepConfig):
    """`type: trial_kinds`: what kind of stimulus a trial shows stands in a column of the trials."""

    type: Literal["trial_kinds"] = "trial_kinds"
    column: str = Field(min_length=1)

    @classmethod
    def tiny(cls) -> "TrialKindsConfig":
        return cls(column="stimulus")

    def apply(self, recording: SessionRecording, sampling: Sampling) -> "WithKinds":
        return WithKinds(recording, self.column)


class WithKinds(ChangedRecording):
    """Trials with other kinds."""

    def __init__(self, before: SessionRecording, column: str) -> None:
        super().__init__(before)
        where = f"session '{self.spec.id}', step {_STEP}"
        kinds = column_of_trials(before, column, where)
        if (unknown := next((i for i, kind in enumerate(kinds) if kind is None), None)) is not None:
            raise DataError(
                f"{where}: column '{column}' is not known of trial {unknown}; give it of all trials"
            )
        self.trials = tuple(
            replace(trial, kind=str(kind)) for trial, kind in zip(before.trials, kinds, strict=True)
        )
