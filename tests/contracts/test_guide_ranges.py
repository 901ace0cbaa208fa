"""Contract C3: every value in the guide's table of usual ranges builds, and takes a step of training."""

import random
from typing import Any

import pytest
import torch

from visioncore.config import build_config
from visioncore.model.cores.vivit import ViViTConfig
from visioncore.shapes import VideoShape

RANGES: dict[str, tuple[Any, ...]] = {
    "embedding_dim": (192, 384, 768),
    "num_spatial_blocks": tuple(range(4, 13)),
    "num_temporal_blocks": tuple(range(4, 13)),
    "num_heads": tuple(range(4, 13)),
    "head_dim": tuple(range(48, 65, 4)),
    "patch_frames": tuple(range(2, 9)),
    "patch_rows": tuple(range(2, 9)),
    "patch_columns": tuple(range(2, 9)),
    "stride_frames": tuple(range(2, 9)),
    "stride_rows": tuple(range(2, 9)),
    "stride_columns": tuple(range(2, 9)),
    "patch_dropout": (0.0, 0.1, 0.2),
    "mha_dropout": (0.0, 0.1, 0.2),
    "ff_dropout": (0.0, 0.1, 0.2),
    "drop_path": (0.0, 0.1, 0.2),
    "grad_checkpointing": (True, False),
    "flash_attention": (True, False),
}
"""A stride longer than its patch is refused by its own rule: it is cut to the patch here."""
MOST = 9
"""Values of the longest range: so many models have every value of every range among them."""


def drawn() -> list[dict[str, Any]]:
    """Each range in an order of its own, all of it."""
    rng = random.Random(0)
    columns = {}
    for name, values in RANGES.items():
        repeated = [values[i % len(values)] for i in range(MOST)]
        columns[name] = rng.sample(repeated, MOST)
    return [{name: column[i] for name, column in columns.items()} for i in range(MOST)]


@pytest.mark.slow
@pytest.mark.parametrize("values", drawn(), ids=range(MOST))
def test_a_model_of_the_guides_values_builds_and_takes_a_step(values: dict[str, Any]) -> None:
    params = {key: value for key, value in values.items() if not key.startswith(("patch_", "stride_"))}
    params["patch_dropout"] = values["patch_dropout"]
    patch = [values[f"patch_{axis}"] for axis in ("frames", "rows", "columns")]
    stride = [
        min(values[f"stride_{axis}"], n) for axis, n in zip(("frames", "rows", "columns"), patch, strict=True)
    ]
    params |= {"patch_size": patch, "stride": stride, "padding": "same"}
    torch.manual_seed(0)
    core = (
        build_config(ViViTConfig, {"type": "vivit", "params": params}, "guide")
        .build(VideoShape(1, 8, 8))
        .train()
    )
    weight = core.tokenizer.convolution.weight
    before = weight.detach().clone()
    features, _ = core.advance(None, torch.randn(1, 1, 16, 8, 8))
    features.square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in core.parameters() if p.numel())
    torch.optim.SGD(core.parameters(), lr=1.0).step()
    assert not torch.equal(weight, before)


def test_every_value_of_every_range_is_drawn() -> None:
    for name, values in RANGES.items():
        assert {model[name] for model in drawn()} == set(values)
