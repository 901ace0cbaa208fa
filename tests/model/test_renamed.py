"""Tensors of twin files of format 1 find their place in the twins of now."""

from typing import get_args

import pytest

from visioncore.model.cores import CoreConfig, NoCoreConfig, ViViTConfig
from visioncore.model.renamed import renamed
from visioncore.shapes import VideoShape

VIDEO = VideoShape(1, 14, 22)
CORES = [config.tiny() for config in get_args(get_args(CoreConfig)[0])]
BLOCK = ("norm", "project_in", "project_out")


def names_of(core: CoreConfig) -> list[str]:
    assert not isinstance(core, NoCoreConfig)
    return [f"core.{name}" for name in core.build(VIDEO).state_dict()]


def test_a_vivit_of_format_1_has_every_tensor_of_today() -> None:
    core = ViViTConfig.tiny().model_copy(update={"num_spatial_blocks": 11, "rectify": False})
    blocks = [f"spatial.{i}.{part}" for i in range(11) for part in BLOCK]
    blocks += [f"temporal.{i}.{part}" for i in range(2) for part in BLOCK]
    parts = ["tokenizer.convolution", "tokenizer.norm", "tokenizer.projection", *blocks, "norm"]
    then = ["core.registers", *(f"core.{part}.{kind}" for part in parts for kind in ("weight", "bias"))]
    assert sorted(map(renamed, then)) == sorted(names_of(core))


@pytest.mark.parametrize(
    "core", [core for core in CORES if not isinstance(core, NoCoreConfig)], ids=lambda core: core.type
)
def test_names_of_today_stay(core: CoreConfig) -> None:
    assert list(map(renamed, names_of(core))) == names_of(core)


@pytest.mark.parametrize(
    "name",
    ["linears.0.spatial", "linears.0.temporal", "readouts.1.position", "outputs.0.bias", "modulator.mix.weight"],
)  # fmt: skip
def test_names_outside_the_core_stay(name: str) -> None:
    assert renamed(name) == name
