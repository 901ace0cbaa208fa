"""A recording of noise to audit, and predictors that are honest or not."""

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.progress import Progress

from predictors import ScriptedPredictor
from visioncore.audit import Finding
from visioncore.audit.run import control_lines, leak_findings
from visioncore.audit.verdicts import about_controls
from visioncore.data import RecordingStore
from visioncore.predictor import Predictor
from visioncore.provenance import Provenance
from visioncore.spec import DataSpec, Normalisation

RATE_HZ, TRIAL, N_TRIALS, SIDE, N_UNITS, BURN_IN = 60.0, 90, 48, 16, 6, 6
SPLIT = np.array((["train"] * 5 + ["test"] * 2 + ["validation"]) * 6)
TEST, TRAIN = np.flatnonzero(SPLIT == "test"), np.flatnonzero(SPLIT == "train")
Arrays = dict[str, Any]
Build = Callable[..., RecordingStore]


def drive(video: np.ndarray) -> np.ndarray:
    """Each unit follows a pixel of its own, one frame late."""
    rates = np.full((len(video), N_UNITS), 0.2)
    rates[1:] = 0.05 + 0.5 * (video[:-1, 3, 3 : 3 + N_UNITS] > 127.5)
    return rates


def noise_recording() -> Arrays:
    """Trials of binary white noise; behaviour lifts all units a little."""
    rng = np.random.default_rng(0)
    video = rng.choice(np.array([40, 215], np.uint8), (N_TRIALS * TRIAL, SIDE, SIDE))
    eye = rng.normal(size=(len(video), 2)).astype(np.float32)
    rates = drive(video) + 0.3 * (eye[:, :1] > 1)
    return {
        "video": video,
        "eye": eye,
        "counts": rng.poisson(rates),
        "trial": np.repeat(np.arange(N_TRIALS), TRIAL),
        "split": SPLIT,
        "stimulus": np.array([f"s{i}" for i in range(N_TRIALS)]),
    }


def twin_of(
    store: RecordingStore,
    script: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda video, _: drive(video),
    spec: DataSpec | None = None,
) -> ScriptedPredictor:
    """Predicts what `script` says of video (time, height, width) and behaviour."""

    def told(session: str, video: np.ndarray, behaviour: Any) -> np.ndarray:
        return script(video[:, 0], np.zeros((len(video), 2)) if isinstance(behaviour, str) else behaviour)

    provenance = Provenance(data_fingerprint=store.fingerprint)
    return ScriptedPredictor(spec or store.spec, told, uses_behaviour=True, provenance=provenance)


def leaks(store: RecordingStore, twin: Predictor | None = None) -> dict[str, Finding]:
    found = leak_findings(twin or twin_of(store), store, Progress(disable=True))
    return {finding.check: finding for finding in found}


def controls(store: RecordingStore, twin: Predictor) -> dict[str, Finding]:
    return {finding.check: finding for finding in about_controls(control_lines(twin, store))}


def levels(found: dict[str, Finding]) -> dict[str, str]:
    return {check: finding.level for check, finding in found.items()}


def only_failing(found: dict[str, Finding]) -> list[str]:
    return [check for check, finding in found.items() if finding.level == "fail"]


def trial(number: int) -> slice:
    return slice(number * TRIAL, (number + 1) * TRIAL)


def constants_of_all_data(store: RecordingStore) -> Normalisation:
    session = store.sessions["day0"]
    video = session.video(0, session.n_bins).astype(float)
    behaviour = session.behaviour(0, session.n_bins)
    assert behaviour is not None
    return Normalisation(
        video_mean=(video.mean(),),
        video_std=(video.std(),),
        behaviour_mean=tuple(behaviour.mean(0, dtype=float).tolist()),
        behaviour_std=tuple(behaviour.std(0, dtype=float).tolist()),
    )
