"""Every part of the battery on made-up cells whose answer can be worked out without it."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest

from planted import HEIGHT, RATE_HZ, WIDTH, rig_of
from visioncore.lab import Battery, Rig, tune
from visioncore.lab.tuning.bars import show_bars
from visioncore.lab.tuning.centres import Centres
from visioncore.lab.tuning.contrasts import show_contrasts
from visioncore.lab.tuning.flashes import show_flashes
from visioncore.lab.tuning.gabors import show_gabors
from visioncore.lab.tuning.gratings import GratingTuning, show_gratings
from visioncore.lab.tuning.measured import Rest
from visioncore.lab.tuning.plaids import show_plaids
from visioncore.lab.tuning.showing import untold
from visioncore.lab.tuning.sizes import diameters_px, show_sizes
from visioncore.lab.tuning.spots import show_spots

BATTERY = Battery(directions=4, seconds=0.25)
ROWS, COLUMNS = np.arange(HEIGHT)[:, None] + 0.5, np.arange(WIDTH)[None, :] + 0.5
Cells = Callable[[np.ndarray], np.ndarray]
"""From contrast (time, height, width) to spikes per second (time, units)."""


def rig_with(cells: Cells, n_units: int = 1) -> Rig:
    def script(session: str, video: np.ndarray, behaviour: object) -> np.ndarray:
        return cells(video[:, 0].astype(np.float64) / 127 - 1) / RATE_HZ

    return rig_of(script, n_units)


def gratings_of(rig: Rig, battery: Battery = BATTERY) -> GratingTuning:
    return show_gratings(rig, battery, Rest.of(rig), untold)


def around(row: float, column: float, sd: float) -> np.ndarray:
    """A Gaussian window of sum 1."""
    window = np.exp(-((ROWS - row) ** 2 + (COLUMNS - column) ** 2) / (2 * sd**2))
    return window / window.sum()


@pytest.mark.parametrize(("c50", "exponent"), [(0.15, 2.0), (0.4, 3.0), (0.08, 1.2)])
def test_contrast_response_is_the_cells_own(c50: float, exponent: float) -> None:
    def cells(contrast: np.ndarray) -> np.ndarray:
        c = np.ptp(contrast, axis=(1, 2)) / 2
        return (4 + 60 * c**exponent / (c**exponent + c50**exponent))[:, None]

    rig = rig_with(cells)
    found = show_contrasts(rig, BATTERY, gratings_of(rig), untold).indices
    assert found["contrast_c50"].values[0] == pytest.approx(c50, rel=0.06)
    assert found["contrast_exponent"].values[0] == pytest.approx(exponent, rel=0.1)
    assert found["contrast_rmax"].values[0] == pytest.approx(60, rel=0.06)
    # The resting rate has been subtracted.
    assert found["contrast_baseline"].values[0] == pytest.approx(0, abs=1)


def test_a_response_that_only_grows_with_contrast_has_no_c50() -> None:
    rig = rig_with(lambda contrast: (50 * np.ptp(contrast, axis=(1, 2)) ** 2)[:, None])
    found = show_contrasts(rig, BATTERY, gratings_of(rig), untold).indices
    assert "no half of its saturation" in found["contrast_c50"].why[0]
    assert found["contrast_r2"].values[0] > 0.99


def test_the_resting_rate_is_no_response() -> None:
    """Both cells look at one direction of modulation alone, and fire at 20 spikes per second on grey."""
    window = around(HEIGHT / 2, WIDTH / 2, 5.0) * np.exp(-2j * np.pi / 8 * COLUMNS)

    def cells(contrast: np.ndarray) -> np.ndarray:
        wave = np.einsum("thw,hw->t", contrast, window)
        return 20 + 100 * np.stack([np.maximum(wave.real, 0), np.abs(wave)], axis=1)

    found = gratings_of(rig_with(cells, 2)).indices
    np.testing.assert_allclose(found["resting_rate"].values, 20, atol=0.2)
    # A half-rectified sinusoid's F1 over its mean; the other one's response does not follow the grating.
    assert found["f1_f0"].values[0] == pytest.approx(np.pi / 2, rel=0.05)
    assert found["f1_f0"].values[1] < 0.1
    for name in ("osi", "osi_vector"):
        assert found[name].values == pytest.approx([1, 1], abs=0.05)
    # Half the contrast of 0.5, and half of that again is the rectified one's F1.
    assert found["peak_response"].values == pytest.approx([12.5, 25], rel=0.06)


CENTRE, SD, SURROUND_SD = (11.0, 17.0), 2.0, 5.0


@pytest.mark.parametrize("suppression", [0.0, 30.0])
def test_size_tuning_is_that_of_a_centre_divided_by_its_surround(suppression: float) -> None:
    centre, surround = around(*CENTRE, SD), around(*CENTRE, SURROUND_SD)

    def cells(contrast: np.ndarray) -> np.ndarray:
        energy = contrast**2
        pools = [(energy * window).sum((1, 2)) for window in (centre, surround)]
        return (200 * pools[0] / (0.3 + suppression * pools[1]))[:, None]

    rig = rig_with(cells)
    gratings = gratings_of(rig)
    spots, gabors = show_spots(rig, Rest.of(rig), untold), show_gabors(rig, BATTERY, 0.5, untold)
    centres = Centres.of(rig, spots, gabors)
    assert centres.told_by == ("spots",)
    np.testing.assert_allclose(centres.centre_px[0], CENTRE, atol=0.3)
    found = show_sizes(rig, BATTERY, gratings, centres, untold)

    # A disc holds 1 - exp(-r² / 2 sd²) of a round Gaussian, and a grating of contrast 0.5 has an energy of 1/8.
    smallest, largest = diameters_px(rig.display, 2)
    diameters = np.geomspace(smallest, largest, 2000)
    in_centre, in_surround = (1 - np.exp(-(diameters**2) / (8 * sd**2)) for sd in (SD, SURROUND_SD))
    curve = in_centre / (0.3 + suppression * in_surround / 8)
    expected = diameters[np.argmax(curve >= 0.95 * curve.max())] * rig.display.unit_per_px
    assert found.indices["summation_diameter_deg"].values[0] == pytest.approx(expected, rel=0.12)
    index = (curve.max() - curve[-1]) / curve.max()
    assert found.indices["suppression_index"].values[0] == pytest.approx(index, abs=0.06)
    if suppression:
        assert index > 0.4
    # A ring whose hole holds 95 % of the centre drives it no more than a twentieth as well; a surround helps.
    hole = found.indices["ring_hole_deg"].values[0] / rig.display.unit_per_px
    assert 2 * SD < hole < 6 * SD


def test_where_nothing_tells_a_place_no_discs_are_shown() -> None:
    rig = rig_with(lambda contrast: (50 * np.ptp(contrast, axis=(1, 2)))[:, None])
    spots, gabors = show_spots(rig, Rest.of(rig), untold), show_gabors(rig, BATTERY, 0.5, untold)
    centres = Centres.of(rig, spots, gabors)
    assert centres.counts == {"nothing": 1}
    sizes = show_sizes(rig, BATTERY, gratings_of(rig), centres, untold)
    for name in ("summation_diameter_deg", "suppression_index", "size_r2"):
        assert sizes.indices[name].why == ("neither spots nor Gabor noise nor a readout tell where it looks",)


PERIOD_PX, PREFERRED_DEG = 8.0, 90.0
CHANNELS_DEG = np.arange(12) * 30.0


def movement(contrast: np.ndarray) -> np.ndarray:
    """How much of a grating of each of 12 directions there is that moves, (time, directions)."""
    window = around(HEIGHT / 2, WIDTH / 2, 6.0)
    found = []
    for angle in np.deg2rad(CHANNELS_DEG):
        phase = 2 * np.pi / PERIOD_PX * (COLUMNS * np.cos(angle) - ROWS * np.sin(angle))
        wave = np.einsum("thw,hw->t", contrast, window * np.exp(-1j * phase))
        turned = np.imag(np.conj(wave[1:]) * wave[:-1])
        found.append(np.concatenate([[0.0], np.sqrt(np.maximum(turned, 0))]))
    return np.stack(found, axis=1)


def test_a_sum_over_directions_is_a_pattern_cell_and_one_direction_a_component_cell() -> None:
    toward = np.cos(np.deg2rad(CHANNELS_DEG - PREFERRED_DEG))

    def cells(contrast: np.ndarray) -> np.ndarray:
        channels = movement(contrast)
        pattern = np.maximum(channels @ toward, 0)
        component = channels[:, int(PREFERRED_DEG // 30)]
        return 400 * np.stack([pattern, component], axis=1)

    rig = rig_with(cells, 2)
    plaids = show_plaids(rig, BATTERY, gratings_of(rig), untold)
    assert plaids.kinds == ("pattern", "component")
    assert plaids.indices["pattern_index"].values[0] > 2
    assert plaids.indices["pattern_index"].values[1] < -2
    # A grating's direction is what both prefer; a component cell has two peaks for plaids, 60 degrees beside it.
    assert plaids.directions_deg[plaids.gratings.argmax(1)].tolist() == [90, 90]
    assert set(plaids.directions_deg[np.argsort(plaids.plaids[1])[-2:]]) == {30, 150}


DELAY, DECAY = 4, 6.0
"""Frames."""


def late_change(light: np.ndarray) -> np.ndarray:
    """What remains of changes of light, which fade, some frames later."""
    slow, found = 0.0, np.zeros(len(light))
    for t, value in enumerate(light):
        slow += (value - slow) / DECAY
        found[t] = value - slow
    return np.concatenate([np.zeros(DELAY), found[:-DELAY]])


def test_flashes_tell_polarity_latency_and_how_transient_a_response_is() -> None:
    def cells(contrast: np.ndarray) -> np.ndarray:
        light = contrast.mean((1, 2))
        change = late_change(light)
        steady = np.concatenate([np.zeros(DELAY), light[:-DELAY]])
        # Some bins of each token of four are higher than others, which is no response.
        ripple = 3.0 * (np.arange(len(light)) % 4 == 0)
        off, on_sustained = np.maximum(-40 * change, 0), np.maximum(20 * steady, 0)
        return np.stack([5 + off + ripple, 5 + on_sustained + ripple, 5 + ripple], axis=1)

    rig = rig_with(cells, 3)
    found = show_flashes(rig, Rest.of(rig), untold).indices
    np.testing.assert_allclose(found["flash_on_off"].values, [-1, 1, np.nan], atol=0.02)
    np.testing.assert_allclose(found["flash_transience"].values, [1, 0, np.nan], atol=0.05)
    expected = 1000 * DELAY / RATE_HZ
    np.testing.assert_allclose(found["flash_latency_ms"].values, [expected, expected, np.nan], atol=2)
    assert found["flash_latency_ms"].why[2] == "no response to flashes above rest"


def test_bars_tell_polarity_and_direction() -> None:
    places = [around(12, column, 1.5) for column in (14, 17)]

    def cells(contrast: np.ndarray) -> np.ndarray:
        left, right = (np.maximum((contrast * window).sum((1, 2)), 0) for window in places)
        left_before, right_before = (np.concatenate([np.zeros(3), own[:-3]]) for own in (left, right))
        rightwards = np.maximum(left_before * right - right_before * left, 0)
        dark = np.maximum(-(contrast * places[1]).sum((1, 2)), 0)
        return 3 + 50 * np.stack([rightwards, dark], axis=1)

    rig = rig_with(cells, 2)
    bars = show_bars(rig, Rest.of(rig), gratings_of(rig, Battery(directions=8, seconds=0.25)), untold)
    assert bars.indices["bar_on_off"].values == pytest.approx([1, -1], abs=0.05)
    preferred, dsi = (bars.indices[name] for name in ("bar_preferred_direction_deg", "bar_dsi"))
    assert (preferred.values[0] + 180) % 360 - 180 == pytest.approx(0, abs=5)
    assert dsi.values[0] > 0.9
    # The other one is driven by a bar of any direction.
    assert dsi.values[1] < 0.05


def test_gabor_noise_tells_place_and_orientation() -> None:
    window = around(9, 20, 2.5)
    phases = [2 * np.pi / 7 * (COLUMNS * np.cos(a) - ROWS * np.sin(a)) for a in np.deg2rad([30.0, 120.0])]

    def cells(contrast: np.ndarray) -> np.ndarray:
        waves = [np.einsum("thw,hw->t", contrast, window * np.exp(-1j * phase)) for phase in phases]
        energies = [np.abs(wave) for wave in waves]
        return 100 * np.stack([*energies, np.full(len(contrast), 0.1)], axis=1)

    found = show_gabors(rig_with(cells, 3), BATTERY, 0.5, untold)
    np.testing.assert_allclose(found.centre_px[:2], [[9, 20]] * 2, atol=1.5)
    angles = found.indices["gabor_preferred_orientation_deg"]
    assert angles.values[:2] == pytest.approx([30, 120], abs=8)
    assert angles.why[2] == "Gabors drive it alike wherever they are"


@pytest.mark.parametrize("kind", ["counts", "trace"])
def test_whatever_units_do_an_index_is_a_number_or_says_why_not(kind: Literal["counts", "trace"]) -> None:
    """Units that answer at random, one that stays below 0, one that never changes."""

    def script(session: str, video: np.ndarray, behaviour: object) -> np.ndarray:
        seeds = video.reshape(len(video), -1).astype(np.int64) @ (np.arange(HEIGHT * WIDTH) % 97 + 1)
        noise = np.stack([((seeds * k) % 1009) / 1009 for k in (7, 31, 101)], axis=1)
        rates = np.concatenate([noise, -noise[:, :1] - 1, np.full_like(noise[:, :1], 0.3)], axis=1)
        return np.maximum(rates, 0) if kind == "counts" else rates

    rig = rig_of(script, 5, kind)
    tuning = tune(rig, battery=Battery(directions=4, seconds=0.25, gabor_flashes=100))
    assert tuning.rest.unit == ("spikes/s" if kind == "counts" else "response")
    for name, index in tuning.indices.items():
        for unit, (value, why) in enumerate(zip(index.values, index.why, strict=True)):
            assert np.isfinite(value) != bool(why), (name, unit)
        if name not in ("resting_rate", "peak_response"):
            assert index.why[4], name
    assert len(tuning.sentences()) >= 4
    assert {len(column) for column in tuning.table().values()} == {5}
