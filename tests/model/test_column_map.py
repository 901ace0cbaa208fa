"""Positions of units from what was measured of them: the map is found, ids decide, gaps are refused."""

from typing import Any

import numpy as np
import pytest
import torch

from part_contracts import SPEC, config_with, inputs, require_contracts
from visioncore.errors import ConfigError
from visioncore.model import Twin
from visioncore.model.matched_units import take_over
from visioncore.model.readouts import GaussianReadoutConfig, PlacedReadout
from visioncore.provenance import UnitMatch
from visioncore.spec import DataSpec, SessionSpec

READOUT = GaussianReadoutConfig(phase_rank=2, position_columns=("x", "depth"), position_hidden=5)


def spec_of(n_units: int, **columns: Any) -> DataSpec:
    rng = np.random.default_rng(0)
    measured = {name: tuple(rng.normal(size=n_units).tolist()) for name in ("x", "depth")} | columns
    session = SPEC.sessions[0].model_copy(
        update={"unit_ids": tuple(map(str, range(n_units))), "units": measured}
    )
    return SPEC.model_copy(update={"sessions": (session,)})


def placed(twin: Twin) -> PlacedReadout:
    readout = twin.placed_readout("a")
    assert readout is not None
    return readout


def test_it_is_a_readout_like_another(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = [
        own.model_copy(update={"units": {k: tuple(range(len(own.unit_ids))) for k in ("x", "depth")}})
        for own in SPEC.sessions
    ]
    monkeypatch.setattr("part_contracts.SPEC", SPEC.model_copy(update={"sessions": tuple(sessions)}))
    require_contracts(config_with(readout=READOUT))


def test_noisy_estimates_of_many_units_make_one_good_map() -> None:
    """Each unit's estimate is off by some pixels; the map through all of them is off by less."""
    spec = spec_of(200)
    columns = np.array([spec.sessions[0].units[name] for name in ("x", "depth")]).T
    true = np.array([7.0, 11.0]) + columns @ np.array([[1.5, 0.5], [-0.8, 2.0]])
    readout = placed(config_with(readout=READOUT).build(spec))
    noisy = true + np.random.default_rng(1).normal(0, 1.5, true.shape)
    inside = ((noisy > 0) & (noisy < [14, 22])).all(1).mean()
    assert inside > 0.95  # so that clamping at the border plays no part
    readout.place(torch.from_numpy(noisy))
    error = np.sqrt(np.mean((readout.centres_px().detach().numpy() - true) ** 2))
    assert error < 0.3
    assert "position" not in dict(readout.named_parameters())
    # What is bent is learned: no linear map reaches it.
    bent = torch.from_numpy(true + 2 * np.tanh(2 * columns[:, :1]))
    optimiser = torch.optim.Adam(readout.parameters(), 0.02)
    losses = []
    for _ in range(200):
        loss = (readout.centres_px() - bent).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]


def test_units_in_another_order_look_where_they_did() -> None:
    spec = spec_of(6)
    (own,) = spec.sessions
    order = [3, 0, 5, 1, 4, 2]
    turned = own.model_copy(
        update={
            "unit_ids": tuple(own.unit_ids[k] for k in order),
            "units": {name: tuple(values[k] for k in order) for name, values in own.units.items()},
        }
    )
    config = config_with(readout=READOUT)
    torch.manual_seed(0)
    one = config.build(spec).eval()
    torch.manual_seed(0)
    other = config.build(spec.model_copy(update={"sessions": (turned,)})).eval()
    with torch.no_grad():
        for twin in (one, other):
            placed(twin).place(torch.rand(6, 2, generator=torch.Generator().manual_seed(0))[[0] * 6] * 10)
            for weight in placed(twin).get_submodule("position_map").parameters():
                weight.copy_(torch.linspace(-0.3, 0.3, weight.numel()).view_as(weight))
    torch.testing.assert_close(placed(other).centres_px(), placed(one).centres_px()[order])


def test_matched_units_are_taken_over_all_the_same() -> None:
    twin = build_of(spec_of(5))
    today = twin.spec.sessions[0].model_copy(update={"id": "b"})
    grown = twin.with_sessions(today)
    matches = [
        UnitMatch(session="b", unit_id=unit, matched_session="a", matched_unit_id=unit)
        for unit in today.unit_ids
    ]
    take_over(grown, twin, matches)
    video, behaviour = inputs()
    rates = [grown.rates(video, behaviour, session=session).nan_to_num(0) for session in ("a", "b")]
    torch.testing.assert_close(rates[0], rates[1])


def build_of(spec: DataSpec) -> Twin:
    torch.manual_seed(0)
    twin = config_with(readout=READOUT).build(spec).eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return twin


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"depth": (1.0, None, 2.0)}, r"session 'a', unit '1': 'depth' is None"),
        ({"depth": (1.0, 2.0, "deep")}, r"unit '2': 'depth' is 'deep'"),
        ({"depth": (True, False, True)}, r"unit '0': 'depth' is True"),
    ],
)
def test_units_without_a_number_are_refused(columns: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        config_with(readout=READOUT).build(spec_of(3, **columns))


def test_a_column_that_was_not_measured_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"names 'x', which was not measured; its units have no columns"):
        config_with(readout=READOUT).build(SPEC)


def test_a_column_that_is_the_same_for_all_units_says_nothing() -> None:
    session: SessionSpec = spec_of(3, depth=(2.0, 2.0, 2.0)).sessions[0]
    readout = placed(config_with(readout=READOUT).build(SPEC.model_copy(update={"sessions": (session,)})))
    readout.place(torch.tensor([[5.0, 5.0], [6.0, 6.0], [7.0, 7.0]]))
    assert readout.centres_px().isfinite().all()
