"""Where on the screen an eye looks, from two behavioural signals."""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool, Float64
from pydantic import Field

from visioncore.data.preparation.base import BaseStepConfig
from visioncore.data.preparation.causal import behaviour_of
from visioncore.errors import DataError
from visioncore.recording import SessionRecording
from visioncore.spec import Sampling

Places = Float64[np.ndarray, "time 2"]
"""Row and column on the frame, as continuous pixels: pixel i covers [i, i + 1), row 0 is at the top."""


class GazeStepConfig(BaseStepConfig):
    """Base of the steps that ask where on the screen an eye looks."""

    gaze: Annotated[tuple[str, str], Field()]
    """Names of the behavioural signals: horizontal, vertical."""
    gaze_unit: Literal["degrees", "pixels"]
    """Degrees: x grows to the right and y upwards, and the session's `geometry` says how large a pixel is and where the
    frame's middle lies (0, 0 when left out). Pixels: column and row of the frame, from its upper left corner."""


def gaze_on_screen(
    recording: SessionRecording, sampling: Sampling, config: GazeStepConfig, step: str
) -> Places:
    """Where the eye looks in each bin; NaN where that is not known.

    Raises:
        DataError: there is no such signal, or the size of a pixel is not known.
    """
    across, along = behaviour_of(recording, config.gaze, step).T
    if config.gaze_unit == "pixels":
        return np.stack([along, across], axis=1)
    per_pixel = degrees_per_pixel(recording, step)
    x_deg, y_deg = recording.spec.geometry.centre_deg or (0.0, 0.0)
    rows = sampling.height / 2 - (along - y_deg) / per_pixel
    return np.stack([rows, sampling.width / 2 + (across - x_deg) / per_pixel], axis=1)


def on_screen(places: Places, sampling: Sampling) -> Bool[np.ndarray, " time"]:
    """Whether a place is known and on the frame."""
    inside = (places >= 0) & (places < (sampling.height, sampling.width))
    return np.asarray(inside.all(axis=1))


def degrees_per_pixel(recording: SessionRecording, step: str) -> float:
    """Of the session.

    Raises:
        DataError: it is not known.
    """
    known = recording.spec.geometry.degrees_per_pixel
    if known is None:
        raise DataError(
            f"session '{recording.spec.id}', step {step}: how many degrees a pixel has is not known; give the "
            "session's geometry (degrees_per_pixel)"
        )
    return known
