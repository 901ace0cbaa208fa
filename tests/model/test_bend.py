"""The bend of a drive: none until it is placed, straight beyond its ends, and any shape between them."""

import torch

from specs import data_spec
from visioncore.model import TwinConfig
from visioncore.model.bend import Bend
from visioncore.model.cores import ViViTConfig
from visioncore.model.linear import LowRankLinear, LowRankLinearConfig
from visioncore.model.readouts import DynamicGaussianReadout
from visioncore.shapes import VideoShape
from visioncore.spec import Normalisation, SessionSpec

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


def test_a_path_with_knots_begins_as_one_without() -> None:
    path = LowRankLinearConfig(window_s=0.1, knots=6).build(VideoShape(1, 4, 4), 3, 60.0)
    assert torch.equal(path.bent(DRIVE[None]), DRIVE[None])


def test_what_a_core_adds_is_not_bent() -> None:
    """Behind the bend of an ON–OFF cell a core's excitation would inhibit, where the filters' drive is negative."""
    torch.manual_seed(0)
    linear = LowRankLinearConfig(window_s=0.1, knots=6, gain=True)
    session = SessionSpec(id="one", subject="a", unit_ids=("0", "1"))
    spec = data_spec(
        channels=1, height=12, width=12, sampling_rate_hz=60.0, response_kind="counts", sessions=(session,)
    )
    normalisation = Normalisation(video_mean=(0.5,), video_std=(0.3,), behaviour_mean=(), behaviour_std=())
    config = TwinConfig(sampling_rate=60, convnet=ViViTConfig.tiny(), linear=linear)
    twin = config.build(spec.with_constants(normalisation)).eval()
    path, readout = twin.heads["one"].linear, twin.heads["one"].readout
    assert isinstance(path, LowRankLinear)
    assert isinstance(readout, DynamicGaussianReadout)
    assert path.bend is not None
    video = torch.rand(1, 1, 40, 12, 12)
    with torch.no_grad():
        path.temporal.normal_()
        path.bend.place(torch.full((2,), -2.0), torch.full((2,), 2.0))
        path.bend.values.copy_(torch.linspace(-2, 2, 6).abs() - torch.linspace(-2, 2, 6))
        before = twin.rates(video, session="one")
        readout.phase_bias.add_(0.5)
        after = twin.rates(video, session="one")
    predicted = ~before.isnan()
    assert bool((after > before)[predicted].all())
