"""A lab's folder of events: a sorter's output, flips and a film, and the counts that they hold."""

from pathlib import Path
from typing import Any

import numpy as np

from visioncore.config import build_config
from visioncore.data.align import AlignedRecording
from visioncore.data.sources.events import EventsSource
from visioncore.data.sources.events_config import EventsConfig

RATE_HZ, T0_S, N, ROWS, COLUMNS = 59.94, 3.7, 1200, 4, 6
ONSETS = T0_S + np.arange(N) / RATE_HZ
VIDEO = np.random.default_rng(0).integers(0, 256, (N, ROWS, COLUMNS), dtype=np.uint8)
COUNTS = np.random.default_rng(1).poisson(0.3, (N, 3))
CLUSTERS = (2, 5, 40)
BIN, UNIT = (np.repeat(index, COUNTS[COUNTS > 0]) for index in np.nonzero(COUNTS))
SPIKES_S = ONSETS[BIN] + np.random.default_rng(2).uniform(0.25, 0.75, len(BIN)) / RATE_HZ
ORDER = np.argsort(SPIKES_S, kind="stable")
SPIKES_S, LABELS = SPIKES_S[ORDER], np.array(CLUSTERS)[UNIT[ORDER]]
SAMPLE_HZ = 30_000.0

Raw = dict[str, Any]


def make_lab(tmp_path: Path) -> Path:
    """A folder as a lab leaves it: a sorter's output, flips, a film."""
    sorted_ = tmp_path / "ks4"
    sorted_.mkdir()
    samples = np.round(SPIKES_S * SAMPLE_HZ).astype(np.uint64)
    np.save(sorted_ / "spike_times.npy", samples[:, None])
    np.save(sorted_ / "spike_clusters.npy", LABELS.astype(np.int32)[:, None])
    (sorted_ / "params.py").write_text("dat_path = r'raw.bin'\nn_channels_dat = 385\nsample_rate = 30000.\n")
    (sorted_ / "cluster_group.tsv").write_text("cluster_id\tgroup\n2\tgood\n5\tmua\n40\tgood\n")
    np.save(tmp_path / "flips.npy", ONSETS)
    np.save(tmp_path / "film.npy", VIDEO)
    return tmp_path


def session(**changes: Any) -> Raw:
    raw = {
        "id": "one",
        "subject": "m",
        "spikes": {"phy": "ks4/"},
        "frames": {"times_s": "flips.npy"},
        "video": {"path": "film.npy"},
    } | changes
    return {key: value for key, value in raw.items() if value is not None}


def source(folder: Path, rate_hz: float = RATE_HZ, **changes: Any) -> EventsSource:
    raw = {"type": "events", "params": {"sampling_rate_hz": rate_hz, "sessions": [session(**changes)]}}
    return build_config(EventsConfig, raw, "data.yaml").build(folder)


def opened(folder: Path, rate_hz: float = RATE_HZ, **changes: Any) -> AlignedRecording:
    recording = source(folder, rate_hz, **changes).session("one")
    assert isinstance(recording, AlignedRecording)
    return recording


def read(recording: AlignedRecording, signal: Any) -> np.ndarray:
    return recording.read(signal, 0, recording.n_bins)
