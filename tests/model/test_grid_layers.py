"""ViViT's grid layers: in the guide's keys or one by one, in any order, and of kinds that are yet to be written."""

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from visioncore.config import build_config, dump_config
from visioncore.describe import describe, guide_spec
from visioncore.errors import ConfigError
from visioncore.model import TwinConfig
from visioncore.model.cores.vivit import SHORTHAND, ViViT, ViViTConfig
from visioncore.model.grid_layers import GridLayer, GridLayerConfig, SpaceLayerConfig, TimeLayerConfig
from visioncore.model.grid_layers.base import BaseGridLayerConfig
from visioncore.model.layers.block import BlockForm, TransformerBlock
from visioncore.shapes import FeatureShape, VideoShape

VIDEO = VideoShape(1, 14, 22)
TINY = ViViTConfig.tiny()
SHARED: dict[str, Any] = {
    key: value for key, value in dump_config(TINY)["params"].items() if key not in SHORTHAND
}


def layered(*layers: GridLayerConfig, **changes: Any) -> ViViTConfig:
    raw = {"params": SHARED | changes | {"layers": [dump_config(layer) for layer in layers]}}
    return build_config(ViViTConfig, raw, "my.yaml")


def built(config: ViViTConfig) -> ViViT:
    torch.manual_seed(0)
    return config.build(VIDEO).eval()


def message(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build_config(ViViTConfig, {"params": SHARED | changes}, "my.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Two ways of writing them -------------------------------------------------------------------------------------


def test_the_guides_keys_are_one_layer_over_space_and_one_over_time() -> None:
    short = built(TINY)
    long = built(
        layered(SpaceLayerConfig(blocks=1, registers=2), TimeLayerConfig(blocks=2, window=4), drop_path=0.0)
    )
    assert list(short.state_dict()) == list(long.state_dict())
    video = torch.randn(2, 1, 13, VIDEO.height, VIDEO.width)
    with torch.no_grad():
        assert torch.equal(short.advance(None, video)[0], long.advance(None, video)[0])
    assert short.history_frames() == long.history_frames()


@pytest.mark.parametrize("config", [TINY, layered(TimeLayerConfig(), SpaceLayerConfig(rope="raster"))])
def test_a_config_is_dumped_as_it_was_written(config: ViViTConfig) -> None:
    dumped = dump_config(config)
    written = set(dumped["params"]) & {*SHORTHAND, "layers"}
    assert written == ({*SHORTHAND} if config.layers is None else {"layers"})
    assert build_config(ViViTConfig, dumped, "again") == config


@pytest.mark.parametrize("key", SHORTHAND)
def test_layers_beside_a_key_that_says_the_same_are_refused(key: str) -> None:
    value = {"rope": "axial"}.get(key, 1)
    assert f"'layers' stands beside {key}" in message(layers=[{"type": "space"}], **{key: value})


NEEDED = "num_spatial_blocks and num_temporal_blocks are needed, or 'layers' in their place"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, NEEDED),
        ({"num_temporal_blocks": 1}, NEEDED),
        ({"layers": [{"type": "spce"}]}, "'params.layers.0.type' is 'spce'; expected space | time; did you mean"),
        ({"layers": [{"type": "time", "params": {"windw": 3}}]}, "'params.layers.0.params.windw'; did you mean"),
        ({"layers": [{"type": "time"}, {"type": "space", "params": {"blocks": -1}}]}, "'params.layers.1.params."),
    ],
)  # fmt: skip
def test_a_mistake_in_the_layers_is_one_line_that_says_what_to_do(
    changes: dict[str, Any], expected: str
) -> None:
    assert expected in message(**changes)


# --- Any order ----------------------------------------------------------------------------------------------------


INTERLEAVED = layered(
    TimeLayerConfig(blocks=1, window=3),
    SpaceLayerConfig(blocks=2),
    TimeLayerConfig(blocks=2, window=6),
    SpaceLayerConfig(blocks=1, registers=3),
    drop_path=0.5,
)


