"""Every member of every union of parts keeps the contracts of a twin (cores and modulators: `tests/contracts/`)."""

from typing import Any, get_args

import pytest
import torch

from part_contracts import SPEC, build, config_with, inputs, require_a_curve, require_contracts
from visioncore.model.adapters import AdapterConfig
from visioncore.model.cores import NoCoreConfig
from visioncore.model.linear import LinearConfig, NoLinearConfig
from visioncore.model.outputs import BaseOutputConfig, OutputConfig
from visioncore.model.readouts import ReadoutConfig


def members(union: Any) -> list[Any]:
    """The tiny members of a union, which is no union where it has only one."""
    kinds = get_args(get_args(union)[0]) or (get_args(union)[0],)
    return [kind.tiny() for kind in kinds]


PARTS = [
    *({"adapter": own} for own in members(AdapterConfig)),
    *({"readout": own} for own in members(ReadoutConfig)),
    *({"linear": own} for own in members(LinearConfig)),
    *({"linear": own, "convnet": NoCoreConfig()} for own in members(LinearConfig) if own != NoLinearConfig()),
    *({"output": own} for own in members(OutputConfig)),
]


@pytest.mark.parametrize(
    "parts", PARTS, ids=lambda parts: " ".join(f"{k}-{v.type}" for k, v in parts.items())
)
def test_a_part_keeps_the_contracts_of_a_twin(parts: dict[str, Any]) -> None:
    require_contracts(config_with(**parts))


@pytest.mark.parametrize("config", members(OutputConfig), ids=lambda config: config.type)
def test_inverse_and_slope_of_an_output_belong_to_its_curve(config: BaseOutputConfig) -> None:
    require_a_curve(config)


def test_behaviour_that_nothing_uses_is_not_asked_for() -> None:
    twin = build(config_with())
    video, behaviour = inputs()
    assert not twin.uses_behaviour
    with torch.no_grad():
        without = twin.rates(video, session="a")
        torch.testing.assert_close(twin.rates(video, behaviour, session="a"), without, equal_nan=True)
    assert twin.spec == SPEC
