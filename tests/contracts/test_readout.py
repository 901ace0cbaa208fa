"""A readout keeps its meaning on every grid, and the gain scales the linear path alone."""

import pytest
import torch

from twins import NORMALISATION, SPEC, every_part, make_inputs, make_twin, run
from visioncore.model import Twin
from visioncore.model.cores import CoreConfig
from visioncore.model.linear import LowRankLinear, LowRankLinearConfig
from visioncore.model.modulators import (
    ModulatorConfig,
    NoModulatorConfig,
)
from visioncore.model.readouts import DynamicGaussianReadout, GaussianReadoutConfig
from visioncore.shapes import FeatureShape, VideoShape
from visioncore.spec import SessionSpec


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
