"""What is told of a battery, as people read it."""

from typing import TYPE_CHECKING

import numpy as np

from visioncore.lab.tuning.recorded import RecordedTuning
from visioncore.lab.tuning.sizes import SizeTuning

if TYPE_CHECKING:
    from visioncore.lab.tuning.result import Tuning

SELECTIVE = 1 / 3
"""Of an index (a - b) / (a + b): a is twice b."""


def sentences(tuning: "Tuning") -> list[str]:
    """What was shown, what was found, and how many units lack what."""
    found = [_shown(tuning), *_of_gratings(tuning), *_of_sizes(tuning.sizes), *_of_plaids(tuning)]
    if tuning.recorded is not None:
        found += _of_recorded(tuning.recorded)
    if tuning.truth is not None:
        found += _of_truth(tuning)
    return found


def _shown(tuning: "Tuning") -> str:
    gratings, unit = tuning.gratings, tuning.display.unit
    spatial, temporal = gratings.spatial_frequencies, gratings.temporal_frequencies_hz
    return (
        f"{_units(len(tuning.units))} saw gratings of contrast {gratings.contrast:.2g} in "
        f"{len(gratings.directions_deg)} directions, {spatial[0]:.2g} to {spatial[-1]:.2g} cycles/{unit} and "
        f"{temporal[0]:.3g} to {temporal[-1]:.3g} Hz, at {tuning.display.rate_hz:g} frames per second, always after "
        f"grey; {tuning.behaviour}. Direction 0 drifts to the right, 90 up; the resting rate is subtracted from mean "
        "rates."
    )


def _of_gratings(tuning: "Tuning") -> list[str]:
    found = []
    if silent := int(tuning.gratings.silent.sum()):
        found.append(f"{_units(silent)} do not answer gratings above rest: no preference of theirs is told.")
    modulated = int(np.sum(tuning.gratings.modulated & ~tuning.gratings.silent))
    directional = int(np.sum(tuning.indices["dsi"].values > SELECTIVE))
    found.append(
        f"{_units(modulated)} follow gratings as simple cells do (F1 over F0), and {directional} prefer a direction "
        "(DSI over 1/3)."
    )
    return found


def _of_sizes(sizes: SizeTuning) -> list[str]:
    counts = sizes.centres.counts
    names = {
        "spots": "flashed spots",
        "gabors": "Gabor noise, since their spot map is flat",
        "readout": "the twin's readout, since both maps are flat",
        "nothing": "nothing, so that they saw no discs",
    }
    told = "; ".join(f"{_units(counts[key])} by {words}" for key, words in names.items() if key in counts)
    found = [f"Where units look was told to {told}."]
    if over := sizes.over_the_edge:
        found.append(f"The summation field of {_units(over)} reaches over the frame's edge.")
    return found


def _of_plaids(tuning: "Tuning") -> list[str]:
    kinds = tuning.plaids.kinds
    pattern, component, neither = (kinds.count(kind) for kind in ("pattern", "component", "neither"))
    if not pattern + component + neither:
        return []
    return [f"Plaids find {pattern} pattern and {component} component cells, and {neither} that are neither."]


def _of_recorded(recorded: RecordedTuning) -> list[str]:
    trials = ", ".join(f"{n} of {split}" for split, n in sorted(recorded.splits.items()))
    found = [
        f"The recording showed gratings in {trials}: recorded and predicted responses to them are held against each "
        "other, those of training trials with them; the resting rate is not subtracted there."
    ]
    for name, words, form in (
        ("orientation_difference_deg", "preferred orientations are {} deg apart", "{:.1f}"),
        ("direction_difference_deg", "preferred directions are {} deg apart", "{:.1f}"),
        ("recorded_correlation", "responses to conditions correlate with {}", "{:.2f}"),
        ("recorded_correlation_unseen", "those outside the training split with {}", "{:.2f}"),
    ):
        index = recorded.indices[name]
        if index.median is not None:
            told = words.format(form.format(index.median))
            found.append(f"In the median over {_units(int(index.defined.sum()))}, {told}.")
    return found


def _units(n: int) -> str:
    return f"{n} unit{'' if n == 1 else 's'}"


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
    if told["centre_error_px"] is not None:
        parts.append(f"places {told['centre_error_px']:.2f} px")
    return (
        [f"Of these simulated cells the truth is known: in the median, {'; '.join(parts)}."] if parts else []
    )
