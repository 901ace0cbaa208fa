"""Bins in which a behavioural signal says that nothing can be trusted: blinks, a lost tracker."""

from typing import Literal, Self

import numpy as np
from pydantic import NonNegativeFloat, model_validator

from visioncore.data.preparation.base import BaseStepConfig, columns_of
from visioncore.data.preparation.causal import behaviour_of, bins_of, rate_of
from visioncore.data.preparation.masked import Masked, widened
from visioncore.recording import SessionRecording
from visioncore.spec import Sampling

_STEP = "mask_signal"


class MaskSignalConfig(BaseStepConfig):
    """`type: mask_signal`: no response counts where a signal is above or below a threshold, or is not known."""

    type: Literal["mask_signal"] = "mask_signal"
    signal: str
    above: float | None = None
    below: float | None = None
    margin_s: NonNegativeFloat = 0.1
    """On either side."""
    hold: tuple[str, ...] = ()
    """Signals that are wrong in these bins (the pupil in a blink): they hold their last value there, since later bins
    see them as their past."""

    @model_validator(mode="after")
    def _has_a_threshold(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("has no threshold; give above, below or both")
        return self

    @classmethod
    def tiny(cls) -> "MaskSignalConfig":
        return cls(signal="x", above=1.5, margin_s=0.05, hold=("x",))

    def apply(self, recording: SessionRecording, sampling: Sampling) -> Masked:
        values = behaviour_of(recording, [self.signal], _STEP)[:, 0]
        found = np.isnan(values)
        if self.above is not None:
            found |= values > self.above
        if self.below is not None:
            found |= values < self.below
        masked = widened(found, bins_of(self.margin_s, rate_of(sampling, _STEP)))
        return Masked(recording, masked, _STEP, columns_of(recording, self.hold, _STEP))
