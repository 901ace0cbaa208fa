"""What is said of representations is true of populations that were made for it."""

from pathlib import Path

import numpy as np
import pytest

from known_cells import Cells, linear_twin, record, vivit_twin
from visioncore.errors import DataError
from visioncore.lab import Rig, look
from visioncore.lab.receptive_fields import receptive_fields
from visioncore.lab.representation import representation
from visioncore.lab.representation.measures import (
    Reading,
    Spectrum,
    alignment,
    alike,
    decodability,
    similarity,
    spectrum,
    thinned_spectrum,
    unit_by_unit,
)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    return record(tmp_path_factory.mktemp("cells"), "natural", seconds=200)


def reading(rng: np.random.Generator, noise: float, lag: int = 0) -> Reading:
    """Two targets: the first is a sum of what units do `lag` bins later, the second nothing that they know."""
    stretches = np.repeat(np.arange(12), 100)
    responses = rng.standard_normal((1200, 8))
    target = np.roll(responses[:, :3].sum(1), -lag) + noise * rng.standard_normal(1200)
    return Reading(responses, np.stack([target, rng.standard_normal(1200)], axis=1), stretches)


@pytest.mark.parametrize("lag", [0, 2])
def test_what_units_say_is_decoded_and_nothing_else(lag: int) -> None:
    rng = np.random.default_rng(0)
    fitted, tested = reading(rng, 0.0, lag), reading(rng, 0.0, lag)
    known, unknown = decodability(fitted, tested, lags=3)
    # The target follows responses in the same bin, so only lag 0 finds it; moved ones are what `lags` is for.
    assert known > 0.98
    assert abs(unknown) < 0.05


def test_noise_of_the_target_bounds_what_is_decoded() -> None:
    rng = np.random.default_rng(1)
    known, _ = decodability(reading(rng, np.sqrt(3.0)), reading(rng, np.sqrt(3.0)), lags=1)
    assert known == pytest.approx(0.5, abs=0.08)


def test_responses_are_not_looked_for_in_another_stretch() -> None:
    own = reading(np.random.default_rng(0), 0.0)
    moved = own.later(2)
    assert len(moved.responses) == 12 * 98
    np.testing.assert_array_equal(moved.responses[0], own.responses[2])
    np.testing.assert_array_equal(moved.targets[0], own.targets[0])


def test_the_slope_of_a_power_law_is_found() -> None:
    assert Spectrum(np.arange(1, 101) ** -1.3).slope == pytest.approx(1.3, abs=1e-6)
    assert Spectrum(np.ones(7)).dimensions == pytest.approx(7)
    assert Spectrum(np.array([1.0, 0, 0, 0])).dimensions == pytest.approx(1)


def test_thinning_takes_out_what_spiking_adds() -> None:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((20_000, 2))
    rates = np.exp(0.5 * shared @ rng.standard_normal((2, 30)) - 1)
    counts = rng.poisson(rates).astype(np.float64)
    truth, naive, thinned = (
        own.dimensions for own in (spectrum(rates), spectrum(counts), thinned_spectrum(counts, rng))
    )
    assert naive > 2 * truth
    assert thinned == pytest.approx(truth, rel=0.25)


def test_a_rotated_population_is_aligned_and_another_is_not() -> None:
    rng = np.random.default_rng(0)
    one = rng.standard_normal((2000, 10)) * np.arange(1, 11)
    turn = np.linalg.qr(rng.standard_normal((10, 10)))[0]
    assert alignment(one, one @ turn) == pytest.approx(1)
    assert alignment(one, rng.standard_normal((2000, 10))) < 0.05


def test_units_that_are_alike_in_both_are_found() -> None:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((3000, 3)) @ rng.standard_normal((3, 12))
    one, other = (shared + 0.3 * rng.standard_normal(shared.shape) for _ in range(2))
    assert alike(similarity(one), similarity(other)) > 0.95
    assert abs(alike(similarity(one), similarity(rng.standard_normal(shared.shape)))) < 0.35
    assert unit_by_unit(one, other).min() > 0.8
    flat = one.copy()
    flat[:, 0] = 1.0
    assert np.isnan(unit_by_unit(flat, other)[0])


def test_a_twin_is_held_against_the_recording_and_another_twin(cells: Cells, tmp_path: Path) -> None:
    twin, other = linear_twin(cells.store), vivit_twin(cells.store)
    rig = Rig.of(twin, cells.store)
    found = representation(rig, cells.store, other=other)
    assert found is not None
    (view,) = found.sessions
    assert set(view.populations) == {"recorded", "twin", "other"}
    assert view.with_recorded[0] > 0.3
    assert np.isnan(view.with_recorded[2])
    assert abs(view.with_recorded[1]) < 0.2 or np.isnan(view.with_recorded[1])
    itself = representation(rig, cells.store, other=twin)
    assert itself is not None
    assert itself.sessions[0].alignment == pytest.approx(1)
    found.write(tmp_path)
    assert (tmp_path / "representation_populations.png").exists()
    assert "The other predictor" in " ".join(found.sentences())


def test_look_says_what_it_leaves_out(cells: Cells) -> None:
    notes: list[str] = []
    rig = Rig.of(linear_twin(cells.store), cells.store)
    found = list(look(rig, cells.store, ("attention", "representation"), note=notes.append))
    assert [analysis.name for analysis in found] == ["representation"]
    assert notes == ["no attention maps: a none core has no attention"]
    assert list(look(rig, None, ("attention", "representation"), note=notes.append)) == []
    assert "name it with --data" in notes[-1]


@pytest.mark.parametrize("block_s", [1.2, 0.8])
def test_a_recording_too_short_for_a_representation_has_the_rest(tmp_path: Path, block_s: float) -> None:
    short = record(tmp_path, "natural", seconds=10 * block_s, block_s=block_s).store
    notes: list[str] = []
    found = list(look(Rig.of(linear_twin(short), short), short, note=notes.append))
    assert [analysis.name for analysis in found] == ["receptive_fields"]
    assert any("no representation: no session has" in note for note in notes)


def test_look_leaves_out_units_that_the_recording_lacks(cells: Cells) -> None:
    notes: list[str] = []
    twin = linear_twin(cells.store)
    more = twin.with_sessions(twin.spec.sessions[0].model_copy(update={"id": "two"}))
    (found,) = look(Rig.of(more, cells.store), cells.store, ("representation",), note=notes.append)
    assert len(found.rows()) == 3
    assert "has no session two: their units are left out" in notes[0]
    with pytest.raises(DataError, match="has no session two"):
        receptive_fields(Rig.of(more, cells.store), cells.store)
