"""The causal layers under the convolutional cores, and what those cores promise beyond the contracts of all."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from visioncore.config import build_config
from visioncore.errors import ConfigError
from visioncore.model.cores import ResNetConfig, X3DConfig
from visioncore.model.cores.convolutional import ConvolutionalCore, StemConfig
from visioncore.model.cores.x3d import X3DBlock, rounded_width
from visioncore.model.layers.blur_pool import BlurPool
from visioncore.model.layers.causal_conv import CausalConv3d, CausalDepthwiseConv3d
from visioncore.shapes import FeatureShape, VideoShape

VIDEO = VideoShape(1, 14, 22)
Config = ResNetConfig | X3DConfig
every_core = pytest.mark.parametrize("config", [ResNetConfig.tiny(), X3DConfig.tiny()], ids=lambda c: c.type)


def build(config: Config) -> ConvolutionalCore:
    torch.manual_seed(0)
    return config.build(VIDEO)


def features_of(core: ConvolutionalCore, video: Tensor) -> Tensor:
    with torch.no_grad():
        return core.advance(None, video)[0]


# --- Layers -------------------------------------------------------------------------------------------------------


def in_two_chunks(layer: CausalConv3d | CausalDepthwiseConv3d, x: Tensor) -> Tensor:
    first, recent = layer.advance(None, x[:, :, :1])
    second, _ = layer.advance(recent, x[:, :, 1:])
    return torch.cat((first, second), dim=2)


@pytest.mark.parametrize("kernel", [(1, 3, 5), (4, 3, 1)])
def test_a_causal_convolution_is_the_convolution_of_the_video_after_zeros(
    kernel: tuple[int, int, int],
) -> None:
    layer = CausalConv3d(3, 4, kernel)
    x = torch.randn(2, 3, 5, 6, 7)
    after_zeros = functional.pad(x, (kernel[2] // 2,) * 2 + (kernel[1] // 2,) * 2 + (kernel[0] - 1, 0))
    expected = functional.conv3d(after_zeros, layer.convolution.weight)
    torch.testing.assert_close(layer.advance(None, x)[0], expected)
    torch.testing.assert_close(in_two_chunks(layer, x), expected)


@pytest.mark.parametrize("kernel", [(1, 3, 5), (4, 3, 1)])
def test_a_depthwise_convolution_and_its_gradients_are_those_of_pytorch(kernel: tuple[int, int, int]) -> None:
    layer = CausalDepthwiseConv3d(3, kernel)
    x = torch.randn(2, 3, 5, 6, 7, requires_grad=True)
    weight = layer.convolution.weight
    after_zeros = functional.pad(x, (kernel[2] // 2,) * 2 + (kernel[1] // 2,) * 2 + (kernel[0] - 1, 0))
    expected = functional.conv3d(after_zeros, weight, groups=3)
    found = layer.advance(None, x)[0]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(in_two_chunks(layer, x), expected)
    towards = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, (x, weight), towards),
        torch.autograd.grad(expected, (x, weight), towards),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(14, 22), (9, 5), (1, 2)])
def test_blurring_keeps_a_constant_at_the_borders_too(rows: int, columns: int) -> None:
    pool = BlurPool(FeatureShape(2, rows, columns, 4, (0.0, 2.0 * rows), (0.0, 2.0 * columns)))
    pooled = pool(torch.full((1, 2, 3, rows, columns), 0.7))
    assert pooled.shape == (1, 2, 3, -(-rows // 2), -(-columns // 2))
    torch.testing.assert_close(pooled, torch.full_like(pooled, 0.7))


def test_blurring_lets_nothing_through_that_the_coarse_grid_cannot_hold() -> None:
    pool = BlurPool(FeatureShape(1, 12, 16, 4, (0.0, 24.0), (0.0, 32.0)))
    stripes = torch.tensor([1.0, -1.0]).repeat(8).expand(1, 1, 1, 12, 16)
    assert pool(stripes)[..., 1:-1].abs().max() < 1e-6


@pytest.mark.parametrize(("rows", "columns"), [(12, 16), (9, 13)])
def test_the_edges_of_the_coarse_grid_say_where_its_features_are(rows: int, columns: int) -> None:
    fine = FeatureShape(1, rows, columns, 4, (0.5, 0.5 + 2 * rows), (-1.0, -1.0 + 2 * columns))
    pool = BlurPool(fine)
    row, column = 4, 7
    bump = torch.zeros(1, 1, 1, rows, columns)
    bump[..., row, column] = 1.0
    share = pool(bump)[0, 0, 0]
    share = share / share.sum()
    coarse = pool.out_shape
    found = []
    for axis, (n, (start, stop)) in enumerate(
        ((coarse.rows, coarse.row_edges_px), (coarse.columns, coarse.column_edges_px))
    ):
        centres = start + (stop - start) / n * (torch.arange(n) + 0.5)
        found.append(float(share.sum(dim=1 - axis) @ centres))
    assert found == pytest.approx([0.5 + 2 * (row + 0.5), -1.0 + 2 * (column + 0.5)])


def test_what_stands_under_a_feature_is_where_the_grid_says() -> None:
    """Through a whole core: the features that a pixel moves most lie around that pixel."""
    core = build(ResNetConfig.tiny())
    shape = core.out_shape
    assert (shape.rows, shape.columns) == (4, 6)
    video = torch.zeros(1, 1, 8, VIDEO.height, VIDEO.width)
    for row, column in ((2, 3), (10, 19), (7, 10)):
        other = video.clone()
        other[..., row, column] = 3.0
        change = (features_of(core, other) - features_of(core, video)).square().sum(dim=(0, 1, 2))
        for axis, (at, n, (start, stop)) in enumerate(
            (
                (row, shape.rows, shape.row_edges_px),
                (column, shape.columns, shape.column_edges_px),
            )
        ):
            cell = (stop - start) / n
            centre = start + cell * (float(change.sum(dim=1 - axis).argmax()) + 0.5)
            assert abs(centre - (at + 0.5)) <= cell


# --- Cores --------------------------------------------------------------------------------------------------------


@every_core
def test_a_feature_depends_on_its_history_and_on_nothing_older(config: Config) -> None:
    core = build(config)
    history, stride = core.history_frames(), core.out_shape.stride
    n_tokens = history // stride + 3
    video = torch.randn(1, 1, n_tokens * stride, VIDEO.height, VIDEO.width)
    before = features_of(core, video)[:, :, -1]
    for frames_back, matters in ((history - 1, True), (history, False)):
        other = video.clone()
        other[:, :, -1 - frames_back] += 5.0
        assert torch.equal(features_of(core, other)[:, :, -1], before) is not matters


@every_core
def test_drop_path_grows_with_depth_and_acts_in_training_only(config: Config) -> None:
    core = build(config.model_copy(update={"drop_path": 0.5}))
    assert [block.drop_path.probability for block in core._blocks()] == [0.0, 0.5]
    video = torch.randn(8, 1, 8, VIDEO.height, VIDEO.width)
    torch.manual_seed(0)
    core.train()
    assert not torch.equal(features_of(core, video), features_of(core, video))
    core.eval()
    assert torch.equal(features_of(core, video), features_of(core, video))


@every_core
def test_the_first_filters_can_start_as_gabors(config: Config) -> None:
    stem = config.stem.model_copy(update={"initial_filters": "gabor", "kernel": (8, 9, 9)})
    weight = build(config.model_copy(update={"stem": stem})).stem.convolution.weight[:, 0]
    # Drifting Gabors are small at the corners and at their oldest, and most of them lies in their newer half.
    assert weight[:, 0].abs().max() < 0.1 * weight.abs().max()
    power = weight.square().sum(dim=(2, 3))
    assert (power[:, 4:].sum(1) > 2 * power[:, :4].sum(1)).all()
    assert weight[:, :, (0, 0, -1, -1), (0, -1, 0, -1)].abs().max() < 0.2 * weight.abs().max()


@every_core
def test_a_kernel_without_a_middle_and_a_stem_that_skips_are_refused_in_one_line(config: Config) -> None:
    raw = {"stem": {"channels": 4, "kernel": [3, 5, 5], "stride": [2, 2, 2]}}
    stage = {"channels": 4, "blocks": 1}
    even = {"kernel": [3, 2, 3]}
    stages = {"stages": [stage | even]} | raw if config.type == "resnet" else raw | even
    with pytest.raises(ConfigError, match=r"kernel.*odd numbers") as caught:
        build_config(type(config), stages, "my.yaml")
    assert "\n" not in str(caught.value)
    raw["stem"]["stride"] = [2, 6, 2]
    with pytest.raises(ConfigError, match=r"stride \[2, 6, 2\] is larger than kernel \[3, 5, 5\]") as caught:
        build_config(type(config), {"stages": [stage]} | raw, "my.yaml")
    assert "\n" not in str(caught.value)


@every_core
def test_a_convolutional_core_trains(config: Config) -> None:
    core = build(config)
    optimizer = torch.optim.AdamW(core.parameters(), lr=1e-2)
    video = torch.randn(4, 1, 8, VIDEO.height, VIDEO.width)
    target = torch.tensor([0.2, 0.8, 0.4, 0.6])
    losses = []
    for _ in range(60):
        loss = (core.advance(None, video)[0][:, 0, -1].mean(dim=(1, 2)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.3 * sum(losses[:5])


def test_the_factors_of_x3d_widen_and_deepen_as_in_the_paper() -> None:
    """Widths of X3D-M: 24, 48, 96, 192 with 54, 108, 216, 432 inside; 3, 5, 11, 7 blocks."""
    stem = StemConfig(channels=24, kernel=(3, 7, 7), stride=(2, 2, 2))
    with torch.device("meta"):
        core = X3DConfig(stem=stem, depth_factor=2.2).build(VideoShape(1, 36, 64))
    blocks = [block for block in core.blocks if isinstance(block, X3DBlock)]
    widths = [block.out_shape.channels for block in blocks]
    assert widths == [24] * 3 + [48] * 5 + [96] * 11 + [192] * 7
    inside = {block.out_shape.channels: block.norm.normalized_shape[0] for block in blocks}
    assert inside == {24: 54, 48: 108, 96: 216, 192: 432}
    excited = [block.squeeze_excite is not None for block in blocks]
    assert excited[:8] == [True, False, True, True, False, True, False, True]
    assert [rounded_width(w) for w in (1.0, 12.0, 43.2, 60.0)] == [8, 16, 40, 64]
