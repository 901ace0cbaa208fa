"""The battery finds the tuning of cells that have a known one."""

import numpy as np
import pytest

from planted import DEGREES_PER_PIXEL, planted_cells, rig_of
from visioncore.lab import Battery, Tuning, tune
from visioncore.lab.tuning.truth import apart
from visioncore.simulation.cells import Population

Found = tuple[Tuning, Population]


@pytest.fixture(scope="module")
def found() -> Found:
    rig, cells = planted_cells()
    return tune(rig), cells


def test_preferences_are_those_of_the_cells(found: Found) -> None:
    tuning, cells = found
    orientation = tuning.indices["preferred_orientation_deg"].values
    assert np.median(apart(orientation, cells.orientation_deg % 180, 180)) < 1
    moving = np.array(cells.cell_class) == "direction_selective"
    direction = tuning.indices["preferred_direction_deg"].values
    assert np.mean(apart(direction, cells.orientation_deg % 360, 360)[moving] < 10) >= 0.9
    assert np.min(tuning.indices["dsi"].values[moving]) > np.max(tuning.indices["dsi"].values[~moving]) + 0.2
    spatial = tuning.indices["preferred_spatial_frequency_cycles_per_deg"].values
    assert np.median(np.abs(np.log2(spatial * DEGREES_PER_PIXEL * cells.period_px))) < 0.05


def test_simple_cells_follow_the_grating_and_complex_cells_do_not(found: Found) -> None:
    tuning, cells = found
    ratio, kinds = tuning.indices["f1_f0"].values, np.array(cells.cell_class)
    assert np.min(ratio[kinds == "simple"]) > 1
    assert np.max(ratio[kinds == "complex"]) < 1
    np.testing.assert_array_equal(tuning.gratings.modulated, kinds == "simple")


def test_units_without_tuning_are_counted_and_have_no_preference() -> None:
    """One that nothing moves, one that light of any kind moves alike, one that stimuli only silence."""

    def rates(session: str, video: np.ndarray, behaviour: object) -> np.ndarray:
        contrast = video[:, 0].astype(np.float64).std((1, 2)) / 127
        return np.stack([np.full(len(video), 0.1), 0.1 + contrast, 0.5 - 0.5 * contrast], axis=1)

    tuning = tune(rig_of(rates, 3), battery=Battery(directions=8))
    assert tuning.gratings.silent.tolist() == [True, False, True]
    preferred, osi = tuning.indices["preferred_direction_deg"], tuning.indices["osi"]
    assert preferred.why == (
        "no response to gratings above rest",
        "it answers all directions alike",
        "no response to gratings above rest",
    )
    assert osi.defined.tolist() == [False, True, False]
    assert osi.values[1] < 0.02
    row = tuning.rows()[0]
    assert row["osi"] is None
    assert "osi: no response to gratings above rest" in row["undefined"]
    assert tuning.facts()["indices"]["osi"]["undefined"] == {"no response to gratings above rest": 2}
    assert any("2 units do not answer" in sentence for sentence in tuning.sentences())


def test_a_turned_world_turns_preferences_and_nothing_else() -> None:
    """Cells that see the picture mirrored left to right prefer 180 degrees less what they preferred."""
    rig, cells = planted_cells(n_units=6)

    def mirrored(session: str, video: np.ndarray, behaviour: object) -> np.ndarray:
        return cells.rates(video[None, :, 0, :, ::-1], np.zeros((1, len(video), 2)))[0]

    straight, turned = tune(rig), tune(rig_of(mirrored, 6))
    directions = [each.indices["preferred_direction_deg"].values for each in (straight, turned)]
    moving = np.array(cells.cell_class) == "direction_selective"
    assert np.all(apart(directions[1], 180 - directions[0], 360)[moving] < 1)
    assert np.all(apart(directions[1], 180 - directions[0], 180) < 1)
    # The response to 180 degrees less a direction is what that to the direction was.
    mirrored_axis = (8 - np.arange(16)) % 16
    before, after = straight.gratings.mean, turned.gratings.mean
    peak = before.max((1, 2, 3), keepdims=True)
    assert np.max(np.abs(after[:, mirrored_axis] - before) / peak) < 0.05
