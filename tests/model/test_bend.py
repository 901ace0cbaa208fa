"""The bend of a drive: none until it is placed, straight beyond its ends, and any shape between them."""

import pytest
import torch

from visioncore.model.bend import Bend
from visioncore.model.outputs import SoftplusOutput, SoftplusOutputConfig

DRIVE = torch.linspace(-5, 5, 101)[:, None].expand(-1, 3)


def placed(knots: int = 5) -> Bend:
    module = Bend(3, knots)
    module.place(torch.tensor([-2.0, -1.0, 1.0]), torch.tensor([2.0, 3.0, 1.0]))
    with torch.no_grad():
        module.values.copy_(torch.arange(3.0 * knots).view(3, knots).sin())
    return module


def test_a_unit_whose_knots_are_nowhere_has_no_bend_and_learns_none() -> None:
    module = placed()
    bent = module(DRIVE)
    assert torch.equal(bent[:, 2], DRIVE[:, 2])
    bent.square().sum().backward()
    assert module.values.grad is not None
    assert bool((module.values.grad[2] == 0).all())
    assert bool((module.values.grad[:2] != 0).all())


def test_at_its_knots_it_has_its_values_and_is_straight_between_and_beyond_them() -> None:
    module = placed()
    knots = torch.linspace(-2, 2, 5)
    added = module(knots[:, None].expand(-1, 3))[:, 0] - knots
    torch.testing.assert_close(added, module.values[0].detach(), atol=1e-5, rtol=0)
    slopes = module(DRIVE)[:, 0].diff() / 0.1
    for start, stop in ((0, 30), (30, 40), (40, 50), (50, 60), (60, 70), (70, 100)):
        assert float(slopes[start:stop].detach().std()) < 1e-3
    torch.testing.assert_close(slopes[[0, -1]].detach(), torch.ones(2), atol=1e-3, rtol=0)


def test_a_drive_has_the_gradient_of_its_bend() -> None:
    module = placed().double()
    drive = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (drive,))


@pytest.mark.parametrize("knots", [None, 6])
def test_an_output_with_knots_begins_as_one_without(knots: int | None) -> None:
    output = SoftplusOutputConfig(sharpness=2.0, knots=knots).build(3)
    assert isinstance(output, SoftplusOutput)
    plain = SoftplusOutputConfig(sharpness=2.0).build(3)
    for each in (output, plain):
        each.initialise(torch.tensor([0.1, 0.5, 2.0]), torch.ones(3))
    assert torch.equal(output(DRIVE), plain(DRIVE))
