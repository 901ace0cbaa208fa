"""Peak memory of `prepare`, one training step and `evaluate` on 5 sessions of 8,000 units and 100 trials of 300 frames.

Writes the recordings into FOLDER (15 GB of it are used, and freed again) and runs the three commands:

    python docs/figures/many_large_sessions.py FOLDER [SHARE OF THE UNITS]
"""

import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
from large_sessions import MODEL, RATE_HZ, measured, write

from visioncore.config import dump_yaml

SESSIONS, UNITS, TRIALS, FRAMES, HEIGHT, WIDTH = 5, 8000, 100, 300, 36, 64


def data(n_sessions: int) -> dict[str, object]:
    keys = {"video": "stim", "responses": "traces", "trial_start": "starts"}
    sessions = [{"id": f"s{k}", "subject": f"m{k}", "path": f"s{k}.h5", **keys} for k in range(n_sessions)]
    return {
        "type": "arrays",
        "params": {"sampling_rate_hz": RATE_HZ, "response_kind": "trace", "sessions": sessions},
        "split": {"test": 0.1, "validation": 0.1},
        "burn_in_s": 0.5,
    }


def main(folder: Path, share: float) -> None:
    folder.mkdir(parents=True)
    for number in range(SESSIONS):
        path = folder / f"s{number}.h5"
        write(path, TRIALS * FRAMES, HEIGHT, WIDTH, round(share * UNITS), seed=number)
        with h5py.File(path, "a") as file:
            file["starts"] = np.arange(0, TRIALS * FRAMES, FRAMES)
    (folder / "data.yaml").write_text(dump_yaml(data(SESSIONS)))
    training = (
        *("--set", "model.sampling_rate=30", "--set", "model.modulator={type: none}"),
        *("--set", "model.linear={type: none}"),
        *("--set", "training={batch_size: 5, clip_frames: 300, validation_minutes: 0.5}"),
        # Where 40,000 units look takes long to estimate, and is no part of a step.
        *("--set", "training.initialise={positions: false}"),
        *("--set", "training.length={type: steps, params: {number: 1}}"),
    )
    found = {
        "prepare": measured(folder, "prepare", "data.yaml", "--workers", "2"),
        "one step": measured(
            folder, "train", "--model", str(MODEL), "--data", "data.yaml", "--out", "run", *training
        ),
        "evaluate": measured(folder, "evaluate", "run"),
    }
    size = sum(file.stat().st_size for file in (folder / "stores").rglob("*") if file.is_file()) / 1e9
    sys.stdout.write(f"stores {size:.1f} GB; {'; '.join(f'{name} {told}' for name, told in found.items())}\n")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)
