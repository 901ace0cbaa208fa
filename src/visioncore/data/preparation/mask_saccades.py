"""Bins in which the eye jumps."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from visioncore.data.preparation.base import BaseStepConfig
from visioncore.data.preparation.causal import behaviour_of, bins_of, rate_of, speed
from visioncore.data.preparation.masked import Masked, widened
from visioncore.recording import SessionRecording
from visioncore.spec import Sampling

_STEP = "mask_saccades"


class MaskSaccadesConfig(BaseStepConfig):
    """`type: mask_saccades`: no response counts where the gaze moves faster than a threshold."""

    type: Literal["mask_saccades"] = "mask_saccades"
    gaze: Annotated[tuple[str, str], Field()]
    """Names of the behavioural signals: horizontal, vertical."""
    faster_than: PositiveFloat
    """In the units of these signals, per second, from one bin to the next: degrees per second of a gaze in degrees."""
    margin_s: NonNegativeFloat = 0.05
    """On either side."""

    @classmethod
    def tiny(cls) -> "MaskSaccadesConfig":
        return cls(gaze=("x", "y"), faster_than=200.0, margin_s=0.02)

    def apply(self, recording: SessionRecording, sampling: Sampling) -> Masked:
        rate_hz = rate_of(sampling, _STEP)
        found = speed(recording, behaviour_of(recording, self.gaze, _STEP), rate_hz) > self.faster_than
        return Masked(recording, widened(found, bins_of(self.margin_s, rate_hz)), _STEP)
