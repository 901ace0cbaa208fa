"""The pictures that the simulated animals look at: photographs from installed packages, and dead leaves.

A picture belongs to one split for good, whatever the seed and session, so that no test picture is in any
training frame.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO

import numpy as np
from jaxtyping import Float32
from PIL import Image
from scipy.ndimage import gaussian_filter

from visioncore.errors import DataError
from visioncore.recording import Split
from visioncore.simulation.randomness import stream
from visioncore.stimuli import dead_leaves

PHOTOGRAPHS: dict[Split, tuple[str, ...]] = {
    "train": (
        "skimage/data/astronaut.png",
        "skimage/data/chelsea.png",
        "skimage/data/rocket.jpg",
        "skimage/data/gravel.png",
        "skimage/data/brick.png",
        "skimage/data/moon.png",
        "skimage/data/hubble_deep_field.jpg",
        "skimage/data/clock_motion.png",
        "skimage/data/retina.jpg",
        "skimage/data/ihc.png",
        "skimage/data/cell.png",
    ),
    "validation": ("skimage/data/coffee.png", "skimage/data/coins.png"),
    "test": (
        "skimage/data/camera.png",
        "skimage/data/motorcycle_left.png",
        "skimage/data/grass.png",
        "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    ),
}
"""Files inside the wheels of scikit-image and matplotlib; nothing is downloaded."""

DEAD_LEAVES: dict[Split, int] = {"train": 48, "validation": 6, "test": 18}
"""How many dead-leaves pictures each split draws from."""

SHORT_SIDES_PX = (150, 240)
"""Each photograph is shown at these sizes of its shorter side, in pixels of the stimulus."""

_CONTRAST_SD = 0.4
_OPTICS_SIGMA_PX = 0.6


@dataclass(frozen=True)
class Picture:
    """A picture in contrast units, and the name that keeps it in its split."""

    name: str
    contrast: Float32[np.ndarray, "height width"]


class PictureLibrary:
    """All pictures of one seed, made on first use and kept."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._cache: dict[tuple[str, int], Picture] = {}

    def draw(self, kind: str, split: Split, generator: np.random.Generator) -> Picture:
        """A random picture of the split; `kind` is photograph or dead_leaves."""
        if kind == "photograph":
            path = PHOTOGRAPHS[split][generator.integers(len(PHOTOGRAPHS[split]))]
            size = SHORT_SIDES_PX[generator.integers(len(SHORT_SIDES_PX))]
            return self._photograph(path, size)
        return self._dead_leaves(split, int(generator.integers(DEAD_LEAVES[split])))

    def _photograph(self, path: str, short_side_px: int) -> Picture:
        key = (path, short_side_px)
        if key not in self._cache:
            with Image.open(BytesIO(_read(path))) as image:
                grey = image.convert("L").convert("F")
                scale = short_side_px / min(grey.size)
                size = (round(grey.width * scale), round(grey.height * scale))
                pixels = np.asarray(grey.resize(size, Image.Resampling.BOX), np.float32)
            name = path.rsplit("/", 1)[-1].split(".")[0]
            self._cache[key] = Picture(f"photograph/{name}", standardised(pixels))
        return self._cache[key]

    def _dead_leaves(self, split: Split, index: int) -> Picture:
        key = (split, index)
        if key not in self._cache:
            generator = stream(self._seed, f"dead leaves {split}", index)
            pixels = dead_leaves(200, 240, radius_px=(2.5, 50.0), generator=generator)
            self._cache[key] = Picture(f"dead_leaves/{split}-{index:02d}", standardised(pixels))
        return self._cache[key]


def photographs_digest() -> str:
    """Hex digest of the photographs' files: another release of a package may ship another picture."""
    digest = hashlib.sha256()
    for paths in PHOTOGRAPHS.values():
        for path in paths:
            digest.update(hashlib.sha256(_read(path)).digest())
    return digest.hexdigest()


def _read(path: str) -> bytes:
    package, _, inside = path.partition("/")
    resource = files(package) / inside
    if not resource.is_file():
        raise DataError(
            f"simulated data: the picture {inside} is not in the installed {package}; "
            "install the versions of constraints.txt"
        )
    return resource.read_bytes()


def standardised(pixels: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """The picture blurred by the eye's optics, in contrast units of one mean and spread."""
    blurred = gaussian_filter(pixels, _OPTICS_SIGMA_PX)
    contrast = (blurred - blurred.mean()) / blurred.std() * _CONTRAST_SD
    return np.clip(contrast, -1, 1).astype(np.float32)
