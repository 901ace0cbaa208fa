"""A short recording of cells that are known, for tests that spoil it in one way and look at what comes of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from visioncore.config import build_config
from visioncore.data import RecordingStore, build_data_config, prepare
from visioncore.model import Twin, TwinConfig
from visioncore.training.experiment import InitialiseConfig
from visioncore.training.initialise import initialise

N_BINS, HEIGHT, WIDTH, N_UNITS, RATE_HZ, TRIAL_BINS = 2880, 9, 12, 4, 120.0, 240
SPLITS = ["train", "train", "train", "test", "train", "validation"] * 2
LINEAR: dict[str, Any] = {"convnet": {"type": "none"}, "linear": {"type": "low_rank", "params": {"rank": 1}}}
VIVIT: dict[str, Any] = {
    "convnet": {
        "type": "vivit",
        "params": {
            "embedding_dim": 16,
            "num_spatial_blocks": 1,
            "num_temporal_blocks": 1,
            "num_heads": 2,
            "head_dim": 8,
            "patch_size": [4, 3, 3],
            "stride": [2, 3, 3],
            "padding": "same",
        },
    },
    "linear": {"type": "low_rank", "params": {"rank": 1}},
}

Arrays = dict[str, Any]


def recording(counts_per_bin: float = 0.2, seed: int = 0) -> Arrays:
    """White noise, exponential cells with a latency of 33 ms, and a running speed that drives nobody."""
    rng = np.random.default_rng(seed)
    video = rng.integers(0, 256, (N_BINS, HEIGHT, WIDTH), dtype=np.uint8)
    contrast = (video.reshape(N_BINS, -1) - 127.5) / 74.0
    kernel = np.exp(-((np.arange(12) - 4) ** 2) / 2.0)
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    rates = np.empty((N_BINS, N_UNITS))
    for unit in range(N_UNITS):
        centre = rng.uniform(3, HEIGHT - 3), rng.uniform(3, WIDTH - 3)
        field = np.exp(-((row - centre[0]) ** 2 + (column - centre[1]) ** 2) / 3.0).ravel()
        drive = np.convolve(contrast @ (field / np.linalg.norm(field)), kernel / np.linalg.norm(kernel))
        rates[:, unit] = np.exp(drive[:N_BINS])
    rates *= counts_per_bin / rates.mean(0)
    speed = np.abs(np.cumsum(rng.normal(0, 0.3, (N_BINS, 1)), axis=0)) % 30
    return {
        "stim": video,
        "spikes": rng.poisson(rates),
        "truth": rates.astype(np.float32),
        "speed": speed.astype(np.float32),
    }


def traces(arrays: Arrays, seed: int = 1) -> Arrays:
    """The same with noisy traces instead of counts."""
    rates = arrays["truth"]
    noise = np.random.default_rng(seed).normal(size=rates.shape)
    trace = ((rates - rates.mean(0)) / rates.std(0) + noise).astype(np.float32)
    return {"stim": arrays["stim"], "speed": arrays["speed"], "spikes": trace}


def prepared(
    folder: Path,
    *sessions: Arrays,
    kind: Literal["counts", "trace"] = "counts",
    normalisation: Literal["pooled", "session"] = "pooled",
    **changes: Any,
) -> RecordingStore:
    """The recording, prepared; `changes` are of every session's YAML, a change to None leaves a key out."""
    folder.mkdir(parents=True, exist_ok=True)
    named = []
    for number, arrays in enumerate(sessions):
        starts = np.arange(0, len(arrays["stim"]), TRIAL_BINS)
        whole = {"starts": starts, "split": np.array(SPLITS)[: len(starts)], **arrays}
        np.savez(folder / f"{number}.npz", **whole)
        keys = {"video": "stim", "responses": "spikes", "behaviour": "speed", "rates": "truth", "valid": "ok"}
        session = {key: name for key, name in keys.items() if name in whole}
        session |= {"trial_start": "starts", "split": "split"} | changes
        session |= {"id": f"s{number}", "subject": "m", "path": f"{number}.npz"}
        named.append({key: value for key, value in session.items() if value is not None})
    raw = {
        "type": "arrays",
        "params": {"sampling_rate_hz": RATE_HZ, "response_kind": kind, "sessions": named},
        "normalisation": normalisation,
    }
    return prepare(build_data_config(raw, "flawed.yaml"), folder)


def started(store: RecordingStore, model: dict[str, Any] = LINEAR, **changes: Any) -> Twin:
    """The twin as training starts from it."""
    torch.manual_seed(0)
    config = build_config(TwinConfig, {"sampling_rate": store.spec.rate_hz, **model, **changes}, "m")
    twin = config.build(store.spec).eval()
    initialise(twin, store, InitialiseConfig())
    return twin


def correlations(twin: Twin, arrays: Arrays, units: Sequence[int] = range(N_UNITS)) -> np.ndarray:
    """Of each unit's prediction with its true rate, on the test trials."""
    found = []
    predicted = twin.predict(arrays["stim"], session=twin.sessions[0])
    test = np.repeat(np.array(SPLITS) == "test", TRIAL_BINS)
    for unit in units:
        found.append(np.corrcoef(predicted[test, unit], arrays["truth"][test, unit])[0, 1])
    return np.array(found)
