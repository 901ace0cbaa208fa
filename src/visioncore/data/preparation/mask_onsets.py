"""The first seconds after a stimulus begins, in which cells adapt to it."""

import math
from typing import Literal

import numpy as np
from pydantic import PositiveFloat

from visioncore.data.preparation.base import BaseStepConfig
from visioncore.data.preparation.causal import rate_of
from visioncore.data.preparation.masked import Masked
from visioncore.recording import SessionRecording
from visioncore.spec import Sampling

_STEP = "mask_onsets"


class MaskOnsetsConfig(BaseStepConfig):
    """`type: mask_onsets`: no response counts in the first seconds of every trial, or after another kind of stimulus.

    Unlike `burn_in_s`, which leaves out the start of every block since a model has no past there.
    """

    type: Literal["mask_onsets"] = "mask_onsets"
    seconds: PositiveFloat
    of: Literal["trial", "kind"]
    """`kind`: from the first trial of a kind on, over several trials where these are short."""

    @classmethod
    def tiny(cls) -> "MaskOnsetsConfig":
        return cls(seconds=0.1, of="kind")

    def apply(self, recording: SessionRecording, sampling: Sampling) -> Masked:
        n_bins = math.ceil(self.seconds * rate_of(sampling, _STEP) - 1e-9)
        masked = np.zeros(recording.n_bins, bool)
        before: str | None = None
        for trial in sorted(recording.trials, key=lambda own: own.start):
            if self.of == "trial":
                masked[trial.start : min(trial.start + n_bins, trial.stop)] = True
            elif trial.kind != before:
                masked[trial.start : trial.start + n_bins] = True
            before = trial.kind
        return Masked(recording, masked, _STEP)
