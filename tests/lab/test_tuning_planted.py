"""The battery finds the tuning of cells that have a known one."""

import numpy as np
import pytest
import torch

from planted import DEGREES_PER_PIXEL, RATE_HZ, planted_cells, rig_of
from visioncore.lab import Battery, Rig, Tuning, tune
from visioncore.lab.tuning.gratings import show_gratings
from visioncore.lab.tuning.measured import Rest
from visioncore.lab.tuning.showing import untold
from visioncore.lab.tuning.truth import apart
from visioncore.model import TwinConfig
from visioncore.model.cores import ViViTConfig
from visioncore.model.linear import NoLinearConfig
from visioncore.model.modulators import NoModulatorConfig
from visioncore.model.readouts import GaussianReadoutConfig
from visioncore.simulation.cells import Population

Found = tuple[Tuning, Population]


@pytest.fixture(scope="module")
def found() -> Found:
    rig, cells = planted_cells(n_units=12)
    return tune(rig, battery=Battery(seconds=0.25)), cells


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


def test_every_part_agrees_with_the_cells(found: Found) -> None:
    tuning, cells = found
    moving = np.array(cells.cell_class) == "direction_selective"
    bars = tuning.indices["bar_preferred_direction_deg"].values
    assert np.median(apart(bars, cells.orientation_deg % 180, 180)) < 5
    assert np.max(apart(bars, cells.orientation_deg % 360, 360)[moving]) < 20
    gabors = tuning.indices["gabor_preferred_orientation_deg"].values
    assert np.isfinite(gabors).sum() > len(gabors) / 2
    assert np.nanmedian(apart(gabors, cells.orientation_deg % 180, 180)) < 15
    places = np.stack([cells.row_px, cells.column_px], axis=1)
    assert np.median(np.linalg.norm(tuning.spots.centre_px - places, axis=1)) < 0.3
    assert tuning.sizes.centres.counts == {"spots": 12}
    # The cells' windows are known: half of a Gabor's envelope, and a pool half as wide again that divides.
    size = tuning.indices["summation_diameter_deg"].values / DEGREES_PER_PIXEL / cells.sigma_px
    assert np.all((size > 2) & (size < 5))
    assert "pattern" not in tuning.plaids.kinds
    assert tuning.plaids.kinds.count("component") > 6
    # Gabors without a mean do not see light and dark.
    assert tuning.indices["flash_on_off"].undefined == {"no response to flashes above rest": 12}


def test_units_without_tuning_are_counted_and_have_no_preference() -> None:
    """One that nothing moves, one that light of any kind moves alike, one that stimuli only silence."""

    def rates(session: str, video: np.ndarray, behaviour: object) -> np.ndarray:
        contrast = video[:, 0].astype(np.float64).std((1, 2)) / 127
        return np.stack([np.full(len(video), 0.1), 0.1 + contrast, 0.5 - 0.5 * contrast], axis=1)

    tuning = tune(rig_of(rates, 3), battery=Battery(directions=4, seconds=0.25))
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


def test_in_a_mirrored_world_directions_are_mirrored_and_nothing_else_changes() -> None:
    rig, cells = planted_cells(n_units=3)

    def mirrored(session: str, video: np.ndarray, behaviour: object) -> np.ndarray:
        return cells.rates(video[None, :, 0, :, ::-1], np.zeros((1, len(video), 2)))[0]

    battery = Battery(directions=8, seconds=0.25)
    straight, turned = (
        show_gratings(own, battery, Rest.of(own), untold) for own in (rig, rig_of(mirrored, 3))
    )
    before, after = (each.preferred_direction.values for each in (straight, turned))
    moving = np.array(cells.cell_class) == "direction_selective"
    assert np.all(apart(after, 180 - before, 360)[moving] < 1)
    assert np.all(apart(after, 180 - before, 180) < 1)
    # The response to 180 degrees less a direction is what that to the direction was.
    mirrored_axis = (4 - np.arange(8)) % 8
    peak = straight.mean.max((1, 2, 3), keepdims=True)
    assert np.max(np.abs(turned.mean[:, mirrored_axis] - straight.mean) / peak) < 0.05


def test_a_twin_with_random_weights_and_nothing_from_data_has_preferences_at_chance() -> None:
    rig, cells = planted_cells(n_units=50)
    config = TwinConfig(
        sampling_rate=RATE_HZ,
        convnet=ViViTConfig.tiny(),
        modulator=NoModulatorConfig(),
        readout=GaussianReadoutConfig.tiny(),
        linear=NoLinearConfig(),
    )
    torch.manual_seed(0)
    twin = config.build(rig.predictor.spec).eval()
    random = Rig(twin, rig.display)
    found = show_gratings(random, Battery(directions=8, seconds=0.25), Rest.of(random), untold)
    errors = apart(found.preferred_direction.values, cells.orientation_deg, 180)
    assert np.isfinite(errors).sum() > 30
    assert np.nanmedian(errors) > 35
