"""The time courses of linear filters: as the likelihood has them, and none where they do not help."""

import pytest
import torch
from torch.nn import functional

from visioncore.model.linear import LowRankLinear, LowRankLinearConfig
from visioncore.model.outputs import RateOutput, SoftplusOutputConfig, TraceOutput
from visioncore.shapes import VideoShape
from visioncore.training.glm import fit_time_courses

TIME, UNITS, PIXELS = 12_000, 3, 20
VIDEO = VideoShape(1, 4, 5)


def recording(output: RateOutput) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, LowRankLinear]:
    """White noise, spatial filters, the rates of cells of which the last ignores the stimulus, the path to fit."""
    torch.manual_seed(0)
    frames = torch.randn(TIME, PIXELS)
    spatial = functional.normalize(torch.randn(UNITS, 1, PIXELS), dim=-1)
    linear = LowRankLinearConfig(rank=1, window_s=0.2, num_basis=5).build(VIDEO, UNITS, 60.0)
    with torch.no_grad():
        linear.spatial.copy_(spatial / linear.spatial_scale)
        linear.temporal.normal_().mul_(1.5)
        linear.temporal[-1] = 0
        output.initialise(torch.full((UNITS,), 0.2), torch.ones(UNITS))
        rates = output(linear.advance(None, frames.view(1, 1, TIME, 4, 5))[0][0])
    return frames, spatial, rates, linear


def fit(
    output: RateOutput, responses: torch.Tensor, frames: torch.Tensor, spatial: torch.Tensor
) -> LowRankLinear:
    tested = (torch.arange(TIME) % 1000 >= 800).float()
    linear = LowRankLinearConfig(rank=1, window_s=0.2, num_basis=5).build(VIDEO, UNITS, 60.0)
    with torch.no_grad():
        linear.spatial.copy_(spatial / linear.spatial_scale)
        output.initialise(responses.mean(0), torch.ones(UNITS))
    fit_time_courses(
        linear,
        output,
        spatial=spatial,
        frames=frames,
        responses=responses,
        fitted=1 - tested,
        tested=tested,
        step=1,
    )
    return linear


@pytest.mark.parametrize("kind", ["counts", "trace"])
def test_time_courses_and_gain_are_recovered(kind: str) -> None:
    output = SoftplusOutputConfig().build(UNITS) if kind == "counts" else TraceOutput(UNITS)
    frames, spatial, rates, truth = recording(output)
    true_bias = output.bias.detach().clone()
    noisy = torch.poisson(rates) if kind == "counts" else rates + torch.randn_like(rates)
    found = fit(output, noisy, frames, spatial)
    kernels, expected = ((path.temporal @ path.basis)[:2] for path in (found, truth))
    assert (kernels - expected).norm() < 0.1 * expected.norm()
    torch.testing.assert_close(output.bias[:2], true_bias[:2], atol=0.15, rtol=0.0)


def test_a_unit_that_ignores_the_stimulus_keeps_its_mean_rate_and_next_to_no_filter() -> None:
    output = SoftplusOutputConfig().build(UNITS)
    frames, spatial, rates, _ = recording(output)
    counts = torch.poisson(rates)
    # In the tested bins the second unit does the opposite of what it does in the others.
    tested = torch.arange(TIME) % 1000 >= 800
    counts[tested, 1] = torch.poisson((0.4 - rates[tested, 1]).clamp_min(0.01))
    found = fit(output, counts, frames, spatial)
    assert (found.temporal[2] @ found.basis).norm() < 0.1
    assert (found.temporal[1] == 0).all()
    torch.testing.assert_close(functional.softplus(output.bias[1]), counts[:, 1].mean())