def test_drop_path_grows_over_the_blocks_of_all_layers() -> None:
    rates = [
        part.drop_path.probability
        for part in built(INTERLEAVED).modules()
        if isinstance(part, TransformerBlock)
    ]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_what_a_feature_sees_adds_up_over_layers() -> None:
    core = built(INTERLEAVED)
    history = core.history_frames()
    assert history == (2 + 2 * 5) * 2 + 3
    video = torch.randn(1, 1, history + 1, VIDEO.height, VIDEO.width)
    for frame, counts in ((0, False), (1, True)):
        other = video.clone()
        other[:, :, frame] += 1.0
        with torch.no_grad():
            newest = [core.advance(None, v)[0][:, :, -1] for v in (video, other)]
        assert (not torch.equal(*newest)) == counts, f"frame {frame}"


def test_attention_weights_come_in_the_order_of_the_layers() -> None:
    core = built(INTERLEAVED.model_copy(update={"flash_attention": False}))
    spatial, temporal = core.attention_weights(torch.randn(1, 1, 10, VIDEO.height, VIDEO.width))
    places = core.out_shape.rows * core.out_shape.columns
    assert [w.shape[-1] - places for w in spatial] == [0, 0, 3]
    reach = [int((w > 0).sum(dim=-1).max()) for w in temporal]
    assert reach == [3, 5, 5]


def test_describe_shows_each_layer_and_the_longest_span() -> None:
    twin = TwinConfig(sampling_rate=120, convnet=INTERLEAVED)
    found = describe(twin, guide_spec(twin), 40)
    stages = [stage.stage.partition(",")[0] for stage in found.stages]
    kinds = [f"{kind} transformer" for kind in ("temporal", "spatial", "temporal", "spatial")]
    assert stages[2:8] == ["tokens", *kinds, "core output"]
    assert sum(stage.parameters for stage in found.stages) == found.parameters
    assert found.temporal_span_ms == pytest.approx(6 * 2 / 120 * 1000)


def test_without_attention_over_time_there_is_no_span_and_no_warning() -> None:
    twin = TwinConfig(sampling_rate=120, convnet=layered(SpaceLayerConfig()))
    found = describe(twin, guide_spec(twin), 40)
    assert (found.temporal_span_ms, found.warnings) == (None, [])
    assert not any("attention" in note for note in found.notes)


# --- A kind of its own --------------------------------------------------------------------------------------------


class MergeConfig(BaseGridLayerConfig):
    """Two columns to one of twice the width, plus the mean of all tokens until now: no layer that ships does either."""

    type: Literal["merge"] = "merge"

    @classmethod
    def tiny(cls) -> "MergeConfig":
        return cls()

    def build(self, tokens: FeatureShape, form: BlockForm) -> "Merge":
        return Merge(tokens)


class Merge(GridLayer[tuple[Tensor, int]]):
    def __init__(self, tokens: FeatureShape) -> None:
        super().__init__(tokens)
        self.out_shape = replace(tokens, channels=2 * tokens.channels, columns=tokens.columns // 2)
        self.mix = nn.Linear(2 * tokens.channels, 2 * tokens.channels)

    def advance(
        self, state: tuple[Tensor, int] | None, tokens: Float[Tensor, "batch tokens rows columns dim"]
    ) -> tuple[Float[Tensor, "batch tokens rows columns_out dim_out"], tuple[Tensor, int]]:
        x = self.mix(tokens.unflatten(3, (-1, 2)).flatten(4))
        total, n = state or (torch.zeros_like(x[:, 0]), 0)
        sums = total[:, None] + x.cumsum(1)
        counts = n + 1 + torch.arange(x.shape[1])
        return x + sums / counts[:, None, None, None], (sums[:, -1], n + x.shape[1])


def test_a_layer_of_another_kind_may_change_the_grid_and_remember_without_bound() -> None:
    config = TINY.model_copy(update={"layers": (SpaceLayerConfig(), MergeConfig(), TimeLayerConfig.tiny())})
    core = built(config)
    assert (core.out_shape.columns, core.out_shape.channels) == (3, 2 * TINY.embedding_dim)
    assert core.history_frames() is None
    video = torch.randn(2, 1, 21, VIDEO.height, VIDEO.width)
    with torch.no_grad():
        whole, _ = core.advance(None, video)
        state, pieces, start = None, [], 0
        for n in (1, 4, 9, 7):
            features, state = core.advance(state, video[:, :, start : start + n])
            pieces.append(features)
            start += n
    shape = core.out_shape
    assert whole.shape == (2, shape.channels, 10, shape.rows, shape.columns)
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, atol=1e-5, rtol=1e-5)
    assert [stage.stage for stage in core.stages(40)][2] == "Merge"
