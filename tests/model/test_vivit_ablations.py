"""The parts of ViViT that can be exchanged to see what they are worth: block, feedforward and rotary embedding."""

from itertools import product

import pytest
import torch

from visioncore.model.cores.vivit import ViViT, ViViTConfig
from visioncore.model.grid_layers.space import SpaceLayer
from visioncore.model.layers.block import ParallelBlock, SerialBlock
from visioncore.model.layers.rope import axial_rotation, raster_rotation, temporal_rotation
from visioncore.shapes import VideoShape

VIDEO = VideoShape(1, 14, 22)
CHOICES = [
    dict(zip(("block", "feedforward", "rope"), choice, strict=True))
    for choice in product(("parallel", "serial"), ("gelu", "gated"), ("axial", "raster"))
]
every_choice = pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(choice.values()))
INNER, FF, DIM = 16, 32, 16


def build(**changes: object) -> ViViT:
    torch.manual_seed(0)
    return ViViTConfig.tiny().model_copy(update=changes).build(VIDEO)


def space_layer(core: ViViT) -> SpaceLayer:
    layer = core.layers[0]
    assert isinstance(layer, SpaceLayer)
    return layer


def shapes(core: ViViT) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in space_layer(core).blocks[0].named_parameters()}


def test_what_is_not_chosen_is_what_it_was() -> None:
    assert ViViTConfig.tiny() == ViViTConfig.tiny().model_copy(update=CHOICES[0])


def test_the_serial_block_has_two_norms_and_four_projections() -> None:
    assert shapes(build(block="serial")) == {
        "norm.weight": (DIM,),
        "norm.bias": (DIM,),
        "attention_in.weight": (3 * INNER, DIM),
        "attention_in.bias": (3 * INNER,),
        "attention_out.weight": (DIM, INNER),
        "attention_out.bias": (DIM,),
        "ff_norm.weight": (DIM,),
        "ff_norm.bias": (DIM,),
        "ff_in.weight": (FF, DIM),
        "ff_in.bias": (FF,),
        "ff_out.weight": (DIM, FF),
        "ff_out.bias": (DIM,),
    }


def test_a_gated_feedforward_has_as_many_gates_as_hidden_channels() -> None:
    assert shapes(build(feedforward="gated"))["project_in.weight"] == (3 * INNER + 2 * FF, DIM)
    assert shapes(build(feedforward="gated"))["project_out.weight"] == (DIM, INNER + FF)
    serial = shapes(build(block="serial", feedforward="gated"))
    assert (serial["ff_in.weight"], serial["ff_out.weight"]) == ((2 * FF, DIM), (DIM, FF))


@pytest.mark.parametrize("block", ["parallel", "serial"])
def test_a_closed_gate_lets_nothing_of_the_feedforward_through(block: str) -> None:
    space = space_layer(build(block=block, feedforward="gated"))
    transformer = space.blocks[0]
    assert isinstance(transformer, ParallelBlock | SerialBlock)
    layer = transformer.project_in if isinstance(transformer, ParallelBlock) else transformer.ff_in
    tokens = torch.randn(1, 2, 2, 3, DIM)
    values = slice(-FF, None)
    outputs = []
    with torch.no_grad():
        for gate_bias in (0.0, -1e4):
            layer.bias[-2 * FF : -FF] = gate_bias
            outputs.append(space.advance(None, tokens)[0])
            layer.weight[values] *= 3.0
            outputs.append(space.advance(None, tokens)[0])
    open_, open_and_other, closed, closed_and_other = outputs
    assert not torch.allclose(open_, open_and_other)
    assert torch.equal(closed, closed_and_other)


def test_in_a_serial_block_the_feedforward_sees_what_attention_found() -> None:
    """A change at one place reaches another place's feedforward, which is nonlinear: not so side by side."""
    tokens = torch.randn(1, 1, 2, 3, DIM)
    other = tokens.clone()
    other[:, :, 0, 0] += torch.randn(DIM)  # no shift of all alike, which the norm takes away
    at_last_place = {}
    for block in ("parallel", "serial"):
        space = space_layer(build(block=block))
        with torch.no_grad():
            seen: list[torch.Tensor] = []
            space.blocks[0].ff_dropout.register_forward_hook(
                lambda _, inputs, __, seen=seen: seen.append(inputs[0][:, -1])
            )
            space.advance(None, tokens)
            space.advance(None, other)
        at_last_place[block] = torch.equal(*seen)
    assert at_last_place == {"parallel": True, "serial": False}


def test_raster_rotation_knows_a_places_number_and_not_its_row() -> None:
    cpu = torch.device("cpu")
    assert torch.equal(raster_rotation(4, 6, 8, cpu), raster_rotation(3, 8, 8, cpu))
    assert torch.equal(raster_rotation(4, 6, 8, cpu), temporal_rotation(torch.arange(24), 8))
    assert not torch.equal(axial_rotation(4, 6, 8, cpu), axial_rotation(3, 8, 8, cpu))


@every_choice
@pytest.mark.parametrize("window", [3, 64])
def test_fused_and_plain_attention_agree_whatever_is_chosen(choice: dict[str, str], window: int) -> None:
    fused = build(temporal_window=window, **choice).eval()
    plain = build(temporal_window=window, flash_attention=False, **choice).eval()
    plain.load_state_dict(fused.state_dict())
    video = torch.randn(2, 1, 21, VIDEO.height, VIDEO.width)
    with torch.no_grad():
        torch.testing.assert_close(
            fused.advance(None, video)[0], plain.advance(None, video)[0], atol=1e-5, rtol=1e-5
        )


def test_every_choice_gives_other_features() -> None:
    video = torch.randn(1, 1, 8, VIDEO.height, VIDEO.width)
    with torch.no_grad():
        found = [build(**choice).eval().advance(None, video)[0] for choice in CHOICES]
    for i, one in enumerate(found):
        assert all(not torch.allclose(one, other) for other in found[:i])


@every_choice
def test_every_choice_trains(choice: dict[str, str]) -> None:
    core = build(mha_dropout=0.1, ff_dropout=0.1, drop_path=0.1, **choice)
    optimizer = torch.optim.AdamW(core.parameters(), lr=1e-2)
    video = torch.randn(4, 1, 8, VIDEO.height, VIDEO.width)
    target = torch.tensor([-1.0, 1.0, -0.5, 0.5])
    losses = []
    for _ in range(25):
        loss = (core.advance(None, video)[0][:, 0, -1].mean(dim=(1, 2)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
