"""A small session for preparation steps, and what every step keeps to."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from visioncore.config import build_config, dump_config
from visioncore.data.preparation import BaseStepConfig
from visioncore.data.session_writer import write_session
from visioncore.data.signals import SessionSignals
from visioncore.recording import ArrayRecording, SessionRecording, Signal, Trial
from visioncore.spec import Geometry, Sampling, SessionSpec

RATE_HZ = 60.0
SAMPLING = Sampling(channels=2, height=6, width=9, rate_hz=RATE_HZ)
TRIALS = ((5, 47), (47, 90), (100, 151), (151, 200))


def small_session(seed: int = 0, **changes: Any) -> ArrayRecording:
    """Four trials at 60 Hz, with bins between them that belong to none."""
    rng = np.random.default_rng(seed)
    n_bins = 210
    gaze = np.cumsum(rng.normal(0, 0.15, (n_bins, 2)), axis=0)
    fields: dict[str, Any] = {
        "spec": SessionSpec(
            id="s",
            subject="m",
            unit_ids=("a", "b", "c"),
            units={"depth": (0.5, 2.0, 3.0), "quality": ("good", None, "mua")},
            behaviour_names=("x", "y"),
            geometry=Geometry(degrees_per_pixel=0.5, centre_deg=(0.0, 0.0)),
        ),
        "trials": tuple(
            Trial(start, stop, kind=kind) for (start, stop), kind in zip(TRIALS, "ffng", strict=True)
        ),
        "frames": rng.integers(0, 256, (n_bins, 2, 6, 9), dtype=np.uint8),
        "responses": rng.poisson(0.4, (n_bins, 3)).astype(np.uint8),
        "valid": rng.random((n_bins, 3)) > 0.1,
        "behaviour": gaze.astype(np.float32),
        "rates": np.full((n_bins, 3), 0.4, np.float32),
        "unit_truth": {
            "rf_row_px": [2.0, 3.0, 4.0],
            "rf_column_px": [4.0, 5.0, 6.0],
            "rf_sigma_px": [1.0] * 3,
        },
        "trial_columns": {
            "fixation_s": (0.1, 0.2, None, 0.3),
            "stimulus": ("film", "film", "noise", "grating"),
        },
        "missing": (),
    }
    return ArrayRecording(**(fields | changes))


def whole(recording: SessionRecording, signal: Signal) -> np.ndarray:
    """All bins of a signal."""
    return recording.read(signal, 0, recording.n_bins)


def require_step_contracts(config: BaseStepConfig, folder: Path) -> SessionRecording:
    """Pieces are what the whole is, sizes are what is promised, the future changes no past, and it can be stored."""
    before = small_session()
    after = config.apply(before, SAMPLING)
    sampling = config.sampling(SAMPLING)
    assert build_config(type(config), dump_config(config), "step") == config
    for signal in after.signals:
        values = whole(after, signal)
        assert len(values) == after.n_bins
        edges = [0, 1, 2, after.n_bins // 3, after.n_bins // 3, after.n_bins]
        pieces = [after.read(signal, a, b) for a, b in pairwise(edges)]
        np.testing.assert_array_equal(np.concatenate(pieces), values)
    assert whole(after, "video").shape[1:] == (sampling.channels, sampling.height, sampling.width)
    assert whole(after, "video").dtype == np.uint8
    assert whole(after, "behaviour").shape[1] == len(after.spec.behaviour_names)
    assert whole(after, "responses").shape[1] == len(after.spec.unit_ids)
    _require_causal(config, before, after)
    write_session(after, sampling, "f", folder / "store", lambda n: None)
    assert SessionSignals(folder / "store").spec == after.spec
    return after


def _require_causal(config: BaseStepConfig, before: ArrayRecording, after: SessionRecording) -> None:
    together = before.n_bins // after.n_bins
    for trial in (0, 1, 3):
        for passed in (0, 1, 7, 20):
            at = TRIALS[trial][0] + passed
            later = small_session()
            later.frames[at:] = 255 - later.frames[at:]
            assert later.behaviour is not None
            later.behaviour[at:] += 1.0
            changed = config.apply(later, SAMPLING)
            n = at if together == 1 else after.trials[trial].start + passed // together
            np.testing.assert_array_equal(after.read("video", 0, n), changed.read("video", 0, n))
            # Bins that count in neither may hold anything: later ones see it only once it is known.
            counts = (after.read("valid", 0, n) & changed.read("valid", 0, n)).any(axis=1)
            np.testing.assert_array_equal(
                after.read("behaviour", 0, n)[counts], changed.read("behaviour", 0, n)[counts]
            )
    assert not np.array_equal(
        whole(after, "video"),
        whole(config.apply(replace(before, frames=255 - before.frames), SAMPLING), "video"),
    )
