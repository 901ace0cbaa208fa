"""Peak memory of `prepare` and of a short training on a film of 20 GB and on 8,000 units of two hours.

Writes the recordings into FOLDER (60 GB of it are used, and freed again) and runs the two commands on each:

    python docs/figures/large_sessions.py FOLDER [SHARE OF THE SIZE] [film|units]
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np

from visioncore.config import dump_yaml

MODEL = Path(__file__).parents[2] / "experiments" / "model_configs" / "vivit_tiny.yaml"
RATE_HZ = 30.0
AT_ONCE = 1500


def write(path: Path, n_bins: int, height: int, width: int, n_units: int, seed: int = 0) -> None:
    """Uncompressed noise."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (AT_ONCE, height, width), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        stim = file.create_dataset("stim", (n_bins, height, width), np.uint8, chunks=(50, height, width))
        responses = file.create_dataset("traces", (n_bins, n_units), np.float32, chunks=(50, n_units))
        for start in range(0, n_bins, AT_ONCE):
            stop = min(start + AT_ONCE, n_bins)
            stim[start:stop] = np.roll(frames, start // AT_ONCE, axis=1)[: stop - start]
            responses[start:stop] = rng.standard_normal((stop - start, n_units), dtype=np.float32)


def data(path: Path, factor: int) -> dict[str, object]:
    session = {"id": "s", "subject": "m", "path": path.name, "video": "stim", "responses": "traces"}
    return {
        "type": "arrays",
        "params": {"sampling_rate_hz": RATE_HZ, "response_kind": "trace", "sessions": [session]},
        "preparation": [{"type": "resize", "params": {"factor": factor}}] if factor != 1 else [],
        "split": {"block_s": 10.0, "split_gap_s": 0.5, "test": 0.2, "validation": 0.1},
        "burn_in_s": 0.5,
    }


def measured(folder: Path, *arguments: str) -> str:
    """Runs `visioncore` in a process of its own: its seconds, and the most memory that it had."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "visioncore.cli", *arguments], cwd=folder)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"visioncore {' '.join(arguments)} failed")
    return f"{time.perf_counter() - started:.0f} s, {used.ru_maxrss * 1024 / 1e9:.2f} GB"


def main(folder: Path, share: float, only: str | None) -> None:
    cases = {
        "film": (int(share * 135_600), 288, 512, 20, 8),
        "units": (int(share * 222_000), 36, 64, 8000, 1),
    }
    training = (
        *("--set", "model.sampling_rate=30", "--set", "model.modulator={type: none}"),
        *("--set", "model.linear={type: none}"),
        *("--set", "training={batch_size: 4, clip_frames: 60, validation_minutes: 0.5}"),
        *("--set", "training.length={type: steps, params: {number: 20}}"),
    )
    for name in [only] if only else cases:
        n_bins, height, width, n_units, factor = cases[name]
        there = folder / name
        there.mkdir(parents=True)
        write(there / "s.h5", n_bins, height, width, n_units)
        (there / "data.yaml").write_text(dump_yaml(data(there / "s.h5", factor)))
        size = (there / "s.h5").stat().st_size / 1e9
        prepared = measured(there, "prepare", "data.yaml")
        trained = measured(
            there, "train", "--model", str(MODEL), "--data", "data.yaml", "--out", "run", *training
        )
        sys.stdout.write(f"{name}, {size:.1f} GB: prepare {prepared}; train {trained}\n")
        shutil.rmtree(there)


if __name__ == "__main__":
    share = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    main(Path(sys.argv[1]), share, sys.argv[3] if len(sys.argv) > 3 else None)
