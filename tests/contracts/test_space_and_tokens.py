"""Contracts S: every pixel counts, and tokens, attention and dropouts are what they say."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from twins import (
    ABLATED,
    BEHAVIOURS,
    FEATURES,
    HEIGHT,
    WIDTH,
    Modulating,
    every_modulator,
    every_twin,
    make_inputs,
    make_twin,
    run,
    sees_video,
)
from visioncore.config import build_config, dump_config
from visioncore.errors import ConfigError
from visioncore.model import InputClips
from visioncore.model.cores import CoreConfig, NoCoreConfig, ViViTConfig
from visioncore.model.cores.vivit import ViViT
from visioncore.model.grid_layers.space import SpaceLayer
from visioncore.model.layers.attention import recorded_weights
from visioncore.model.layers.block import TransformerBlock
from visioncore.model.modulators import (
    ModulatorConfig,
)
from visioncore.shapes import VideoShape


def test_a_local_change_of_the_input_changes_the_features_there() -> None:
    """Rows stay rows and columns columns on a grid that is not square (without spatial attention to mix them)."""
    core = ViViTConfig.tiny().model_copy(
        update={"num_spatial_blocks": 0, "patch_size": (2, 2, 2), "stride": None}
    )
    vivit = core.build(VideoShape(1, HEIGHT, WIDTH)).eval()
    assert (vivit.out_shape.rows, vivit.out_shape.columns) == (7, 11)
    video = torch.zeros(1, 1, 4, HEIGHT, WIDTH)
    for row, column in ((0, 21), (13, 0), (5, 14)):
        other = video.clone()
        other[..., row, column] = 1.0
        with torch.no_grad():
            change = (vivit.advance(None, other)[0] - vivit.advance(None, video)[0]).abs().sum(dim=(0, 1, 2))
        assert torch.nonzero(change > 1e-6).tolist() == [[row // 2, column // 2]]


@every_twin
def test_every_pixel_reaches_some_rate(core: CoreConfig, modulator: ModulatorConfig) -> None:
    twin = make_twin(core, modulator, linear=isinstance(core, NoCoreConfig))
    frames = 9
    video, behaviour = make_inputs(frames + twin.stride, batch=1)
    pixels = video.float().requires_grad_()
    twin.rates(pixels, behaviour, session="one").nan_to_num(0.0).sum().backward()
    if not sees_video(twin):
        assert pixels.grad is None
        return
    assert pixels.grad is not None
    assert (pixels.grad[:, :, :frames] != 0).all()


def test_a_size_that_does_not_tile_needs_a_padding_rule() -> None:
    core = ViViTConfig.tiny().model_copy(
        update={"padding": "none", "patch_size": (2, 4, 4), "stride": (2, 4, 4)}
    )
    with pytest.raises(ConfigError, match=r"height: 14 pixels do not tile.*padding: same"):
        core.build(VideoShape(1, HEIGHT, WIDTH))
    cropped = core.model_copy(update={"padding": "crop"}).build(VideoShape(1, HEIGHT, WIDTH))
    assert cropped.notes() == [
        "height: 2 of 14 pixels cropped (padding: crop)",
        "width: 2 of 22 pixels cropped (padding: crop)",
    ]


@pytest.mark.parametrize("stride", [(4, 4, 4), (2, 6, 4), (2, 4, 6)])
def test_a_stride_longer_than_the_patch_is_refused_when_the_file_is_read(stride: tuple[int, ...]) -> None:
    raw = dump_config(ViViTConfig.tiny())
    raw["params"]["stride"] = list(stride)
    with pytest.raises(
        ConfigError, match=r"is larger than patch \[3, 5, 5\].*frames would be skipped"
    ) as caught:
        build_config(ViViTConfig, raw, "my.yaml")
    assert str(caught.value).startswith("my.yaml: stride ")
    assert "\n" not in str(caught.value)


def blocks_of(module: torch.nn.Module) -> list[TransformerBlock]:
    return [part for part in module.modules() if isinstance(part, TransformerBlock)]


def space_layer(vivit: ViViT) -> SpaceLayer:
    layer = vivit.layers[0]
    assert isinstance(layer, SpaceLayer)
    return layer


def test_register_tokens_learn_and_never_shift_the_patches() -> None:
    core = ViViTConfig.tiny()
    video = torch.randn(1, 1, 8, HEIGHT, WIDTH)
    vivit = core.build(VideoShape(1, HEIGHT, WIDTH)).eval()
    features, _ = vivit.advance(None, video)
    features.sum().backward()
    with_registers = space_layer(vivit)
    assert with_registers.registers.grad is not None
    assert (with_registers.registers.grad != 0).any(dim=1).all()

    bare = core.model_copy(update={"num_registers": 0}).build(VideoShape(1, HEIGHT, WIDTH)).eval()
    without = space_layer(bare)
    weights = {k: v for k, v in with_registers.state_dict().items() if k != "registers"}
    without.load_state_dict(weights | {"registers": without.registers})
    # Without content (no value, and the same key for all) registers take the same share from every place:
    # the patches' own rotations are what they are without registers.
    patches = torch.randn(1, 1, 4, 6, core.embedding_dim)
    with recorded_weights(with_registers) as seen, recorded_weights(without) as alone:
        with_registers.advance(None, patches)
        without.advance(None, patches)
    among_patches = seen[0][1][..., 2:, 2:]
    torch.testing.assert_close(among_patches / among_patches.sum(-1, keepdim=True), alone[0][1])


def test_patch_dropout_zeroes_whole_tokens_in_training_only() -> None:
    core = ViViTConfig.tiny().model_copy(update={"patch_dropout": 0.5})
    vivit = core.build(VideoShape(1, HEIGHT, WIDTH))
    tokens, _ = vivit.tokenizer.advance(None, torch.randn(1, 1, 40, HEIGHT, WIDTH))
    torch.manual_seed(0)
    dropped = vivit.patch_dropout.train()(tokens)
    gone = (dropped == 0).all(dim=-1)
    assert 0.35 < gone.float().mean() < 0.65
    assert torch.equal(dropped[~gone], tokens[~gone])
    assert torch.equal(vivit.patch_dropout.eval()(tokens), tokens)


@pytest.mark.parametrize("flash", [True, False])
@pytest.mark.parametrize("name", ["patch_dropout", "mha_dropout", "ff_dropout", "drop_path"])
def test_each_dropout_acts_in_training_and_never_in_evaluation(name: str, flash: bool) -> None:
    core = ViViTConfig.tiny().model_copy(update={name: 0.5, "flash_attention": flash})
    vivit = core.build(VideoShape(1, HEIGHT, WIDTH))
    video = torch.randn(2, 1, 8, HEIGHT, WIDTH)
    vivit.train()
    assert not torch.equal(vivit.advance(None, video)[0], vivit.advance(None, video)[0])
    vivit.eval()
    assert torch.equal(vivit.advance(None, video)[0], vivit.advance(None, video)[0])


def test_drop_path_grows_linearly_with_depth() -> None:
    core = ViViTConfig.tiny().model_copy(
        update={"drop_path": 0.2, "num_spatial_blocks": 2, "num_temporal_blocks": 3}
    )
    vivit = core.build(VideoShape(1, HEIGHT, WIDTH))
    rates = [block.drop_path.probability for block in blocks_of(vivit)]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize("window", [3, 64])
def test_fused_and_plain_attention_agree_masks_included(window: int) -> None:
    core = ViViTConfig.tiny().model_copy(update={"temporal_window": window})
    fused = core.build(VideoShape(1, HEIGHT, WIDTH)).eval()
    plain = core.model_copy(update={"flash_attention": False}).build(VideoShape(1, HEIGHT, WIDTH)).eval()
    plain.load_state_dict(fused.state_dict())
    video = torch.randn(2, 1, 21, HEIGHT, WIDTH)
    with torch.no_grad():
        torch.testing.assert_close(
            fused.advance(None, video)[0], plain.advance(None, video)[0], atol=1e-5, rtol=1e-5
        )
    with pytest.raises(ConfigError, match="flash_attention: false"):
        fused.attention_weights(video)
    spatial, temporal = plain.attention_weights(video)
    for weights in [*spatial, *temporal]:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
    future = torch.ones(temporal[0].shape[-2:]).triu(1).bool()
    assert (temporal[0][..., future] == 0).all()
    too_old = torch.ones(temporal[0].shape[-2:]).tril(-window).bool()
    assert (temporal[0][..., too_old] == 0).all()


def test_a_window_bounds_what_one_block_sees_in_batch_form_too() -> None:
    core = ViViTConfig.tiny().model_copy(update={"num_temporal_blocks": 1, "temporal_window": 3})
    vivit = core.build(VideoShape(1, HEIGHT, WIDTH)).eval()
    video = torch.randn(1, 1, 40, HEIGHT, WIDTH)
    other = video.clone()
    other[:, :, 0] += 1.0
    with torch.no_grad():
        change = (vivit.advance(None, video)[0] - vivit.advance(None, other)[0]).abs().sum(dim=(0, 1, 3, 4))
    history = vivit.history_frames()
    assert history is not None
    seen_until = history // 2
    assert (change[:2] > 0).all()
    assert (change[seen_until:] == 0).all()


def test_the_parallel_block_has_one_norm_and_two_projections() -> None:
    vivit = ViViTConfig.tiny().build(VideoShape(1, HEIGHT, WIDTH))
    block = blocks_of(vivit)[0]
    shapes = {name: tuple(p.shape) for name, p in block.named_parameters()}
    inner, ff, dim = 16, 32, 16
    assert shapes == {
        "norm.weight": (dim,),
        "norm.bias": (dim,),
        "project_in.weight": (3 * inner + ff, dim),
        "project_in.bias": (3 * inner + ff,),
        "project_out.weight": (dim, inner + ff),
        "project_out.bias": (dim,),
    }


@pytest.mark.parametrize(
    "config", [ViViTConfig.tiny(), ABLATED], ids=["rectified", "normed, two frames a tap"]
)
def test_the_tokenizer_is_the_convolution_it_says_it_is(config: ViViTConfig) -> None:
    tokenizer = config.build(VideoShape(1, HEIGHT, WIDTH)).tokenizer
    video = torch.randn(2, 1, 8, HEIGHT, WIDTH)
    tokens, _ = tokenizer.advance(None, video)
    rows, columns = tokenizer.rows, tokenizer.columns
    front = tokenizer.kernel_frames - tokenizer.stride_frames
    padded = functional.pad(
        video, (columns.pad_before, columns.pad_after, rows.pad_before, rows.pad_after, front, 0)
    )
    # A tap of several frames is as many equal taps, one for each.
    tap = config.frames_per_tap
    kernel = tokenizer.convolution.weight.repeat_interleave(tap, dim=2) / tap
    stride = (tokenizer.stride_frames, rows.stride, columns.stride)
    responses = functional.conv3d(padded, kernel, tokenizer.convolution.bias, stride).permute(0, 2, 3, 4, 1)
    halves = torch.cat((responses.clamp(min=0), -responses.clamp(max=0)), dim=-1)
    expected = tokenizer.projection(halves if tokenizer.norm is None else tokenizer.norm(responses))
    assert (tokenizer.norm is None) == config.rectify
    assert len(kernel) == (config.num_filters or config.embedding_dim)
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)


def test_taps_that_do_not_fill_tubelet_and_stride_are_refused_when_the_file_is_read() -> None:
    raw = dump_config(ViViTConfig.tiny())
    raw["params"] |= {"patch_size": [4, 5, 5], "stride": [3, 4, 4], "frames_per_tap": 2}
    with pytest.raises(ConfigError, match=r"patch 4 and stride 3 are not both multiples of frames_per_tap 2"):
        build_config(ViViTConfig, raw, "my.yaml")


def test_gradient_checkpointing_changes_memory_and_nothing_else() -> None:
    core = ViViTConfig.tiny().model_copy(update={"mha_dropout": 0.3, "ff_dropout": 0.3, "drop_path": 0.3})
    plain = core.build(VideoShape(1, HEIGHT, WIDTH))
    saving = core.model_copy(update={"grad_checkpointing": True}).build(VideoShape(1, HEIGHT, WIDTH))
    saving.load_state_dict(plain.state_dict())
    video = torch.randn(2, 1, 8, HEIGHT, WIDTH)
    gradients = []
    for vivit in (plain, saving):
        torch.manual_seed(3)
        vivit.advance(None, video)[0].square().sum().backward()
        gradients.append([p.grad for p in vivit.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@every_twin
def test_bfloat16_autocast_is_finite_and_close(core: CoreConfig, modulator: ModulatorConfig) -> None:
    twin = make_twin(core, modulator)
    video, behaviour = make_inputs()
    exact = run(twin, video, behaviour)
    with torch.autocast("cpu", torch.bfloat16):
        rough = run(twin, video, behaviour)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, atol=0.1, rtol=0.1, equal_nan=True)


@every_modulator
def test_modulators_take_the_mixed_dtypes_of_autocast_on_a_gpu(config: Modulating) -> None:
    """There the features' norm gives float32 while convolutions give bfloat16."""
    modulator = config.build(FEATURES, BEHAVIOURS)
    with torch.autocast("cpu", torch.bfloat16):
        modulated, _ = modulator.advance(None, torch.randn(1, 4, 3, 3, 5), torch.randn(1, 6, BEHAVIOURS))
    assert modulated.isfinite().all()


