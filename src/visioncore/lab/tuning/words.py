"""What is told of a battery, as people read it."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from visioncore.lab.tuning.result import Tuning


def sentences(tuning: "Tuning") -> list[str]:
    """What was shown, what was found, and how many units lack what."""
    found = [_shown(tuning), *_of_gratings(tuning)]
    if tuning.truth is not None:
        found += _of_truth(tuning)
    return found


def _shown(tuning: "Tuning") -> str:
    gratings, unit = tuning.gratings, tuning.display.unit
    spatial, temporal = gratings.spatial_frequencies, gratings.temporal_frequencies_hz
    return (
        f"{len(tuning.units)} units saw gratings of contrast {gratings.contrast:.2g} in "
        f"{len(gratings.directions_deg)} directions, {spatial[0]:.2g} to {spatial[-1]:.2g} cycles/{unit} and "
        f"{temporal[0]:.3g} to {temporal[-1]:.3g} Hz, at {tuning.display.rate_hz:g} frames per second after a second "
        f"of grey; {tuning.behaviour}. Direction 0 drifts to the right, 90 up; the resting rate is subtracted from "
        "mean rates."
    )


def _of_gratings(tuning: "Tuning") -> list[str]:
    silent = int(tuning.gratings.silent.sum())
    found = []
    if silent:
        found.append(f"{silent} units do not answer gratings above rest: they have no preference.")
    selective = tuning.indices["dsi"].values
    found.append(
        f"{int(np.sum(tuning.gratings.modulated & ~tuning.gratings.silent))} units follow gratings (F1 over F0, as "
        f"simple cells do), and {int(np.sum(selective > 1 / 3))} prefer a direction (DSI over 1/3)."
    )
    return found


def _of_truth(tuning: "Tuning") -> list[str]:
    assert tuning.truth is not None
    told = tuning.truth.to_json(tuning)
    parts = []
    if told["orientation_error_deg"] is not None:
        parts.append(f"preferred orientations are {told['orientation_error_deg']:.1f} deg from the true ones")
    if told["direction_right"] is not None:
        parts.append(f"{told['direction_right']:.0%} of direction-selective cells have the right direction")
    if told["spatial_frequency_error_octaves"] is not None:
        parts.append(f"spatial frequencies are {told['spatial_frequency_error_octaves']:.2f} octaves off")
    return (
        [f"Of these simulated cells the truth is known: in the median, {'; '.join(parts)}."] if parts else []
    )
