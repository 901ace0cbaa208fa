"""Sessions come and go, and the trunk stays: twins with more of them, with fewer, and with none."""

from pathlib import Path

import pytest
import torch

from part_contracts import SPEC, build, config_with, inputs
from visioncore.checkpoint import load_pretrained_core, load_twin, save_twin
from visioncore.errors import ConfigError, DataError
from visioncore.model import Twin
from visioncore.model.cores import NoCoreConfig
from visioncore.model.linear import LowRankLinearConfig
from visioncore.model.modulators import FiLMConfig
from visioncore.predictor import Predictor
from visioncore.provenance import Provenance
from visioncore.spec import SessionSpec

FIRST = SPEC.sessions[0]


def new_session(**changes: object) -> SessionSpec:
    return FIRST.model_copy(update={"id": "new", "unit_ids": ("7", "8"), **changes})


@pytest.fixture
def twin() -> Twin:
    return build(config_with(modulator=FiLMConfig.tiny()))


def rates(twin: Twin, session: str) -> torch.Tensor:
    video, behaviour = inputs()
    with torch.no_grad():
        return twin.rates(video, behaviour, session=session)


def test_a_session_that_comes_changes_no_rate_of_the_others(twin: Twin) -> None:
    more = twin.with_sessions(new_session())
    assert more.sessions == ("a", "b", "new")
    assert more.unit_ids("new") == ("7", "8")
    for session in twin.sessions:
        assert torch.equal(rates(more, session).nan_to_num(-1.0), rates(twin, session).nan_to_num(-1.0))
    assert rates(more, "new")[:, twin.first_predicted_bin :].isfinite().all()
    assert more.provenance.made_from == twin.digest != more.digest


def test_its_weights_are_its_own(twin: Twin) -> None:
    more = twin.with_sessions(new_session())
    before = rates(twin, "a")
    with torch.no_grad():
        for parameter in more.parameters():
            parameter.add_(1.0)
    assert torch.equal(rates(twin, "a").nan_to_num(-1.0), before.nan_to_num(-1.0))


def test_a_twin_without_a_core_may_lose_all_sessions_and_gain_others() -> None:
    """What is left between has no weight and no constant."""
    linear = config_with(convnet=NoCoreConfig(), linear=LowRankLinearConfig(rank=1))
    grown = build(linear).without_sessions("a", "b").with_sessions(new_session())
    assert grown.sessions == ("new",)
    assert rates(grown.eval(), "new").isfinite().all()


def test_a_session_that_goes_leaves_the_others(twin: Twin) -> None:
    fewer = twin.without_sessions("a")
    assert fewer.sessions == ("b",)
    assert torch.equal(rates(fewer, "b").nan_to_num(-1.0), rates(twin, "b").nan_to_num(-1.0))
    with pytest.raises(DataError, match="no session 'a' in this twin; it has b"):
        rates(fewer, "a")


def test_the_trunk_alone_is_a_twin_file_that_takes_sessions_again(twin: Twin, tmp_path: Path) -> None:
    trunk = twin.without_sessions(*twin.sessions)
    assert {name.partition(".")[0] for name in trunk.state_dict()} == {"trunk"}
    save_twin(trunk, tmp_path / "trunk.safetensors", Provenance())
    again = load_twin(tmp_path / "trunk.safetensors")
    with pytest.raises(DataError, match="it has none"):
        rates(again, "a")
    with pytest.raises(ConfigError, match="a trunk alone"):
        _ = again.spec.response_kind
    # Its modulator was built for the signals of sessions that are gone.
    grown = again.with_sessions(new_session(behaviour_names=("y",), constants=constants_of("y")))
    assert grown.spec.behaviour_names == ("x", "y")
    for name, tensor in twin.trunk.state_dict().items():
        assert torch.equal(grown.trunk.state_dict()[name], tensor)
    fresh = build(config_with(modulator=FiLMConfig.tiny()))
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    load_pretrained_core(fresh, tmp_path / "trunk.safetensors")
    assert fresh.trunk.core is not None
    assert twin.trunk.core is not None
    for mine, theirs in zip(fresh.trunk.core.parameters(), twin.trunk.core.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def constants_of(*names: str) -> object:
    constants = FIRST.normalisation
    return constants.model_copy(
        update={"behaviour_mean": (0.0,) * len(names), "behaviour_std": (1.0,) * len(names)}
    )


@pytest.mark.parametrize(
    ("session", "message"),
    [
        (FIRST, "session 'a' is there already"),
        (new_session(response_kind="trace"), "session 'new' has trace, 'a' has counts"),
        (
            new_session(behaviour_names=("x", "gaze"), constants=constants_of("x", "gaze")),
            "session 'new' has behaviour that the trunk was not built for: gaze; it takes x, y",
        ),
    ],
)
def test_a_session_that_does_not_fit_is_refused(twin: Twin, session: SessionSpec, message: str) -> None:
    with pytest.raises(DataError, match=message):
        twin.with_sessions(session)


def test_sessions_that_come_together_must_fit_each_other(twin: Twin) -> None:
    trunk = twin.without_sessions(*twin.sessions)
    with pytest.raises(DataError, match="session 'new' is there already"):
        trunk.with_sessions(new_session(), new_session())
    with pytest.raises(DataError, match="session 'b' has trace, 'new' has counts"):
        trunk.with_sessions(new_session(), new_session(id="b", response_kind="trace"))


def test_behaviour_is_no_matter_where_nothing_uses_it() -> None:
    twin = build(config_with())
    more = twin.with_sessions(new_session(behaviour_names=("x", "gaze"), constants=constants_of("x", "gaze")))
    assert torch.equal(rates(more, "a").nan_to_num(-1.0), rates(twin, "a").nan_to_num(-1.0))


def test_a_session_without_constants_says_so(twin: Twin) -> None:
    with pytest.raises(ConfigError, match="session 'new' has no constants yet"):
        twin.with_sessions(new_session(constants=None))


def test_columns_are_found_by_unit(twin: Twin) -> None:
    assert twin.columns("b", ["3", "1"]).tolist() == [2, 0]
    with pytest.raises(DataError, match="session 'b': this twin has no unit '9'; it has 4"):
        twin.columns("b", ["9"])
    assert isinstance(twin, Predictor)
