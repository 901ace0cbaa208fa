"""Experanto folders, written as its own code reads them."""

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mice import save

HZ, START_S, HEIGHT, WIDTH = 30.0, 100.0, 4, 6
SHIFTS_S = np.array([0.0, 0.01, 0.055, 0.11])
CALCIUM_HZ = 7.9
SHOWN: list[tuple[str, int, str]] = [
    ("video", 60, "train"),
    ("image", 15, "train"),
    ("blank", 15, "blank"),
    ("video", 60, "validation"),
    ("video", 60, "test"),
    ("blank", 15, "blank"),
    ("video", 60, "test"),
    ("video", 60, "train"),
    ("invalid", 15, "train"),
    ("image", 15, "train"),
    ("blank", 15, "blank"),
]
"""Modality, duration in bins and tier of each trial; both test videos are one."""


def write_yml(path: Path, **values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def write_experiment(
    folder: Path,
    name: str = "mouse1_session2",
    shown: Sequence[tuple[str, int, str]] = SHOWN,
    eye_signals: int = 2,
) -> Path:
    """Counts at `units`, calcium at `responses`, an eye tracker and a treadmill, each with a start of its own.

    Units fire where a pixel was bright two bins before; `truth/counts.npy` has their counts.
    """
    root, rng = folder / name, np.random.default_rng(0)
    times: list[float] = []
    screens = []
    at = 0
    for number, (modality, n_bins, tier) in enumerate(shown):
        n = n_bins if modality == "video" else 1
        extra: dict[str, Any] = {"num_frames": n} if modality == "video" else {}
        extra |= {"interleave_value": 128.5} if modality == "blank" else {}
        write_yml(
            root / f"screen/meta/{number:05d}.yml",
            modality=modality,
            first_frame_idx=len(times),
            image_size=[HEIGHT, WIDTH],
            tier=tier,
            stimulus_name=f"{modality}_{number}",
            **extra,
        )
        if modality in ("video", "image"):
            seed = 4 if number == 6 else number  # a film that is shown twice
            pixels = np.random.default_rng(seed).integers(0, 256, (n, HEIGHT, WIDTH)).astype(np.uint8)
            save(root / f"screen/data/{number:05d}.npy", pixels if modality == "video" else pixels[0])
        else:
            pixels = np.full((1, HEIGHT, WIDTH), 128, np.uint8)
        screens.append(np.broadcast_to(pixels, (n_bins, HEIGHT, WIDTH)))
        times += [START_S + (at + k) / HZ for k in range(n)]
        at += n_bins
    save(root / "screen/timestamps.npy", np.array(times))
    write_yml(root / "screen/meta.yml", modality="screen", frame_rate=HZ)
    (root / "screen/combined_meta.json").write_text("stale")
    bright = np.roll(np.concatenate(screens)[:, 1, 1:4], 2, axis=0) > 140
    counts = rng.poisson(np.where(bright, 1.0, 0.1))
    spikes, edges = [], [0]
    for unit in range(3):
        bins = np.repeat(np.arange(at), counts[:, unit])
        spikes.append(np.sort(START_S + (bins + rng.uniform(0.25, 0.75, len(bins))) / HZ))
        edges.append(edges[-1] + len(bins))
    save(root / "units/spikes.npy", np.concatenate(spikes))
    write_yml(
        root / "units/meta.yml",
        modality="spikes",
        spike_indices=edges,
        n_signals=3,
        start_time=0,
        end_time=1000,
    )
    save(root / "truth/counts.npy", counts)
    n_calcium, n_eye, n_speed = (
        round((at / HZ + after_s) * hz) for hz, after_s in ((CALCIUM_HZ, 9.785), (20.07, 7.93), (100.0, 11.0))
    )
    calcium = rng.gamma(1, 1, (n_calcium, 4))
    write_sequence(root / "responses", 97.31, CALCIUM_HZ, calcium, phase_shift_per_signal=True)
    save(root / "responses/meta/phase_shifts.npy", SHIFTS_S)
    save(root / "responses/meta/unit_ids.npy", [11, 12, 15, 19])
    save(root / "responses/meta/cell_motor_coordinates.npy", np.arange(12).reshape(4, 3))
    write_sequence(
        root / "eye_tracker", 98.1, 20.07, np.cumsum(rng.normal(size=(n_eye, eye_signals)), axis=0)
    )
    speed = np.abs(np.cumsum(rng.normal(size=(n_speed, 1)), axis=0))
    write_sequence(
        root / "treadmill", 96.0, 100.0, speed, is_mem_mapped=True, dtype="float32", n_timestamps=n_speed
    )
    (root / "treadmill/data.npy").unlink()
    speed.astype(np.float32).tofile(root / "treadmill/data.mem")
    return root


def write_sequence(device: Path, start_s: float, rate_hz: float, data: np.ndarray, **meta: Any) -> None:
    values = {"n_signals": data.shape[1], "phase_shift_per_signal": False, **meta}
    end_s = start_s + len(data) / rate_hz
    write_yml(
        device / "meta.yml",
        modality="sequence",
        sampling_rate=rate_hz,
        start_time=start_s,
        end_time=end_s,
        **values,
    )
    save(device / "data.npy", data)


def tarred(root: Path) -> Path:
    target = root.parent / f"{root.name}.tar"
    with tarfile.open(target, "w") as archive:
        archive.add(root, f"./{root.name}")
    return target
