"""Preparation steps, a closed union by `type`: what is done to a session between its source and its store.

A new one is one file with its config, its recording and `tiny()`, and one line here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.data.preparation.align_trials import AlignTrialsConfig
from visioncore.data.preparation.base import BaseStepConfig, ChangedRecording
from visioncore.data.preparation.behaviour_features import BehaviourFeaturesConfig
from visioncore.data.preparation.crop import CropConfig
from visioncore.data.preparation.gaze_crop import GazeCropConfig
from visioncore.data.preparation.grey import GreyConfig
from visioncore.data.preparation.mask_off_screen import MaskOffScreenConfig
from visioncore.data.preparation.mask_onsets import MaskOnsetsConfig
from visioncore.data.preparation.mask_saccades import MaskSaccadesConfig
from visioncore.data.preparation.mask_signal import MaskSignalConfig
from visioncore.data.preparation.prepared import PreparedSource
from visioncore.data.preparation.resample import ResampleConfig
from visioncore.data.preparation.resize import ResizeConfig
from visioncore.data.preparation.select_units import SelectUnitsConfig
from visioncore.data.preparation.trial_kinds import TrialKindsConfig

StepConfig = Annotated[
    CropConfig
    | ResizeConfig
    | GreyConfig
    | GazeCropConfig
    | ResampleConfig
    | SelectUnitsConfig
    | BehaviourFeaturesConfig
    | MaskSignalConfig
    | MaskSaccadesConfig
    | MaskOffScreenConfig
    | MaskOnsetsConfig
    | AlignTrialsConfig
    | TrialKindsConfig,
    Field(discriminator="type"),
]

__all__ = ["BaseStepConfig", "ChangedRecording", "PreparedSource", "StepConfig"]
