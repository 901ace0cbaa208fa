"""From drive to expected responses: where units start, and what the nonlinearity's shape may not change."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from visioncore.config import build_config
from visioncore.data import RecordingStore
from visioncore.errors import ConfigError
from visioncore.model import TwinConfig
from visioncore.model.outputs import (
    AffineTraceConfig,
    CountOutput,
    OutputConfig,
    SoftplusOutput,
    SoftplusOutputConfig,
    TraceOutput,
    require_output_of,
)
from visioncore.model.outputs.trace import SoftplusTraceConfig
from visioncore.spec import ResponseKind
from visioncore.training.experiment import InitialiseConfig
from visioncore.training.initialise import initialise

MEAN = torch.tensor([0.002, 0.03, 0.4, 2.0])
CONFIGS = [
    *(config.tiny() for config in get_args(get_args(OutputConfig)[0])),
    *(SoftplusOutputConfig(sharpness=sharpness) for sharpness in (0.1, 1.0, 30.0, 300.0)),
]
every_output = pytest.mark.parametrize(
    "config", CONFIGS, ids=[f"{c.type}-{getattr(c, 'sharpness', '')}" for c in CONFIGS]
)


def output_at_mean(config: OutputConfig) -> CountOutput:
    output = config.build(len(MEAN))
    output.initialise(MEAN, MEAN.sqrt())
    return output


def rates(output: CountOutput, drive: float) -> Tensor:
    return output(torch.full((len(MEAN),), drive)).detach()


def test_left_alone_the_output_is_the_plain_softplus_to_the_last_bit() -> None:
    output = output_at_mean(SoftplusOutputConfig())
    drive = torch.linspace(-8, 8, 200)[:, None].expand(-1, len(MEAN))
    assert torch.equal(output(drive), functional.softplus(drive + output.bias))
    # What a twin file from before there was a choice holds.
    assert set(output.state_dict()) == {"bias", "scale"}
    assert bool((output.scale == 1).all())


@every_output
def test_every_unit_starts_at_its_mean_rate(config: OutputConfig) -> None:
    assert torch.allclose(rates(output_at_mean(config), 0.0), MEAN, rtol=1e-4)


@every_output
def test_a_step_of_the_drive_counts_the_same_whatever_the_nonlinearity(config: OutputConfig) -> None:
    plain, output = output_at_mean(SoftplusOutputConfig()), output_at_mean(config)
    steps = [(rates(o, 0.01) - rates(o, -0.01)) / 0.02 for o in (plain, output)]
    assert torch.allclose(steps[0], steps[1], rtol=2e-2)


@every_output
def test_rates_are_never_negative_and_rise_with_the_drive(config: OutputConfig) -> None:
    found = torch.stack([rates(output_at_mean(config), drive) for drive in (-3.0, -1.0, 0.0, 1.0, 3.0)])
    assert bool((found >= 0).all())
    # A sharp one may be zero, to single precision, well below its bend.
    assert bool((found.diff(dim=0) >= 0).all())
    assert bool((found[2:].diff(dim=0) > 0).all())


def test_a_sharp_softplus_adds_where_a_soft_one_multiplies() -> None:
    softer, sharper = (output_at_mean(SoftplusOutputConfig(sharpness=s)) for s in (0.1, 1000.0))
    assert torch.allclose(rates(softer, 1.0)[:2] / MEAN[:2], torch.e * torch.ones(2), rtol=0.05)
    assert torch.allclose(rates(sharper, 1.0)[1:] - MEAN[1:], -torch.expm1(-MEAN[1:]), rtol=0.05)


def test_a_sharpness_is_learnt_per_unit_and_only_where_asked_for() -> None:
    fixed, learnt = (
        SoftplusOutputConfig(sharpness=5.0, learn_sharpness=learn).build(3) for learn in (False, True)
    )
    assert isinstance(learnt, SoftplusOutput)
    assert learnt.log_sharpness is not None
    learnt(torch.linspace(-1, 1, 3)).sum().backward()
    assert learnt.log_sharpness.grad is not None
    assert bool((learnt.log_sharpness.grad != 0).all())
    assert [name for name, _ in fixed.named_parameters()] == ["bias"]
    drive = torch.linspace(-3, 3, 30).view(10, 3)
    assert torch.allclose(fixed(drive), learnt(drive), rtol=1e-5)


def test_a_nonlinearity_for_counts_is_refused_for_traces(tiny_store: RecordingStore) -> None:
    sessions = tuple(s.model_copy(update={"response_kind": "trace"}) for s in tiny_store.spec.sessions)
    spec = tiny_store.spec.model_copy(update={"sessions": sessions})
    raw: dict[str, Any] = {"sampling_rate": 60, "convnet": {"type": "none"}}
    twin = build_config(TwinConfig, raw, "test").build(spec)
    assert isinstance(twin.heads["a"].output, TraceOutput)
    for output in ({"type": "exponential"}, {"type": "softplus", "params": {"sharpness": 2.0}}):
        config = build_config(TwinConfig, raw | {"output": output}, "test")
        with pytest.raises(ConfigError, match=r"leave model\.output out"):
            config.build(spec)


@every_output
def test_filters_set_from_data_predict_a_unit_and_nearly_leave_its_mean_rate(
    config: OutputConfig, tiny_store: RecordingStore
) -> None:
    raw = {"sampling_rate": 60, "convnet": {"type": "none"}, "linear": {"type": "low_rank"}}
    model = build_config(TwinConfig, raw, "test").model_copy(update={"output": config})
    twin = model.build(tiny_store.spec).eval()
    initialise(twin, tiny_store, InitialiseConfig(positions=False))
    session = tiny_store.sessions["a"]
    predicted, truth = [], []
    for block in session.blocks_in("train"):
        video = session.video(block.start, block.stop)
        predicted.append(torch.from_numpy(twin.predict(video, session="a"))[1:])
        # Its rate follows this pixel of the frame before.
        truth.append(torch.from_numpy(video[:-1, 0, 2, 3]).float())
    rate, pixel = torch.cat(predicted), torch.cat(truth)
    # The likelihood of a sharp nonlinearity, which is not canonical, does not keep means exactly.
    assert torch.allclose(rate.mean(0), torch.from_numpy(session.train_mean).float(), rtol=0.3)
    assert torch.corrcoef(torch.stack((rate[:, 1], (pixel > 127).float())))[0, 1] > 0.5


@pytest.mark.parametrize("sharpness", [0.07, 0.1, 1.0, 10.0])
def test_a_softplus_for_traces_starts_at_the_mean_never_falls_below_zero_and_steps_as_the_affine_map(
    sharpness: float,
) -> None:
    mean, std = torch.tensor([0.4, 3.0, 0.02]), torch.tensor([0.5, 1.0, 0.01])
    output, affine = SoftplusTraceConfig(sharpness=sharpness).build(3), AffineTraceConfig().build(3)
    for one in (output, affine):
        one.initialise(mean, std)
    step = torch.full((3,), 1e-3)
    with torch.no_grad():
        torch.testing.assert_close(output(torch.zeros(3)), mean, rtol=1e-3, atol=1e-5)
        rise, straight = output(step) - output(-step), affine(step) - affine(-step)
        torch.testing.assert_close(rise, straight, rtol=0.02, atol=1e-6)
        assert (output(torch.linspace(-100, 100, 50)[:, None].expand(-1, 3)) >= 0).all()
        output.shift(torch.full((3,), 0.3))
        shifted = output(torch.zeros(3))
        output.shift(torch.full((3,), -0.3))
        torch.testing.assert_close(output(torch.full((3,), 0.3)), shifted)


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("trace", {"output": SoftplusOutputConfig(sharpness=3.0)}, "model.output out"),
        ("counts", {"trace_output": SoftplusTraceConfig()}, "model.trace_output out"),
    ],
)
def test_an_output_for_the_other_kind_of_response_is_refused(
    kind: ResponseKind, change: dict[str, Any], told: str
) -> None:
    given: dict[str, Any] = {"output": SoftplusOutputConfig(), "trace_output": AffineTraceConfig(), **change}
    with pytest.raises(ConfigError, match=told):
        require_output_of(kind, given["output"], given["trace_output"])
