"""Attention maps are what blocks attend to; and each check can be failed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from known_cells import CENTRES, SIGMA, Cells, linear_twin, record, vivit_twin
from twins import LAYERED
from visioncore.errors import ConfigError
from visioncore.lab import Rig
from visioncore.lab.attention import (
    AttentionMaps,
    KnownFields,
    attention_maps,
    attention_of,
    has_attention,
    rollout,
)
from visioncore.lab.attention.checks import (
    changes_with_the_weights,
    covered,
    covers_the_field,
    elsewhere,
    lowers_the_prediction,
    masks_of,
)
from visioncore.lab.attention.rollout import BlockAttention, head_maps, randomised
from visioncore.lab.gradients import Moments
from visioncore.model import TwinConfig
from visioncore.model.cores.vivit import ViViT
from visioncore.shapes import FeatureShape

GRID = FeatureShape(4, 3, 5, 2, (0.0, 12.0), (0.0, 20.0))
KNOWN = KnownFields(np.array(CENTRES), np.full(3, SIGMA), "true")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    return record(tmp_path_factory.mktemp("cells"), "white", seconds=200)


def moments_of(cells: Cells, at: int = 5000, n: int = 24) -> Moments:
    session = cells.store.sessions["one"]
    return Moments("one", session.video(at - n, at)[None], None, 10, (at - 1,))


def test_weights_are_those_that_the_plain_path_forms(cells: Cells) -> None:
    twin, moments = vivit_twin(cells.store), moments_of(cells)
    found = attention_of(twin, moments)[0]
    core = twin.trunk.core
    assert isinstance(core, ViViT)
    plain_config = core.config.model_copy(update={"flash_attention": False})
    plain = TwinConfig(sampling_rate=60.0, convnet=plain_config).build(cells.store.spec)
    plain.load_state_dict(twin.state_dict())
    plain_core = plain.eval().trunk.core
    assert isinstance(plain_core, ViViT)
    video = torch.from_numpy(moments.video).transpose(1, 2)
    with torch.no_grad():
        space, time = plain_core.attention_weights(plain.trunk.look(video, None, "one").video)
    assert [block.over for block in found] == ["space", "time", "time"]
    assert [block.registers for block in found] == [2, 0, 0]
    for own, theirs in zip(found, (*space, *time), strict=True):
        torch.testing.assert_close(own.weights, theirs, rtol=1e-4, atol=1e-6)


def test_rollout_of_a_hand_made_example() -> None:
    # Two tokens and two places. Places look only at place 1; the newest token looks only at the one before.
    space = BlockAttention("space", torch.tensor([[0.0, 1.0], [0.0, 1.0]]).expand(2, 1, 2, 2))
    time = BlockAttention("time", torch.tensor([[1.0, 0.0], [1.0, 0.0]]).expand(2, 1, 2, 2))
    mask = torch.tensor([[1.0, 0.0]])
    torch.testing.assert_close(rollout([space, time], mask)[0], torch.tensor([[0.25, 0.25], [0.25, 0.25]]))
    torch.testing.assert_close(
        rollout([space, time], mask, residual=0.0)[0], torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    )
    assert head_maps(space, mask)[0].tolist() == [[0.0, 1.0]]
    assert head_maps(time, mask)[0].tolist() == [[1.0, 0.0]]


def test_rollout_gives_to_the_past_what_it_takes_from_the_present_and_registers_take_the_rest(
    cells: Cells,
) -> None:
    twin = vivit_twin(cells.store)
    readout = twin.placed_readout("one")
    assert readout is not None
    blocks = attention_of(twin, moments_of(cells))[0]
    masks = readout.masks().detach()
    found = rollout(blocks, masks)
    assert (found >= 0).all()
    sums = found.sum((1, 2))
    assert (sums < 1).all()  # two registers
    assert (sums > 0.5).all()
    no_registers = [block for block in blocks if block.over == "time"]
    torch.testing.assert_close(rollout(no_registers, masks).sum((1, 2)), torch.ones(3), rtol=1e-4, atol=1e-4)


def test_layers_in_any_order_are_passed_through(cells: Cells) -> None:
    torch.manual_seed(0)
    twin = TwinConfig(sampling_rate=60.0, convnet=LAYERED).build(cells.store.spec)
    readout = twin.placed_readout("one")
    assert readout is not None
    blocks = attention_of(twin, moments_of(cells))[0]
    assert [block.over for block in blocks] == ["time", "time", "space", "space", "time", "time"]
    found = rollout(blocks, readout.masks().detach())
    assert found.shape[0] == 3
    assert ((found.sum((1, 2)) > 0.3) & (found.sum((1, 2)) < 1)).all()


def test_randomised_weights_are_the_cores_alone(cells: Cells) -> None:
    twin = vivit_twin(cells.store)
    other = randomised(twin, seed=5)
    before, after = twin.state_dict(), other.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert all(name in same for name in before if not name.startswith("trunk.core."))
    changed = {name for name in before if name not in same}
    assert any("project_in.weight" in name for name in changed)


def test_maps_that_do_not_change_with_the_weights_fail() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((6, 40))
    assert changes_with_the_weights("maps", maps, rng.random((6, 40))).passed is True
    assert changes_with_the_weights("maps", maps, maps + 1e-3 * rng.random((6, 40))).passed is False
    assert changes_with_the_weights("maps", np.ones((6, 40)), maps).passed is False


def test_maps_beside_the_known_field_fail() -> None:
    rows, columns = np.mgrid[:3, :5]
    places = np.stack([4 * rows.ravel() + 2.0, 4 * columns.ravel() + 2.0], axis=1)
    fields = KnownFields(np.array([[6.0, 6.0], [6.0, 6.0]]), np.full(2, 2.0), "true")
    inside = np.exp(-((places - (6, 6)) ** 2).sum(1) / 8)[None].repeat(2, 0)
    beside = np.exp(-((places - (6, 18)) ** 2).sum(1) / 8)[None].repeat(2, 0)
    assert covers_the_field("maps", inside, places, fields).passed is True
    assert covers_the_field("maps", beside, places, fields).passed is False
    assert covers_the_field("maps", np.ones_like(inside), places, fields).passed is False
    unknown = KnownFields(np.full((2, 2), np.nan), np.full(2, np.nan), "true")
    assert covers_the_field("maps", inside, places, unknown).passed is None


def test_covering_that_lowers_no_more_than_elsewhere_fails() -> None:
    rng = np.random.default_rng(0)
    rates, away = np.full(20, 10.0), rng.normal(1.0, 0.3, 20)
    assert lowers_the_prediction("maps", rates, away + 3, away, rng).passed is True
    assert lowers_the_prediction("maps", rates, away + rng.normal(0, 0.3, 20), away, rng).passed is False


def test_the_most_attended_places_are_covered_and_as_many_elsewhere() -> None:
    maps = np.arange(60, dtype=float)[None]
    grid = FeatureShape(4, 6, 10, 2, (0.0, 24.0), (0.0, 40.0))
    (chosen,) = masks_of(maps)
    assert np.flatnonzero(chosen).tolist() == [57, 58, 59]
    others = elsewhere(chosen, grid, np.random.default_rng(0))
    assert (others.sum(1) == 3).all()
    assert not (others & chosen).any()
    pixels = np.ones((1, 2, 24, 40), np.float32)
    grey = covered(pixels, chosen, grid, np.array([5.0], np.float32))
    assert (grey[..., 20:, 28:] == 5).all()
    assert (grey == 5).sum() == 2 * 3 * 16


@pytest.fixture(scope="module")
def found(cells: Cells) -> AttentionMaps:
    maps = attention_maps(Rig.of(vivit_twin(cells.store), cells.store), cells.store, KNOWN, moments=2)
    assert maps is not None
    return maps


def test_random_weights_with_units_in_the_middle_fail(cells: Cells) -> None:
    torch.manual_seed(0)
    core = vivit_twin(cells.store).config.convnet
    nothing_set = TwinConfig(sampling_rate=60.0, convnet=core).build(cells.store.spec)
    corner = KnownFields(np.full((3, 2), 1.0), np.full(3, SIGMA), "true")
    maps = attention_maps(
        Rig.of(nothing_set, cells.store), cells.store, corner, moments=2, attributions=False
    )
    assert maps is not None
    assert not maps.believable("rollout")
    assert not maps.believable("attention alone")
    assert any("FAILED" in sentence for sentence in maps.sentences())


def test_maps_are_kept_with_examples(found: AttentionMaps, tmp_path: Path) -> None:
    found.write(tmp_path)
    assert {check.of for check in found.checks} == {"rollout", "attention alone"}
    assert len(found.examples) == 3
    with np.load(tmp_path / "attention.npz") as kept:
        assert kept["rollout"].shape[0] == 3
        assert kept["example_0_integrated_gradients"].shape == found.examples[0].frames.shape
    assert [row["unit_id"] for row in found.rows()] == ["linear", "energy", "none"]


def test_what_has_no_attention_has_no_maps(cells: Cells) -> None:
    twin = linear_twin(cells.store)
    assert not has_attention(twin)
    assert attention_maps(Rig.of(twin, cells.store), cells.store) is None


def test_examples_are_at_the_highest_rates_of_validation(found: AttentionMaps, cells: Cells) -> None:
    session, twin = cells.store.sessions["one"], vivit_twin(cells.store)
    blocks = session.blocks_in("validation")
    rates = {block: twin.predict(session.video(block.start, block.stop), session="one") for block in blocks}
    for unit, one in enumerate(found.examples):
        (own,) = [block for block in blocks if block.start <= one.bin < block.stop]
        everywhere = np.concatenate([each[60:, unit] for each in rates.values()])
        assert rates[own][one.bin - own.start, unit] >= np.quantile(everywhere, 0.99)


def test_a_chosen_moment_is_drawn_and_the_test_split_is_not(cells: Cells) -> None:
    rig, session = Rig.of(vivit_twin(cells.store), cells.store), cells.store.sessions["one"]
    train, test = session.blocks_in("train")[0], session.blocks_in("test")[0]
    at = train.start + 200
    maps = attention_maps(rig, cells.store, KNOWN, moments=2, attributions=False, at=("one", at))
    assert maps is not None
    assert [one.bin for one in maps.examples] == [at] * 3
    np.testing.assert_array_equal(maps.examples[0].frames[-1], session.video(at, at + 1)[0])
    for bad, message in (
        (("two", 5), "no session 'two' is looked at"),
        (("one", test.start + 100), "the test split is not looked at"),
        (("one", train.start), "has no past"),
    ):
        with pytest.raises(ConfigError, match=message):
            attention_maps(rig, cells.store, KNOWN, moments=2, at=bad)
