"""Some units of a module are the module's own numbers."""

import torch
from torch import nn

from visioncore.model.linear import LowRankLinear
from visioncore.model.of_units import of_units
from visioncore.model.outputs import SoftplusOutputConfig
from visioncore.shapes import VideoShape


def path() -> LowRankLinear:
    torch.manual_seed(0)
    return LowRankLinear(
        video=VideoShape(1, 4, 5), n_units=7, rank=2, window_s=0.1, lags=6, num_basis=3, knots=4
    )


def test_some_units_do_what_they_do_among_all() -> None:
    whole = path()
    nn.init.normal_(whole.temporal)
    video = torch.randn(2, 1, 30, 4, 5)
    everything = whole.advance(None, video)[0]
    for units in (slice(0, 3), slice(3, 6), slice(6, 9)):
        torch.testing.assert_close(of_units(whole, units, 7).advance(None, video)[0], everything[..., units])


def test_what_is_set_in_some_units_is_set_in_all_and_nowhere_else() -> None:
    whole = path()
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    part = of_units(whole, slice(2, 5), 7)
    assert part.bend is not None
    with torch.no_grad():
        part.temporal[:, :1] = 3.0
        part.bend.place(torch.full((3,), -1.0), torch.full((3,), 2.0))
    rows = torch.zeros(7, dtype=torch.bool)
    rows[2:5] = True
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor[~rows], before[name][~rows]), name
    assert (whole.temporal[rows, 0] == 3).all()
    assert whole.bend is not None
    assert torch.equal(whole.bend.low, -rows.float())
    assert torch.equal(whole.bend.step, rows.float())
    assert whole.n_units == 7


def test_a_number_that_units_share_stays_shared() -> None:
    output = SoftplusOutputConfig(sharpness=5.0, learn_sharpness=True).build(7)
    part = of_units(output, slice(0, 2), 7)
    drive = torch.randn(3, 7)
    torch.testing.assert_close(part(drive[:, :2]), output(drive)[:, :2])
