"""Mice as the Sensorium competitions hand them out, to the letter of the format, with all that is odd about it."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from visioncore.data import RecordingStore, build_data_config, prepare

"""Files as they occur, where this checkout has them."""
PADDED, N_UNITS, HEIGHT, WIDTH = 64, 5, 4, 6
TIERS = [*["train"] * 12, *["oracle"] * 4, *["live_test_main"] * 2, *["final_test_bonus"] * 2, "none"]
IMAGES = "static27204-5-13-GrayImageNet-94c6ff995dac583098847cfecd43e7b6"
NAME = "dynamic29515-10-12-Video-9b4f6a1a067fe51e15306b9628efea20"


def clip(number: int, n_bins: int) -> np.ndarray:
    """(height, width, time), grey levels."""
    return np.random.default_rng(100 + number).integers(0, 256, (HEIGHT, WIDTH, n_bins)).astype(float)


def padded(array: np.ndarray) -> np.ndarray:
    """With NaN up to the length of the longest trial."""
    return np.pad(
        array, [(0, 0)] * (array.ndim - 1) + [(0, PADDED - array.shape[-1])], constant_values=np.nan
    )


def save(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(array))


def write_mouse(
    folder: Path, tiers: list[str] = TIERS, lengths: dict[int, int] | None = None, name: str = NAME
) -> Path:
    """A mouse of 2023. Trials of a tier but train show two clips in turn. Lengths differ, files are padded with NaN."""
    root, rng = folder / name, np.random.default_rng(0)
    lengths = {1: 54, **(lengths or {})}
    others = [tier for tier in dict.fromkeys(tiers) if tier != "train"]
    for number, tier in enumerate(tiers):
        if tier == "none":
            continue
        n = lengths.get(number, 60)
        shown = number if tier == "train" else 50 + 2 * others.index(tier) + number % 2
        responses = rng.gamma(1.0, 1.0, (N_UNITS, n))
        responses[0, :3] = -1e-8
        save(root / f"data/videos/{number}.npy", padded(clip(shown, n)))
        save(root / f"data/responses/{number}.npy", padded(responses))
        save(root / f"data/behavior/{number}.npy", padded(rng.uniform(20, 50, (2, n))))
        save(root / f"data/pupil_center/{number}.npy", padded(rng.uniform(120, 150, (2, n))))
    save(root / "meta/trials/tiers.npy", tiers)
    save(root / "meta/neurons/unit_ids.npy", np.arange(N_UNITS) * 7 + 3)
    save(root / "meta/neurons/cell_motor_coordinates.npy", np.arange(3 * N_UNITS).reshape(N_UNITS, 3))
    save(root / "meta/statistics/responses/all/std.npy", rng.uniform(0.5, 2, (N_UNITS, PADDED)))
    (root / "config.json").write_text("{}")
    return root


def write_images(folder: Path, n: int = 40, n_units: int = 3) -> Path:
    """A mouse of 2022: thirty pictures that train, five that are shown twice and test; hashed trial ids."""
    root, rng = folder / IMAGES, np.random.default_rng(1)
    tiers = ["train"] * (n - 14) + ["validation"] * 4 + ["test"] * 6 + ["final_test"] * 4
    ids = [*range(n - 10), *[900, 901, 902] * 2, *[950, 951] * 2]
    for number in range(n):
        picture = np.random.default_rng(ids[number]).uniform(0, 255, (1, HEIGHT, WIDTH))
        save(root / f"data/images/{number}.npy", picture)
        save(root / f"data/behavior/{number}.npy", rng.uniform(0, 50, 3))
        save(root / f"data/pupil_center/{number}.npy", rng.uniform(100, 150, 2))
        if tiers[number] != "final_test":
            save(root / f"data/responses/{number}.npy", rng.gamma(1.0, 1.0, n_units))
    save(root / "meta/trials/tiers.npy", tiers)
    save(root / "meta/trials/frame_image_id.npy", ids)
    save(root / "meta/trials/trial_idx.npy", [f"{i:016x}" for i in range(n)])
    save(root / "meta/neurons/unit_ids.npy", np.arange(n_units) + 1)
    save(root / "meta/statistics/responses/all/std.npy", np.ones(n_units))
    return root


def zipped(root: Path) -> Path:
    """The folder as a zip, with what a Mac adds."""
    target = root.parent / f"{root.name}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(root.parent))
        archive.writestr(f"__MACOSX/{root.name}/meta/trials/tiers.npy", b"no array")
        archive.writestr(f"__MACOSX/{root.name}/data/videos/._0.npy", b"no array")
    shutil.rmtree(root)
    return target


def config(path: Path, **params: Any) -> dict[str, Any]:
    session = {"id": "m1", "subject": "29515", "path": str(path), **params.pop("session", {})}
    return {"type": "sensorium", "params": {"sessions": [session], **params}}


def prepared_mouse(folder: Path, path: Path, **params: Any) -> RecordingStore:
    return prepare(build_data_config(config(path, **params), "mouse.yaml"), folder)
