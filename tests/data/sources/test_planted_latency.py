"""An hour of frames and spikes on the clocks of two machines: a planted latency is found within half a bin, all along.

Counts of 10 minutes each are compared with the pixel that drives them: a session that drifts away from its screen, or
loses a frame, has another latency at its end than at its start.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visioncore.config import build_config
from visioncore.data.sources.checkerboard import CheckerboardConfig
from visioncore.data.sources.events_config import EventsConfig

HOUR_S, RATE_HZ = 3600.0, 29.97085
LATENCY_BINS = 3
BOARD: dict[str, Any] = {"name": "pcg64", "seed": 3, "rows": 1, "columns": 4}
Clocked = tuple[np.ndarray, np.ndarray]
"""Onsets of frames on the display's clock, and the picture of each."""


def regular(rng: np.random.Generator) -> Clocked:
    onsets = 12.3 + np.arange(int(HOUR_S * RATE_HZ)) / RATE_HZ
    return onsets, np.arange(len(onsets))


def irregular(rng: np.random.Generator) -> Clocked:
    onsets, picture = regular(rng)
    return onsets + rng.uniform(-0.15, 0.15, len(onsets)) / RATE_HZ, picture


def dropped(rng: np.random.Generator) -> Clocked:
    """One frame in 200 is late, and the picture after it is left out."""
    onsets, picture = regular(rng)
    kept = rng.random(len(onsets)) > 0.005
    return onsets[kept], picture[kept]


def late(rng: np.random.Generator) -> Clocked:
    """One frame in 200 stays for two, and no picture is left out."""
    lengths = 1 + (rng.random(int(HOUR_S * RATE_HZ)) < 0.005)
    return 12.3 + (np.cumsum(lengths) - lengths[0]) / RATE_HZ, np.arange(len(lengths))


def doubled(rng: np.random.Generator) -> Clocked:
    """One picture in 200 is shown twice."""
    onsets, picture = regular(rng)
    again = np.repeat(picture, 1 + (rng.random(len(picture)) < 0.005))
    return onsets, again[: len(onsets)]


def with_gaps(rng: np.random.Generator) -> Clocked:
    onsets, picture = regular(rng)
    return onsets + 17.77 * (np.arange(len(onsets)) // 20_011), picture


def latencies(folder: Path, shown: Clocked, sync: Any = None, **settings: Any) -> np.ndarray:
    """The latency in bins that is found in each sixth of an hour, for each of four units.

    Args:
        sync: times of the display's clock to those of the spikes', and times of pulses that each has.
    """
    onsets, picture = shown
    rng = np.random.default_rng(7)
    pixels = CheckerboardConfig(**BOARD).build().read(picture)[:, 0, 0] > 0
    lengths = np.minimum(np.diff(onsets, append=onsets[-1] + 1 / RATE_HZ), 1.5 / RATE_HZ)
    fires = pixels & (rng.random(pixels.shape) < 0.3)
    frame, unit = np.nonzero(fires)
    times = onsets[frame] + LATENCY_BINS / RATE_HZ + lengths[frame] * rng.uniform(0.3, 0.7, len(frame))
    to_ephys = sync[0] if sync else lambda t: t
    order = np.argsort(times)
    np.save(folder / "spikes.npy", to_ephys(times)[order])
    np.save(folder / "clusters.npy", unit[order])
    if sync:
        np.save(folder / "ttl_display.npy", sync[1])
        np.save(folder / "ttl_ephys.npy", sync[2])
        settings["sync"] = {"ephys_s": "ttl_ephys.npy", "display_s": "ttl_display.npy"}
    if "frames" not in settings:
        np.save(folder / "flips.npy", onsets)
        settings["frames"] = {"times_s": "flips.npy"}
        if not np.array_equal(picture, np.arange(len(picture))):
            np.save(folder / "index.npy", picture)
            settings["frames"]["index"] = "index.npy"
    raw = {"id": "one", "subject": "m", "spikes": {"times": "spikes.npy", "clusters": "clusters.npy"}}
    raw |= {"video": {"generator": BOARD}, **settings}
    config = build_config(
        EventsConfig, {"type": "events", "params": {"sampling_rate_hz": 30, "sessions": [raw]}}, "y"
    )
    recording = config.build(folder).session("one")
    film = recording.read("video", 0, recording.n_bins)[:, 0, 0] / 255 - 0.5
    counts = recording.read("responses", 0, recording.n_bins).astype(float)
    valid = recording.read("valid", 0, recording.n_bins)[:, 0]
    assert valid.mean() > 0.95
    assert counts[valid].sum() > 0.95 * len(times)
    found = []
    for part in np.array_split(np.arange(10, recording.n_bins), 6):
        part = part[valid[part]]
        at = [(film[part - lag] * counts[part]).mean(axis=0) for lag in range(10)]
        found.append(np.argmax(at, axis=0))
    return np.stack(found)


@pytest.mark.parametrize("frames", [regular, irregular, dropped, late, doubled, with_gaps])
def test_a_latency_is_found_over_an_hour(frames: Any, tmp_path: Path) -> None:
    assert (latencies(tmp_path, frames(np.random.default_rng(0))) == LATENCY_BINS).all()


@pytest.mark.parametrize("frames", [regular, irregular, dropped, with_gaps])
@pytest.mark.parametrize("missing", [False, True])
def test_a_latency_is_found_across_clocks_that_drift(frames: Any, missing: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)

    def to_ephys(times_s: np.ndarray) -> np.ndarray:
        # 80 parts in a million and a slow wander: 0.3 s apart after an hour, and never on a straight line.
        return 1000.5 + times_s * (1 + 8e-5) + 0.02 * np.sin(2 * np.pi * times_s / 1500)

    pulses = np.cumsum(rng.uniform(0.6, 1.7, 3300))
    display, ephys = pulses + rng.normal(0, 2e-4, len(pulses)), to_ephys(pulses)
    if missing:
        display = display[rng.random(len(display)) > 0.02]
        ephys = ephys[5:][rng.random(len(ephys) - 5) > 0.02]
    found = latencies(tmp_path, frames(np.random.default_rng(0)), (to_ephys, display, ephys))
    assert (found == LATENCY_BINS).all()


def test_a_latency_is_found_from_triggers_that_are_missed_doubled_and_paused(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    onsets, picture = regular(rng)
    n = 50
    onsets = onsets[: len(onsets) // n * n]
    onsets = onsets + 3.217 * (np.arange(len(onsets)) // (n * 500))  # a pause at every 500th trigger
    triggers = onsets[::n][rng.random(len(onsets) // n) > 0.01]
    triggers[0] = onsets[0]
    triggers = np.sort(np.concatenate([triggers, triggers[100::300] + 0.004])) + rng.normal(0, 1e-5)
    np.save(tmp_path / "triggers.npy", triggers)
    settings = {"frames": {"times_s": "triggers.npy", "frames_per_trigger": n}}
    found = latencies(tmp_path, (onsets, picture[: len(onsets)]), **settings)
    assert (found == LATENCY_BINS).all()