@every_twin
def test_every_parameter_gets_a_gradient(core: CoreConfig, modulator: ModulatorConfig) -> None:
    twin = make_twin(core, modulator).train()
    video, behaviour = make_inputs()
    rates = twin([InputClips("one", video, behaviour), InputClips("two/β", video[:1], behaviour[:1])])
    # A target, so that the loss is not flat in any direction.
    loss = sum((r[:, twin.stride :] - 0.3).square().sum() for r in rates)
    assert isinstance(loss, Tensor)
    loss.backward()
    dead = {
        n for n, p in twin.named_parameters() if p.numel() and (p.grad is None or not (p.grad != 0).any())
    }
    # Where there is no video to look at, it does not matter where a unit looks.
    where = (
        ("position", "log_width", "angle")
        if twin.trunk.core is not None and not twin.trunk.core.sees_video
        else ()
    )
    assert dead == {f"heads.sessions.{i}.readout.{name}" for i in range(len(twin.sessions)) for name in where}


def test_sessions_in_one_batch_do_not_touch_each_other() -> None:
    twin = make_twin()
    video, behaviour = make_inputs()
    with torch.no_grad():
        together = twin([InputClips("one", video, behaviour), InputClips("two/β", 255 - video, behaviour)])
        alone = twin.rates(video, behaviour, session="one")
    torch.testing.assert_close(together[0], alone, equal_nan=True)
