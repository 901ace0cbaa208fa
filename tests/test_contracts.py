"""The contracts of the model, held by every core, modulator and readout, on grids that are not square.

T: time (causal, dense, streaming, no clock). S: space and tokens. K: checkpoints. N5: behaviour.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from forked import predict_from_file, run_in_new_process
from specs import data_spec
from visioncore.checkpoint import load_twin, save_twin
from visioncore.config import build_config, dump_config
from visioncore.errors import CheckpointError, ConfigError, DataError
from visioncore.model import Clip, Twin, TwinConfig
from visioncore.model.cores import BlindConfig, CoreConfig, NoCoreConfig, ViViTConfig
from visioncore.model.cores.vivit import SHORTHAND, ViViT
from visioncore.model.grid_layers import GridLayerConfig
from visioncore.model.grid_layers.space import SpaceLayer
from visioncore.model.layers.attention import recorded_weights
from visioncore.model.layers.block import Block
from visioncore.model.linear import LowRankLinear, LowRankLinearConfig, NoLinearConfig
from visioncore.model.modulators import (
    ConcatConfig,
    ConvGRUConfig,
    FiLM,
    FiLMConfig,
    ModulatorConfig,
    NoModulatorConfig,
)
from visioncore.model.readouts import DynamicGaussianReadout, GaussianReadoutConfig
from visioncore.provenance import Provenance
from visioncore.shapes import FeatureShape, VideoShape
from visioncore.spec import DataSpec, Normalisation, SessionSpec

HEIGHT, WIDTH, FRAMES, BEHAVIOURS = 14, 22, 23, 3
CORES = [config.tiny() for config in get_args(get_args(CoreConfig)[0])]
MODULATORS = [config.tiny() for config in get_args(get_args(ModulatorConfig)[0])]
COMBINATIONS = [
    (core, modulator)
    for core in CORES
    for modulator in MODULATORS
    if not (isinstance(core, NoCoreConfig) and not isinstance(modulator, NoModulatorConfig))
]
Modulating = ConvGRUConfig | FiLMConfig | ConcatConfig
every_modulator = pytest.mark.parametrize(
    "config", [m for m in MODULATORS if not isinstance(m, NoModulatorConfig)], ids=lambda m: m.type
)
FEATURES = FeatureShape(4, 3, 5, 2, (0.0, 6.0), (0.0, 10.0))
ABLATED = ViViTConfig.tiny().model_copy(
    update={
        "block": "serial",
        "feedforward": "gated",
        "rope": "raster",
        "rectify": False,
        "num_filters": None,
        "patch_size": (4, 5, 5),
        "frames_per_tap": 2,
    }
)
GRID_LAYERS = [config.tiny() for config in get_args(get_args(GridLayerConfig)[0])]
LAYERED = ViViTConfig(
    **{key: getattr(ViViTConfig.tiny(), key) for key in ViViTConfig.tiny().model_fields_set - {*SHORTHAND}},
    layers=(*GRID_LAYERS[::-1], *GRID_LAYERS),
)
VARIANTS = {"ablated": ABLATED, "layered": LAYERED}
COMBINATIONS += [(core, MODULATORS[1]) for core in VARIANTS.values()]


def name_of(core: CoreConfig, modulator: ModulatorConfig) -> str:
    variant = "".join(f"{name} " for name, config in VARIANTS.items() if core is config)
    return f"{variant}{core.type}-{modulator.type}"


every_twin = pytest.mark.parametrize(
    ("core", "modulator"), COMBINATIONS, ids=[name_of(*pair) for pair in COMBINATIONS]
)
# Every core with one modulator and every modulator with one core, for what is slow.
PARTS = [
    (c, m) for c, m in COMBINATIONS if c is CORES[0] or m is MODULATORS[1] or isinstance(c, NoCoreConfig)
]
every_part = pytest.mark.parametrize(("core", "modulator"), PARTS, ids=[name_of(*pair) for pair in PARTS])
SPEC = data_spec(
    channels=1,
    height=HEIGHT,
    width=WIDTH,
    sampling_rate_hz=120.0,
    response_kind="counts",
    behaviour_names=("x", "y", "speed"),
    sessions=(
        SessionSpec(id="one", subject="m1", unit_ids=("a", "b", "c")),
        SessionSpec(id="two/β", subject="m2", unit_ids=("a", "d")),
    ),
)
NORMALISATION = Normalisation(
    video_mean=(120.0,), video_std=(50.0,), behaviour_mean=(1.0, 0.0, 2.0), behaviour_std=(1.0, 2.0, 0.5)
)


def make_twin(
    core: CoreConfig = CORES[0],
    modulator: ModulatorConfig = MODULATORS[1],
    spec: DataSpec = SPEC,
    linear: bool = True,
) -> Twin:
    """A twin in which every part matters: what training starts at zero is drawn at random here."""
    torch.manual_seed(1)
    gain = not isinstance(core, NoCoreConfig)
    config = TwinConfig(
        sampling_rate=spec.rate_hz,
        convnet=core,
        modulator=modulator,
        readout=GaussianReadoutConfig.tiny(),
        linear=LowRankLinearConfig(rank=2, window_s=0.06, num_basis=4, knots=4, gain=gain)
        if linear
        else NoLinearConfig(),
    )
    twin = config.build(spec.with_constants(NORMALISATION))
    with torch.no_grad():
        for module in twin.modules():
            if isinstance(module, LowRankLinear):
                module.temporal.normal_()
                assert module.bend is not None
                module.bend.place(torch.full((module.n_units,), -1.0), torch.full((module.n_units,), 1.0))
                module.bend.values.normal_()
            if isinstance(module, DynamicGaussianReadout):
                module.position.uniform_(-0.8, 0.8)
                module.log_width.add_(0.3 * torch.randn_like(module.log_width))
                module.weight.normal_(std=0.5)
                module.phase_out.normal_()
                module.phase_bias.normal_(std=0.1)
                if module.gain_weight is not None:
                    module.gain_weight.normal_(std=0.5)
            if isinstance(module, FiLM):
                module.to_scale_and_shift.weight.normal_()
    return twin.eval()


def make_inputs(frames: int = FRAMES, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    video = torch.randint(0, 256, (batch, 1, frames, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)
    return video, torch.randn(batch, frames, BEHAVIOURS, generator=generator)


def run(twin: Twin, video: Tensor, behaviour: Tensor, session: str = "one") -> Tensor:
    torch.manual_seed(5)  # dropout draws the same in every run
    with torch.no_grad():
        return twin.rates(video, behaviour, session=session)


def sees_video(twin: Twin) -> bool:
    by_filters = any(head.linear is not None for head in twin.heads)
    return by_filters or (twin.trunk.core is not None and twin.trunk.core.sees_video)


def changed_bins(before: Tensor, after: Tensor) -> list[int]:
    """Bins in which anything changed at all, to the last bit."""
    same = (before == after) | (before.isnan() & after.isnan())
    return [int(t) for t in torch.nonzero(~same.all(dim=2).all(dim=0)).flatten()]


# --- Time ---------------------------------------------------------------------------------------------------------


@every_twin
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_a_later_frame_never_changes_an_earlier_rate(
    core: CoreConfig, modulator: ModulatorConfig, training: bool
) -> None:
    dropouts = {"patch_dropout", "mha_dropout", "ff_dropout", "drop_path"} & set(type(core).model_fields)
    core = core.model_copy(update=dict.fromkeys(dropouts, 0.2))
    twin = make_twin(core, modulator, linear=isinstance(core, NoCoreConfig)).train(training)
    video, behaviour = make_inputs()
    before = run(twin, video, behaviour)
    for frame in range(FRAMES):
        other = video.clone()
        other[:, :, frame] = 255 - other[:, :, frame]
        changed = changed_bins(before, run(twin, other, behaviour))
        assert all(t >= frame for t in changed), f"frame {frame} changed bins {changed}"
        if not sees_video(twin):
            assert not changed
        elif frame <= FRAMES - twin.stride:
            assert changed, f"frame {frame} changed no later rate"


@every_twin
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_a_later_behaviour_sample_never_changes_an_earlier_rate(
    core: CoreConfig, modulator: ModulatorConfig, training: bool
) -> None:
    twin = make_twin(core, modulator).train(training)
    video, behaviour = make_inputs()
    before = run(twin, video, behaviour)
    for sample in range(FRAMES):
        other = behaviour.clone()
        other[:, sample] += 3.0
        changed = changed_bins(before, run(twin, video, other))
        assert all(t >= sample for t in changed), f"sample {sample} changed bins {changed}"
        if twin.uses_behaviour and sample <= FRAMES - twin.stride:
            assert changed, f"sample {sample} changed no later rate"


@every_twin
@pytest.mark.parametrize("frames", [1, 2, 7, FRAMES])
def test_every_bin_from_the_first_token_on_is_predicted(
    core: CoreConfig, modulator: ModulatorConfig, frames: int
) -> None:
    twin = make_twin(core, modulator)
    rates = run(twin, *make_inputs(frames))
    assert rates.shape == (2, frames, 3)
    covered = ~rates.isnan().any(dim=2).any(dim=0)
    assert covered.tolist() == [t >= twin.stride - 1 for t in range(frames)]


@every_twin
def test_the_last_step_is_the_newest_frames_entry_of_the_dense_output(
    core: CoreConfig, modulator: ModulatorConfig
) -> None:
    twin = make_twin(core, modulator, linear=False)
    if twin.trunk.core is None:
        pytest.skip("without a core there is no readout")
    video, behaviour = make_inputs()
    dense = run(twin, video, behaviour)
    with torch.no_grad():
        features, _ = twin.trunk.advance(None, twin.trunk.look(video, behaviour, "one"))
        head = twin.heads["one"]
        assert features is not None
        assert head.readout is not None
        last = head.output(head.readout(features))
        from_4d = head.output(head.readout(features[:, :, -1]))
    newest = FRAMES // twin.stride * twin.stride - 1
    torch.testing.assert_close(last, dense[:, newest])
    assert torch.equal(last, from_4d)


@every_twin
def test_any_split_into_chunks_gives_the_rates_of_one_forward(
    core: CoreConfig, modulator: ModulatorConfig
) -> None:
    twin = make_twin(core, modulator)
    frames = 41
    video, behaviour = make_inputs(frames)
    whole = run(twin, video, behaviour)
    mean = whole.nanmean(dim=(0, 1))
    for chunks in ([1] * frames, [5, 1, 1, 2, 30, 2], [frames - 1, 1], [3, 38]):
        state, pieces, start = None, [], 0
        for n in chunks:
            with torch.no_grad():
                rates, state = twin.advance(
                    state, video[:, :, start : start + n], behaviour[:, start : start + n], session="one"
                )
            pieces.append(rates)
            start += n
        streamed = torch.cat(pieces, dim=1)
        assert torch.equal(streamed.isnan(), whole.isnan())
        off = (streamed - whole).abs() - 1e-4 * (whole + mean)
        assert off.nan_to_num(-1).max() <= 0, f"chunks {chunks}"


@every_twin
def test_a_state_can_be_forked(core: CoreConfig, modulator: ModulatorConfig) -> None:
    twin = make_twin(core, modulator)
    video, behaviour = make_inputs()
    with torch.no_grad():
        _, state = twin.advance(None, video[:, :, :10], behaviour[:, :10], session="one")
        first, _ = twin.advance(state, video[:, :, 10:], behaviour[:, 10:], session="one")
        twin.advance(state, 255 - video[:, :, 10:], behaviour[:, 10:], session="one")
        again, _ = twin.advance(state, video[:, :, 10:], behaviour[:, 10:], session="one")
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    "core",
    [c for c in CORES if not isinstance(c, (NoCoreConfig, BlindConfig))],
    ids=lambda core: core.type,
)
def test_what_happened_before_the_window_is_forgotten_and_the_clock_with_it(core: CoreConfig) -> None:
    """The same history gives the same rates at minute 0 and much later: no position counts from the start."""
    twin = make_twin(core, NoModulatorConfig())
    assert twin.trunk.core is not None
    window = twin.trunk.core.history_frames()
    assert window is not None
    video, _ = make_inputs(window + FRAMES)
    late, _ = make_inputs(40 * twin.stride * 25, seed=9)
    with torch.no_grad():
        # A whole number of tokens before, so that both runs see the same tubelets.
        fresh = twin.rates(video, session="one")
        _, state = twin.advance(None, late, session="one")
        much_later, _ = twin.advance(state, video, session="one")
    tail = slice(window, None)
    torch.testing.assert_close(much_later[:, tail], fresh[:, tail], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(much_later[:, twin.stride : 4], fresh[:, twin.stride : 4])


@every_part
def test_memory_of_a_stream_does_not_grow(core: CoreConfig, modulator: ModulatorConfig) -> None:
    twin = make_twin(core, modulator)
    video, behaviour = make_inputs(1)
    state, sizes = None, []
    for _ in range(60):
        with torch.no_grad():
            _, state = twin.advance(state, video, behaviour, session="one")
        assert state is not None
        sizes.append(sum(t.numel() for t in tensors_in(state)))
    assert max(sizes[30:]) == max(sizes[10:30])


def tensors_in(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for item in value for t in tensors_in(item)] if isinstance(value, tuple) else []


# --- Space and tokens ---------------------------------------------------------------------------------------------


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


def blocks_of(module: torch.nn.Module) -> list[Block]:
    return [part for part in module.modules() if isinstance(part, Block)]


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
    rates = twin([Clip("one", video, behaviour), Clip("two/β", video[:1], behaviour[:1])])
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
        together = twin([Clip("one", video, behaviour), Clip("two/β", 255 - video, behaviour)])
        alone = twin.rates(video, behaviour, session="one")
    torch.testing.assert_close(together[0], alone, equal_nan=True)


# --- Readout ------------------------------------------------------------------------------------------------------


def readout_on(rows: int, columns: int, n_units: int = 1) -> DynamicGaussianReadout:
    features = FeatureShape(4, rows, columns, 2, (0.0, 36.0), (0.0, 64.0))
    session = SessionSpec(id="one", subject="m", unit_ids=tuple(str(i) for i in range(n_units)))
    return GaussianReadoutConfig().build(features, VideoShape(1, 36, 64), session)


def test_a_units_position_means_the_same_on_every_grid() -> None:
    where = torch.tensor([[9.0, 48.0]])
    for rows, columns in ((9, 16), (18, 32), (6, 11)):
        readout = readout_on(rows, columns)
        readout.place(where)
        centre = readout.masks() @ readout.grid_px
        torch.testing.assert_close(centre, where, atol=1.0, rtol=0.0)


def test_no_weight_of_a_mask_is_subnormal_whatever_the_width() -> None:
    """CPUs multiply subnormal numbers slowly: a tenth of a training step went there."""
    widths = torch.linspace(0.005, 0.5, 200)
    readout = readout_on(36, 64, n_units=len(widths))
    with torch.no_grad():
        readout.log_width.copy_(widths.log()[:, None].expand(-1, 2))
    masks = readout.masks()
    assert (masks == 0).any()
    assert masks[masks > 0].min() > torch.finfo(masks.dtype).tiny
    torch.testing.assert_close(masks.sum(dim=1), torch.ones(len(widths)))


def test_a_unit_far_outside_or_very_narrow_keeps_its_mask_and_its_gradient() -> None:
    readout = readout_on(9, 16, n_units=2)
    with torch.no_grad():
        readout.position.copy_(torch.tensor([[5.0, -7.0], [0.03, 0.04]]))
        readout.log_width[1] = -9.0
    masks = readout.masks()
    torch.testing.assert_close(masks.sum(1), torch.ones(2))
    assert (readout.centres_px()[0] == torch.tensor([36.0, 0.0])).all()
    (masks @ readout.grid_px).sum().backward()
    assert readout.position.grad is not None
    assert (readout.position.grad[0] != 0).all()


def test_eight_thousand_units_read_in_slices_as_they_would_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    readout = readout_on(9, 16, n_units=700)
    features = torch.randn(1, 4, 3, 9, 16, requires_grad=True)
    sliced = readout.dense(features)
    monkeypatch.setattr("visioncore.model.readouts.gaussian.UNITS_AT_ONCE", 10**6)
    torch.testing.assert_close(sliced, readout.dense(features))
    sliced.sum().backward()
    assert readout.weight.grad is not None


def gained_twin() -> tuple[Twin, DynamicGaussianReadout, LowRankLinear]:
    twin = make_twin(modulator=NoModulatorConfig())
    readout, linear = twin.heads["one"].readout, twin.heads["one"].linear
    assert isinstance(readout, DynamicGaussianReadout)
    assert isinstance(linear, LowRankLinear)
    return twin, readout, linear


def test_the_gain_of_the_linear_path_starts_at_one() -> None:
    twin, readout, _ = gained_twin()
    without = twin.config.model_copy(
        update={"linear": LowRankLinearConfig(rank=2, window_s=0.06, num_basis=4, knots=4)}
    ).build(SPEC.with_constants(NORMALISATION))
    assert readout.gain_weight is not None
    unscaled = twin.state_dict()
    del unscaled["heads.sessions.0.readout.gain_weight"], unscaled["heads.sessions.1.readout.gain_weight"]
    without.load_state_dict(unscaled)
    before = run(twin, *make_inputs())
    torch.nn.init.zeros_(readout.gain_weight)
    expected = run(without.eval(), *make_inputs())
    torch.testing.assert_close(run(twin, *make_inputs()), expected, equal_nan=True)
    assert not torch.allclose(before, expected, equal_nan=True)


def test_the_gain_scales_the_linear_path_and_nothing_else() -> None:
    twin, readout, linear = gained_twin()
    torch.nn.init.zeros_(linear.temporal)
    before = run(twin, *make_inputs())
    assert readout.gain_weight is not None
    torch.nn.init.zeros_(readout.gain_weight)
    torch.testing.assert_close(run(twin, *make_inputs()), before, equal_nan=True)


@every_part
def test_bins_that_are_not_predicted_leave_no_trace_in_the_gradient(
    core: CoreConfig, modulator: ModulatorConfig
) -> None:
    twin = make_twin(core, modulator)
    rates = twin.rates(*make_inputs(), session="one")
    rates[~rates.isnan()].sum().backward()
    gradients = [p.grad for p in twin.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


# --- Configuration and behaviour ------------------------------------------------------------------------------------


def with_sampling(spec: DataSpec, **changes: Any) -> DataSpec:
    return spec.model_copy(update={"sampling": spec.sampling.model_copy(update=changes)})


def without_behaviour(spec: DataSpec) -> DataSpec:
    sessions = tuple(session.model_copy(update={"behaviour_names": ()}) for session in spec.sessions)
    return spec.model_copy(update={"sessions": sessions})


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda spec: with_sampling(spec, rate_hz=30.0), "model.sampling_rate=30"),
        (lambda spec: with_sampling(spec, channels=2), "model.initial_input_channels=2"),
        (without_behaviour, r"model\.modulator=\{type: none\}"),
    ],
)
def test_a_config_that_disagrees_with_the_data_is_refused_with_the_remedy(
    change: Callable[[DataSpec], DataSpec], remedy: str
) -> None:
    twin = make_twin()
    with pytest.raises(ConfigError, match=remedy):
        twin.config.build(change(SPEC).with_constants(NORMALISATION))


def test_a_twin_built_with_behaviour_does_not_predict_without_it() -> None:
    twin = make_twin(modulator=ConvGRUConfig.tiny())
    video = make_inputs(batch=1)[0][0, 0].numpy()
    with pytest.raises(DataError, match="behaviour='mean'"):
        twin.predict(video, session="one")
    with pytest.raises(DataError, match="behaviour"):
        twin.rates(torch.from_numpy(video)[None, None], session="one")
    mean = np.tile(np.array([1.0, 0.0, 2.0], np.float32), (len(video), 1))
    np.testing.assert_array_equal(
        twin.predict(video, "mean", session="one"), twin.predict(video, mean, session="one")
    )


def test_predict_walks_through_a_long_video_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = make_twin(modulator=NoModulatorConfig())
    video = make_inputs(50, batch=1)[0][0, 0].numpy()
    whole = twin.predict(video, session="two/β")
    monkeypatch.setattr("visioncore.model.twin.FRAMES_AT_ONCE", 7)
    np.testing.assert_allclose(twin.predict(video, session="two/β"), whole, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        twin.predict(video, session="two/β", unit="hz"), whole * 120, rtol=1e-4, atol=1e-4
    )
    assert np.isnan(whole[: twin.stride - 1]).all()


def test_a_video_that_is_not_finite_is_refused_and_a_read_only_one_is_fine() -> None:
    twin = make_twin(modulator=NoModulatorConfig())
    video = make_inputs(6, batch=1)[0][0, 0].numpy().copy()
    video.flags.writeable = False
    assert np.isfinite(twin.predict(video, session="one")[twin.stride :]).all()
    broken = video.astype(np.float64)
    broken[4, 0, 0] = np.nan
    with pytest.raises(DataError, match="frame 4 of the video"):
        twin.predict(broken, session="one")


@pytest.mark.parametrize("shape", [(5, WIDTH, HEIGHT), (5, 2, HEIGHT, WIDTH), (HEIGHT, WIDTH)])
def test_a_video_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    twin = make_twin(modulator=NoModulatorConfig())
    with pytest.raises(DataError, match="video has shape"):
        twin.predict(np.zeros(shape, np.uint8), session="one")
    with pytest.raises(DataError, match="no session 'three'"):
        twin.predict(np.zeros((5, HEIGHT, WIDTH), np.uint8), session="three")


# --- Checkpoints ----------------------------------------------------------------------------------------------------


@every_part
def test_a_twin_rebuilds_itself_from_its_file_alone(
    core: CoreConfig, modulator: ModulatorConfig, tmp_path: Path
) -> None:
    """In a new process, in an empty folder, with no YAML and no data."""
    twin = make_twin(core, modulator)
    path = tmp_path / "twin.safetensors"
    save_twin(twin, path, Provenance(seed=3))
    video, behaviour = make_inputs(batch=1)
    np.savez(tmp_path / "in.npz", video=video[0, 0].numpy(), behaviour=behaviour[0].numpy())
    log = tmp_path.with_suffix(".log")
    assert run_in_new_process(predict_from_file, tmp_path, log=log) == 0, log.read_text(encoding="utf-8")
    expected = twin.predict(video[0, 0].numpy(), behaviour[0].numpy(), session="two/β")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.npz", "out.npy", "twin.safetensors"]


def test_a_twin_with_any_byte_changed_is_refused_or_the_same(tmp_path: Path) -> None:
    twin = make_twin(linear=False)
    path = tmp_path / "twin.safetensors"
    save_twin(twin, path, Provenance())
    intact = path.read_bytes()
    weights = twin.state_dict()
    header_end = 8 + int.from_bytes(intact[:8], "little")
    rng = np.random.default_rng(0)
    positions = [*range(16), *range(8, header_end, 37), *rng.integers(header_end, len(intact), 60)]
    refused = 0
    for position in positions:
        damaged = bytearray(intact)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            again = load_twin(path)
        except CheckpointError:
            refused += 1
            continue
        assert again.spec == twin.spec
        assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in weights.items())
    assert refused > 0.9 * len(positions)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100, b"PK\x03\x04" + b"0" * 64])
def test_a_file_that_is_no_twin_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"other\.safetensors"):
        load_twin(path)
    with pytest.raises(CheckpointError, match="no twin yet"):
        load_twin(tmp_path)


def test_weights_that_do_not_match_every_tensor_are_not_loaded(tmp_path: Path) -> None:
    from visioncore.checkpoint import load_pretrained_core

    donor = make_twin()
    save_twin(donor, tmp_path / "donor.safetensors", Provenance())
    same = make_twin()
    with torch.no_grad():
        for parameter in same.parameters():
            parameter.add_(1.0)
    load_pretrained_core(same, tmp_path / "donor.safetensors")
    assert donor.trunk.core is not None
    assert same.trunk.core is not None
    for name, tensor in donor.trunk.core.state_dict().items():
        assert torch.equal(same.trunk.core.state_dict()[name], tensor)

    wider = make_twin(ViViTConfig.tiny().model_copy(update={"ff_dim": 48}))
    before = {name: t.clone() for name, t in wider.state_dict().items()}
    with pytest.raises(CheckpointError, match="weights do not match"):
        load_pretrained_core(wider, tmp_path / "donor.safetensors")
    assert all(torch.equal(before[name], t) for name, t in wider.state_dict().items())


def test_the_header_names_every_unit(tmp_path: Path) -> None:
    from safetensors import safe_open

    save_twin(make_twin(), tmp_path / "t.safetensors", Provenance.from_json({"note": "x"}))
    with safe_open(tmp_path / "t.safetensors", framework="pt") as opened:
        header = json.loads(opened.metadata()["visioncore"])
    assert [s["unit_ids"] for s in header["data"]["sessions"]] == [["a", "b", "c"], ["a", "d"]]
    assert header["format_version"] == 2
