"""A recording of cells whose fields are known, under white noise and under frames with long correlations; and a twin
that is made of them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from visioncore import prepare_arrays
from visioncore.data import RecordingStore, load_data_config, prepare
from visioncore.model import Twin, TwinConfig
from visioncore.model.cores import NoCoreConfig, ViViTConfig
from visioncore.model.linear import LowRankLinear, LowRankLinearConfig
from visioncore.model.outputs import SoftplusOutputConfig
from visioncore.stimuli import gabor_pair

HEIGHT, WIDTH, RATE_HZ, LAGS = 16, 24, 60.0, 12
DEGREES_PER_PIXEL = 0.1
CENTRES = ((6.0, 8.0), (10.0, 15.0), (8.0, 12.0))
"""Of the linear cell, the energy cell, and one that answers nothing."""
SIGMA = 2.0
COURSE = np.array([0.0, 0.1, 0.5, 1.0, 0.7, 0.2, -0.2, -0.35, -0.3, -0.15, -0.05, 0.0])
"""Strongest 3 frames, 50 ms, before the response."""


def pair(unit: int) -> np.ndarray:
    """The two Gabors of a cell, (2, height, width)."""
    row, column = CENTRES[unit]
    own = gabor_pair(
        HEIGHT, WIDTH, row_px=row, column_px=column, sigma_px=SIGMA, orientation_deg=30.0, period_px=5.5
    )
    return own / np.linalg.norm(own[0])


def kernel() -> np.ndarray:
    """Of the linear cell, (lags, height, width)."""
    return COURSE[:, None, None] * pair(0)[0]


def filtered(frames: np.ndarray, spatial: np.ndarray) -> np.ndarray:
    projected = np.tensordot(frames, spatial, 2)
    return np.convolve(projected, COURSE)[: len(frames)]


@dataclass(frozen=True)
class Cells:
    """The recording, and what made it."""

    store: RecordingStore
    rates: np.ndarray


def record(
    folder: Path,
    kind: Literal["white", "natural"],
    seconds: float = 400.0,
    seed: int = 0,
    block_s: float = 20.0,
) -> Cells:
    """Counts of the three cells."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE_HZ)
    noise = rng.standard_normal((n, HEIGHT, WIDTH)).astype(np.float32)
    if kind == "natural":
        noise = gaussian_filter(noise, (1.5, 1.2, 1.2))
        noise /= noise.std()
    video = np.clip(np.rint(127 + 40 * noise), 0, 255).astype(np.uint8)
    seen = (video.astype(np.float32) - 127) / 40
    linear = filtered(seen, pair(0)[0])
    energy = np.hypot(*(filtered(seen, own) for own in pair(1)))
    rates = np.stack([np.exp(0.8 * linear / linear.std()), (energy / energy.std()) ** 2, np.ones(n)], axis=1)
    rates /= rates.mean(0)
    path = prepare_arrays(
        folder,
        video=video,
        responses=rng.poisson(rates),
        sampling_rate_hz=RATE_HZ,
        unit_ids=["linear", "energy", "none"],
        session="one",
        geometry={"degrees_per_pixel": DEGREES_PER_PIXEL},
        data={
            "split": {
                "block_s": block_s,
                "split_gap_s": min(0.5, block_s / 4),
                "test": 0.1,
                "validation": 0.2,
            },
            "burn_in_s": 0.25,
        },
    )
    return Cells(prepare(load_data_config(path), path.parent), rates)


def linear_twin(store: RecordingStore) -> Twin:
    """Its first unit has the linear cell's kernel, and the others' filters are zero."""
    config = TwinConfig(
        sampling_rate=RATE_HZ,
        convnet=NoCoreConfig(),
        linear=LowRankLinearConfig(rank=1, window_s=LAGS / RATE_HZ, num_basis=LAGS),
        output=SoftplusOutputConfig(),
    )
    twin = config.build(store.spec)
    linear = twin.heads["one"].linear
    assert isinstance(linear, LowRankLinear)
    with torch.no_grad():
        linear.temporal.zero_()
        linear.temporal[0, 0] = torch.from_numpy(COURSE).float()
        linear.spatial[0, 0] = torch.from_numpy(pair(0)[0].ravel() / linear.spatial_scale).float()
    return twin


def vivit_twin(store: RecordingStore, seed: int = 0) -> Twin:
    """With random weights, and units that look where the cells are."""
    torch.manual_seed(seed)
    twin = TwinConfig(sampling_rate=RATE_HZ, convnet=ViViTConfig.tiny()).build(store.spec)
    readout = twin.placed_readout("one")
    assert readout is not None
    readout.place(torch.tensor(CENTRES))
    return twin


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
