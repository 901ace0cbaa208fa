"""Tensors of twin files of before find their place in the twins of now."""

from typing import get_args

import pytest

from specs import data_spec
from visioncore.model import TwinConfig
from visioncore.model.adapters import AffineAdapterConfig
from visioncore.model.cores import CoreConfig, NoCoreConfig, ViViTConfig
from visioncore.model.linear import LowRankLinearConfig
from visioncore.model.modulators import ConvGRUConfig, NoModulatorConfig
from visioncore.model.renamed import renamed
from visioncore.shapes import VideoShape
from visioncore.spec import Normalisation, SessionSpec

VIDEO = VideoShape(1, 14, 22)
CORES = [config.tiny() for config in get_args(get_args(CoreConfig)[0])]
SPEC = data_spec(
    height=14,
    width=22,
    sampling_rate_hz=60,
    behaviour_names=("x",),
    sessions=(SessionSpec(id="a", subject="m", unit_ids=("1", "2")),),
    constants=Normalisation(video_mean=(0.0,), video_std=(1.0,), behaviour_mean=(0.0,), behaviour_std=(1.0,)),
)
BLOCK = ("norm", "project_in", "project_out")


def names_of(core: CoreConfig) -> list[str]:
    assert not isinstance(core, NoCoreConfig)
    return [f"trunk.core.{name}" for name in core.build(VIDEO).state_dict()]


def test_a_vivit_of_format_1_has_every_tensor_of_today() -> None:
    core = ViViTConfig.tiny().model_copy(update={"num_spatial_blocks": 11, "rectify": False})
    blocks = [f"spatial.{i}.{part}" for i in range(11) for part in BLOCK]
    blocks += [f"temporal.{i}.{part}" for i in range(2) for part in BLOCK]
    parts = ["tokenizer.convolution", "tokenizer.norm", "tokenizer.projection", *blocks, "norm"]
    then = ["core.registers", *(f"core.{part}.{kind}" for part in parts for kind in ("weight", "bias"))]
    assert sorted(map(renamed, then)) == sorted(names_of(core))


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("core.layers.1.blocks.0.norm.bias", "trunk.core.layers.1.blocks.0.norm.bias"),
        ("core.stages.3.0.conv1.weight", "trunk.core.stages.3.0.conv1.weight"),
        ("adapter.shift", "trunk.adapter.shift"),
        ("modulator.mix.weight", "trunk.modulator.mix.weight"),
        ("linears.0.spatial", "heads.sessions.0.linear.spatial"),
        ("linears.0.bend.values", "heads.sessions.0.linear.bend.values"),
        ("readouts.12.position", "heads.sessions.12.readout.position"),
        ("outputs.0.bias", "heads.sessions.0.output.bias"),
    ],
)
def test_a_part_is_found_in_its_trunk_or_its_head(then: str, now: str) -> None:
    assert renamed(then) == now


def test_names_of_today_stay() -> None:
    linear = LowRankLinearConfig(window_s=0.1, knots=4, gain=True)
    for core in CORES:
        config = TwinConfig(
            sampling_rate=60,
            adapter=AffineAdapterConfig(),
            convnet=core,
            modulator=NoModulatorConfig() if isinstance(core, NoCoreConfig) else ConvGRUConfig.tiny(),
            linear=linear.model_copy(update={"gain": not isinstance(core, NoCoreConfig)}),
        )
        names = list(config.build(SPEC).state_dict())
        assert list(map(renamed, names)) == names
