"""The time courses of linear filters: as the likelihood has them, and none where they do not help."""

import pytest
import torch
from torch.nn import functional

from visioncore.model.linear import LowRankLinear, LowRankLinearConfig
from visioncore.model.outputs import RateOutput, SoftplusOutputConfig, TraceOutput
from visioncore.shapes import VideoShape
from visioncore.training.glm import fit_filters

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
    output: RateOutput,
    responses: torch.Tensor,
    frames: torch.Tensor,
    spatial: torch.Tensor,
    window: float = 1.0,
) -> LowRankLinear:
    tested = (torch.arange(TIME) % 1000 >= 800).float()
    linear = LowRankLinearConfig(rank=1, window_s=0.2, num_basis=5).build(VIDEO, UNITS, 60.0)
    with torch.no_grad():
        linear.spatial.copy_(spatial / linear.spatial_scale)
        output.initialise(responses.mean(0), torch.ones(UNITS))
    found = fit_filters(
        linear,
        output,
        spatial=spatial,
        window=torch.full((UNITS, PIXELS), window),
        frames=frames,
        responses=responses,
        fitted=1 - tested,
        tested=tested,
        step=1,
    )
    with torch.no_grad():
        linear.spatial.copy_(found.spatial / linear.spatial_scale)
    return linear


def filters(path: LowRankLinear) -> torch.Tensor:
    """Of the first two units, over time and space."""
    product = torch.einsum("urt,urp->utp", path.temporal @ path.basis, path.spatial * path.spatial_scale)
    return product.detach()[:2]


def distance(found: LowRankLinear, truth: LowRankLinear) -> float:
    return float((filters(found) - filters(truth)).norm() / filters(truth).norm())


@pytest.mark.parametrize("kind", ["counts", "trace"])
def test_time_courses_and_gain_are_recovered(kind: str) -> None:
    output = SoftplusOutputConfig().build(UNITS) if kind == "counts" else TraceOutput(UNITS)
    frames, spatial, rates, truth = recording(output)
    true_bias = output.bias.detach().clone()
    noisy = torch.poisson(rates) if kind == "counts" else rates + torch.randn_like(rates)
    found = fit(output, noisy, frames, spatial)
    assert distance(found, truth) < 0.12
    torch.testing.assert_close(output.bias[:2], true_bias[:2], atol=0.15, rtol=0.0)


def test_spatial_filters_that_begin_wrong_are_put_right_where_the_window_lets_them() -> None:
    output = SoftplusOutputConfig().build(UNITS)
    frames, spatial, rates, truth = recording(output)
    counts = torch.poisson(rates)
    wrong = functional.normalize(spatial + 0.12 * torch.randn_like(spatial), dim=-1)
    shut = fit(SoftplusOutputConfig().build(UNITS), counts, frames, wrong, window=0.0)
    free = fit(output, counts, frames, wrong)
    assert distance(free, truth) < 0.7 * distance(shut, truth)


def test_units_that_filters_do_not_help_keep_their_mean_rate_and_stay_without() -> None:
    output = SoftplusOutputConfig().build(UNITS)
    frames, spatial, rates, _ = recording(output)
    counts = torch.poisson(rates)
    # In the tested bins the second unit does the opposite of what it does in the others.
    tested = torch.arange(TIME) % 1000 >= 800
    counts[tested, 1] = torch.poisson((0.4 - rates[tested, 1]).clamp_min(0.01))
    found = fit(output, counts, frames, spatial)
    torch.testing.assert_close(functional.softplus(output.bias[1:]), counts.mean(0)[1:])
    output(found.advance(None, frames.view(1, 1, TIME, 4, 5))[0][0]).square().sum().backward()
    for factor in (found.temporal, found.spatial):
        assert (factor[1:] == 0).all()
        assert factor.grad is not None
        assert (factor.grad[1:] == 0).all()
        assert (factor.grad[0] != 0).any()
