"""Bins in which the eye looks beside the screen."""

from typing import Literal

from pydantic import NonNegativeFloat

from visioncore.data.preparation.causal import bins_of, rate_of
from visioncore.data.preparation.gaze import GazeStepConfig, gaze_on_screen, on_screen
from visioncore.data.preparation.masked import Masked, widened
from visioncore.recording import SessionRecording
from visioncore.spec import Sampling

_STEP = "mask_off_screen"


class MaskOffScreenConfig(GazeStepConfig):
    """`type: mask_off_screen`: no response counts where the gaze is beside the frame, or is not known."""

    type: Literal["mask_off_screen"] = "mask_off_screen"
    needs_screen = True
    margin_s: NonNegativeFloat = 0.0
    """On either side."""

    @classmethod
    def tiny(cls) -> "MaskOffScreenConfig":
        return cls(gaze=("x", "y"), gaze_unit="degrees")

    def apply(self, recording: SessionRecording, sampling: Sampling) -> Masked:
        found = ~on_screen(gaze_on_screen(recording, sampling, self, _STEP), sampling)
        n_bins = bins_of(self.margin_s, rate_of(sampling, _STEP)) if self.margin_s else 0
        return Masked(recording, widened(found, n_bins), _STEP)
