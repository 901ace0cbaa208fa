"""Small NWB files, written by pynwb, and what of them the right bins are."""

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pynwb
from pynwb.base import TimeSeries
from pynwb.epoch import TimeIntervals
from pynwb.image import ImageSeries

from visioncore.config import build_config
from visioncore.data.align.recording import AlignedRecording
from visioncore.data.sources.nwb import NwbConfig

RATE_HZ = 50.0
HEIGHT, WIDTH = 6, 8


def screen(n: int, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Pictures of noise."""
    return np.random.default_rng(seed).integers(0, 256, (n, height, width), dtype=np.uint8)


def write(path: Path, fill: Callable[[pynwb.NWBFile], None]) -> Path:
    """A file of its own start, filled."""
    start = datetime(2026, 1, 5, tzinfo=UTC)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nwb = pynwb.NWBFile("a session", path.stem, start)
        fill(nwb)
        with pynwb.NWBHDF5IO(path, "w") as io:
            io.write(nwb)
    return path


def template(name: str, pictures: np.ndarray, **settings: Any) -> ImageSeries:
    """Pictures without times of their own."""
    return ImageSeries(name=name, data=pictures, unit="n.a.", rate=30.0, **settings)


def table(name: str, start_s: np.ndarray, stop_s: np.ndarray, **columns: Any) -> TimeIntervals:
    """An interval table."""
    made = TimeIntervals(name=name, description="shown")
    for column in columns:
        made.add_column(column, column)
    for k in range(len(start_s)):
        made.add_row(
            start_time=start_s[k], stop_time=stop_s[k], **{c: values[k] for c, values in columns.items()}
        )
    return made


def add_spikes(
    nwb: pynwb.NWBFile, times: list[np.ndarray], ids: list[int] | None = None, **columns: Any
) -> None:
    """Units, with columns of one value each."""
    for column in columns:
        nwb.add_unit_column(column, column)
    for k, own in enumerate(times):
        nwb.add_unit(
            spike_times=own,
            id=None if ids is None else ids[k],
            **{c: values[k] for c, values in columns.items()},
        )


def spikes_of(counts: np.ndarray, start_s: np.ndarray, stop_s: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """Times in the middle half of bins, so that any sound binning gives these counts."""
    rng = np.random.default_rng(seed)
    found = []
    for unit in range(counts.shape[1]):
        bins = np.repeat(np.arange(len(counts)), counts[:, unit])
        inside = rng.uniform(0.25, 0.75, len(bins))
        found.append(np.sort(start_s[bins] + inside * (stop_s - start_s)[bins]))
    return found


def counts_for(n: int, units: int = 3, seed: int = 1) -> np.ndarray:
    """Counts to plant."""
    return np.random.default_rng(seed).poisson(0.7, (n, units))


def some_spikes(nwb: pynwb.NWBFile, stop_s: float = 10.0, **columns: Any) -> None:
    """Three units that fire all the time."""
    rng = np.random.default_rng(5)
    add_spikes(nwb, [np.sort(rng.uniform(0, stop_s, 200)) for _ in range(3)], **columns)


def series(
    name: str, data: np.ndarray, times_s: np.ndarray, unit: str = "a.u.", **settings: Any
) -> TimeSeries:
    """Samples with times."""
    return TimeSeries(name=name, data=data, timestamps=times_s, unit=unit, **settings)


def opened(path: Path | str, base_dir: Path, rate_hz: float = RATE_HZ, **session: Any) -> AlignedRecording:
    """A session on bins."""
    params = {"id": "s", "subject": "m", "path": str(path), **session}
    raw = {"type": "nwb", "params": {"sampling_rate_hz": rate_hz, "sessions": [params]}}
    recording = build_config(NwbConfig, raw, "test.yaml").build(base_dir).session("s")
    assert isinstance(recording, AlignedRecording)
    return recording


def read(recording: AlignedRecording, signal: Any) -> np.ndarray:
    """All bins of a signal."""
    return recording.read(signal, 0, recording.n_bins)
