"""Which parameters are trained how, and what the learning rate does."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from specs import data_spec
from visioncore.config import build_config, dump_config
from visioncore.errors import ConfigError
from visioncore.model import Twin, TwinConfig
from visioncore.model.cores import ResNetConfig, X3DConfig
from visioncore.spec import Normalisation, SessionSpec
from visioncore.training.experiment import TrainingConfig
from visioncore.training.optimisers import AdamWConfig, BaseOptimiserConfig, MuonConfig
from visioncore.training.optimisers.muon import KernelMuon, MuonWithAdamW
from visioncore.training.schedule import learning_rate_factor

SPEC = data_spec(
    channels=1,
    height=12,
    width=20,
    sampling_rate_hz=60,
    response_kind="counts",
    behaviour_names=("x",),
    sessions=(SessionSpec(id="a", subject="m", unit_ids=("1", "2", "3")),),
)
VIVIT = {
    "type": "vivit",
    "params": {
        "embedding_dim": 16,
        "num_spatial_blocks": 1,
        "num_temporal_blocks": 2,
        "num_heads": 2,
        "head_dim": 8,
        "patch_size": [3, 5, 5],
        "stride": [2, 4, 4],
        "padding": "same",
        "num_registers": 2,
    },
}


@pytest.fixture
def twin() -> Twin:
    return small_twin()


def small_twin(convnet: dict[str, Any] = VIVIT) -> Twin:
    torch.manual_seed(0)
    modulator = {"type": "convgru" if convnet is VIVIT else "none"}
    raw = {
        "sampling_rate": 60,
        "convnet": convnet,
        "modulator": modulator,
        "linear": {"type": "low_rank"},
        "adapter": {"type": "affine"},
    }
    config = build_config(TwinConfig, raw, "test")
    constants = Normalisation(
        video_mean=(0.0,), video_std=(1.0,), behaviour_mean=(0.0,), behaviour_std=(1.0,)
    )
    return config.build(SPEC.with_constants(constants))


def names(twin: Twin, group: dict[str, Any]) -> set[str]:
    own = {id(p): name for name, p in twin.named_parameters()}
    return {own[id(p)] for p in group["params"]}


every_choice = pytest.mark.parametrize("choice", [AdamWConfig, MuonConfig])


@every_choice
def test_every_parameter_is_in_one_group(twin: Twin, choice: type[BaseOptimiserConfig]) -> None:
    groups = choice().parameter_groups(twin)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in twin.parameters()}


@every_choice
def test_only_weights_decay(twin: Twin, choice: type[BaseOptimiserConfig]) -> None:
    groups = choice(weight_decay=0.1).parameter_groups(twin)
    assert {group["weight_decay"] for group in groups} == {0.0, 0.1}
    last = {
        decay: {n.rpartition(".")[2] for g in groups if g["weight_decay"] == decay for n in names(twin, g)}
        for decay in (0.0, 0.1)
    }
    assert last[0.1] == {"weight", "phase_in", "phase_out", "spatial", "temporal"}
    assert last[0.0] == {
        *("position", "log_width", "angle", "phase_bias", "registers", "bias", "weight"),
        *("log_scale", "shift"),
    }
    decayed = [p for g in groups if g["weight_decay"] for p in g["params"]]
    assert all(p.ndim >= 2 for p in decayed)
    # What stays and is called a weight belongs to a norm.
    kept = [n for g in groups if not g["weight_decay"] for n in names(twin, g) if n.endswith(".weight")]
    assert all("norm" in name for name in kept)


@every_choice
def test_session_parts_have_a_learning_rate_of_their_own(
    twin: Twin, choice: type[BaseOptimiserConfig]
) -> None:
    groups = choice(learning_rate=0.01, session_learning_rate=3.0).parameter_groups(twin)
    for group in groups:
        of_sessions = {n.startswith("heads.sessions.") for n in names(twin, group)}
        assert len(of_sessions) == 1
        assert group["lr"] == pytest.approx(0.03 if of_sessions == {True} else 0.01)
    assert groups[0]["lr"] == 0.01


def test_muon_steers_the_cores_matrices_and_nothing_else(twin: Twin) -> None:
    *_, muon = MuonConfig(muon_learning_rate=0.02).parameter_groups(twin)
    blocks = ("layers.0.blocks.0", "layers.1.blocks.0", "layers.1.blocks.1")
    expected = {f"trunk.core.{b}.project_{way}.weight" for b in blocks for way in ("in", "out")}
    assert names(twin, muon) == expected | {
        f"trunk.core.tokenizer.{part}.weight" for part in ("convolution", "projection")
    }
    assert muon["lr"] == 0.02
    assert MuonConfig().parameter_groups(twin)[-1]["lr"] == MuonConfig().learning_rate


def test_muon_is_refused_where_it_has_nothing_to_steer() -> None:
    with pytest.raises(ConfigError, match="no matrices"):
        MuonConfig().build(small_twin({"type": "none"}))
    with pytest.raises(ConfigError, match="muon_learning_rate is set and optimiser is not 'muon'"):
        build_config(TrainingConfig, {"muon_learning_rate": 0.1}, "test")


# --- Two optimisers in one ----------------------------------------------------------------------------------------


def matrix_and_bias() -> tuple[nn.Parameter, nn.Parameter]:
    rng = torch.Generator().manual_seed(1)
    return nn.Parameter(torch.randn(4, 6, generator=rng)), nn.Parameter(torch.randn(4, generator=rng))


def both(matrix: nn.Parameter, bias: nn.Parameter) -> MuonWithAdamW:
    groups = [{"params": [p], "lr": lr, "weight_decay": 0.1} for p, lr in ((matrix, 0.02), (bias, 0.01))]
    return MuonWithAdamW(groups[:1], groups[1:])


def give_gradients(step: int, *parameters: Tensor) -> None:
    rng = torch.Generator().manual_seed(100 + step)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=rng)


def test_each_part_steps_as_it_would_alone() -> None:
    matrix, bias = matrix_and_bias()
    together = both(matrix, bias)
    matrix_alone, bias_alone = matrix_and_bias()
    muon = torch.optim.Muon([matrix_alone], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([bias_alone], lr=0.01, weight_decay=0.1, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(together, lambda step: 1 / (1 + step))
    alone = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)) for o in (muon, adamw)]
    for step in range(5):
        give_gradients(step, matrix, bias)
        give_gradients(step, matrix_alone, bias_alone)
        for stepped in (together, muon, adamw, schedule, *alone):
            stepped.step()  # type: ignore[attr-defined]
        assert torch.equal(matrix, matrix_alone)
        assert torch.equal(bias, bias_alone)


def test_a_closure_is_evaluated_once_before_both_step() -> None:
    matrix, bias = matrix_and_bias()
    together, calls = both(matrix, bias), itertools.count()

    def closure() -> float:
        assert torch.is_grad_enabled()
        give_gradients(0, matrix, bias)
        next(calls)
        return 2.5

    before = matrix.detach().clone(), bias.detach().clone()
    assert together.step(closure) == 2.5
    assert next(calls) == 1
    assert not torch.equal(matrix, before[0])
    assert not torch.equal(bias, before[1])


def test_a_saved_state_goes_on_as_if_nothing_had_been_saved() -> None:
    left_alone, resumed = matrix_and_bias(), matrix_and_bias()
    first, second = both(*left_alone), both(*resumed)
    for step in range(3):
        for parameters, stepped in ((left_alone, first), (resumed, second)):
            give_gradients(step, *parameters)
            stepped.step()
    state = copy.deepcopy(second.state_dict())
    assert {key for own in state["state"].values() for key in own} == {
        "momentum_buffer", "exp_avg", "exp_avg_sq", "step"
    }  # fmt: skip
    second = both(*resumed)
    second.load_state_dict(state)
    for step in range(3, 6):
        for parameters, stepped in ((left_alone, first), (resumed, second)):
            give_gradients(step, *parameters)
            stepped.step()
    for one, other in zip(left_alone, resumed, strict=True):
        assert torch.equal(one, other)


# --- Schedule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_learning_rate_is_never_zero_rises_then_falls_to_its_end(schedule: Any) -> None:
    factor = learning_rate_factor(schedule, 10, 200, 0.05)
    values = [factor(step) for step in range(201)]
    assert values[0] > 0
    assert values[:11] == sorted(values[:11])
    assert values[10] == pytest.approx(1.0)
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[105] == pytest.approx(0.05 + 0.95 / 2)
    assert values[200] == pytest.approx(0.05)


def test_cosine_and_linear_differ_and_constant_stays() -> None:
    quarter = {s: learning_rate_factor(s, 0, 200, 0.0)(50) for s in ("cosine", "linear", "constant")}
    assert quarter == pytest.approx({"cosine": 0.5 + 0.5**1.5, "linear": 0.75, "constant": 1.0})


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_a_run_shorter_than_its_warm_up_still_reaches_the_full_rate(schedule: Any) -> None:
    factor = learning_rate_factor(schedule, 1000, 50, 0.1)
    assert max(factor(step) for step in range(50)) == pytest.approx(1.0)


def test_muon_takes_a_kernel_for_the_matrix_of_its_output_channels() -> None:
    torch.manual_seed(0)
    matrix = torch.nn.Parameter(torch.randn(4, 3 * 2 * 5))
    kernel = torch.nn.Parameter(matrix.detach().clone().view(4, 3, 2, 5))
    plain = torch.optim.Muon([matrix], lr=0.1, adjust_lr_fn="match_rms_adamw")
    ours = KernelMuon([{"params": [kernel], "lr": 0.1}], adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        gradient = torch.randn(4, 30, generator=torch.Generator().manual_seed(step))
        matrix.grad, kernel.grad = gradient, gradient.view(4, 3, 2, 5).clone()
        plain.step()
        ours.step()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(kernel.flatten(1), matrix)


def test_muon_takes_every_kernel_of_a_rival_but_the_depthwise_ones() -> None:
    for tiny, kinds in (
        (ResNetConfig.tiny(), {"stem", "conv1", "conv2"}),
        (X3DConfig.tiny(), {"stem", "expand", "project"}),
    ):
        twin = small_twin(dump_config(tiny))
        *_, muon = MuonConfig().parameter_groups(twin)
        steered = names(twin, muon)
        assert all(any(kind in name for name in steered) for kind in kinds)
        assert not any("depthwise" in name for name in steered)
