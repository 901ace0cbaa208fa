"""Which parameters decay, and what the learning rate does."""

import pytest
import torch

from visioncore.model.cores.vivit import ViViTConfig
from visioncore.model.readouts import GaussianReadoutConfig
from visioncore.shapes import VideoShape
from visioncore.training.optim import parameter_groups, warmup_cosine


def test_only_weights_decay() -> None:
    video = VideoShape(1, 12, 20)
    core = ViViTConfig.tiny().build(video)
    readout = GaussianReadoutConfig().build(core.out_shape, video, 3)
    module = torch.nn.ModuleDict({"core": core, "readout": readout})
    decayed, undecayed = parameter_groups(module, 0.1)
    names = {id(p): name.rpartition(".")[2] for name, p in module.named_parameters()}
    assert (decayed["weight_decay"], undecayed["weight_decay"]) == (0.1, 0.0)
    assert {names[id(p)] for p in decayed["params"]} == {"weight", "phase_in", "phase_out"}
    assert all(p.ndim >= 2 for p in decayed["params"])
    kept = {names[id(p)] for p in undecayed["params"]}
    assert {"position", "log_width", "angle", "phase_bias", "registers", "bias"} <= kept
    assert len(decayed["params"]) + len(undecayed["params"]) == len(list(module.parameters()))


def test_the_learning_rate_is_never_zero_rises_then_falls_to_its_end() -> None:
    factor = warmup_cosine(10, 200, 0.05)
    values = [factor(step) for step in range(201)]
    assert values[0] > 0
    assert values[:11] == sorted(values[:11])
    assert values[10] == pytest.approx(1.0)
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[200] == pytest.approx(0.05)


def test_a_run_shorter_than_its_warm_up_still_reaches_the_full_rate() -> None:
    factor = warmup_cosine(1000, 50, 0.1)
    assert max(factor(step) for step in range(50)) == pytest.approx(1.0)
