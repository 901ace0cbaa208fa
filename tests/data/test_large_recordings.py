"""Memory does not grow with a recording. `docs/figures/large_sessions.py` measures 20 GB, and 8,000 units."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from forked import run_in_new_process, weighed_preparation
from visioncore.config import dump_yaml

DATA = {
    "type": "arrays",
    "params": {
        "sampling_rate_hz": 30,
        "response_kind": "counts",
        "sessions": [{"id": "s", "subject": "m", "path": "film.h5", "video": "stim", "responses": "spikes"}],
    },
    "preparation": [{"type": "resize", "params": {"factor": 8}}],
    "split": {"block_s": 2.0, "split_gap_s": 0.2},
    "burn_in_s": 0.1,
}
HEIGHT, WIDTH, AT_ONCE = 288, 512, 50
GIGABYTE = 10**9


def write(path: Path, n_bytes: int) -> None:
    """A film of so many bytes, packed, so that the disk has little to do."""
    rng = np.random.default_rng(0)
    n = n_bytes // (HEIGHT * WIDTH)
    coarse = rng.integers(0, 256, (AT_ONCE, HEIGHT // 32, WIDTH // 32), dtype=np.uint8)
    frames = np.repeat(np.repeat(coarse, 32, axis=1), 32, axis=2)
    with h5py.File(path, "w") as file:
        film = file.create_dataset(
            "stim", (n, HEIGHT, WIDTH), np.uint8, chunks=(AT_ONCE, HEIGHT, WIDTH), compression="lzf"
        )
        for start in range(0, n, AT_ONCE):
            film[start : start + AT_ONCE] = np.roll(frames, start, axis=1)[: n - start]
        file["spikes"] = rng.poisson(0.3, (n, 3)).astype(np.uint8)


@pytest.mark.slow
def test_a_film_of_a_gigabyte_takes_no_more_memory_than_one_of_a_tenth(tmp_path: Path) -> None:
    peaks = []
    for size in (GIGABYTE // 10, GIGABYTE):
        folder = tmp_path / str(size)
        folder.mkdir()
        write(folder / "film.h5", size)
        (folder / "data.yaml").write_text(dump_yaml(DATA))
        log = folder / "log"
        assert run_in_new_process(weighed_preparation, folder, log=log) == 0, log.read_text()
        peaks.append(json.loads((folder / "peak.json").read_text()))
    small, large = peaks
    assert large - small < 0.1 * GIGABYTE, peaks
