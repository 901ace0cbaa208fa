"""What `train` says of memory beforehand, and what it takes, for a recording of noise that is written into FOLDER.

    python docs/figures/memory_said.py FOLDER UNITS BINS counts|trace

Frames have 18 x 24 pixels, 30 in a second; counts have a linear path too, traces readouts alone. One step is trained.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
from large_sessions import MODEL, data, write

from visioncore.config import dump_yaml


def main(folder: Path, n_units: int, n_bins: int, kind: str) -> None:
    folder.mkdir(parents=True)
    write(folder / "s.h5", n_bins, 18, 24, n_units)
    if kind == "counts":
        with h5py.File(folder / "s.h5", "r+") as file:
            file["traces"][...] = np.random.default_rng(0).poisson(0.3, (n_bins, n_units))
    raw = data(folder / "s.h5", 1)
    raw["params"] = {**dict(raw["params"]), "response_kind": kind}  # type: ignore[call-overload]
    (folder / "data.yaml").write_text(dump_yaml(raw))
    linear = "{type: low_rank, params: {window_s: 0.2}}" if kind == "counts" else "{type: none}"
    settings = (
        *("--set", "model.sampling_rate=30", "--set", "model.modulator={type: none}"),
        *("--set", f"model.linear={linear}"),
        *("--set", "training={batch_size: 4, clip_frames: 60, validation_minutes: 0.2}"),
        *("--set", "training.length={type: steps, params: {number: 1}}"),
    )
    command = [sys.executable, "-m", "visioncore.cli"]
    subprocess.run([*command, "prepare", "data.yaml"], cwd=folder, check=True, capture_output=True)
    train = [*command, "train", "--model", str(MODEL), "--data", "data.yaml", "--out", "run", *settings]
    process = subprocess.Popen(
        train, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(told)
    (said,) = re.findall(r"on the host ([\d.]+) GB", " ".join(told.split()))
    taken = used.ru_maxrss * 1024 / 1e9
    sys.stdout.write(f"said {said} GB, taken {taken:.2f} GB, said/taken {float(said) / taken:.2f}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
