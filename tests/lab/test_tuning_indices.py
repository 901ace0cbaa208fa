"""Indices and fits on curves whose answers are known."""

from collections.abc import Callable

import numpy as np
import pytest

from visioncore.lab.tuning import indices
from visioncore.lab.tuning.fits import fit_direction, half_width_deg
from visioncore.lab.tuning.frequency import FrequencyCurve
from visioncore.lab.tuning.index import Index
from visioncore.lab.tuning.plaids import PlaidTuning
from visioncore.lab.tuning.showing import Window

DEGREES = np.arange(16) * 22.5
RADIANS = np.deg2rad(DEGREES)


def bumps(centre_deg: float, larger: float, smaller: float, kappa: float, floor: float = 0.0) -> np.ndarray:
    away = RADIANS - np.deg2rad(centre_deg)
    return (
        floor
        + larger * np.exp(kappa * (np.cos(away) - 1))
        + smaller * np.exp(kappa * (np.cos(away + np.pi) - 1))
    )


@pytest.mark.parametrize(
    ("curve", "osi_vector", "osi", "dsi_vector", "dsi"),
    [
        # 1 + cos(2 theta): the circular variance is 1/2, nothing across, both directions alike.
        (1 + np.cos(2 * RADIANS), 0.5, 1.0, 0.0, 0.0),
        # 1 + cos(theta): no orientation in the vector sum; across is half, opposite is nothing.
        (1 + np.cos(RADIANS), 0.0, 1 / 3, 0.5, 1.0),
        (np.ones(16), 0.0, 0.0, 0.0, 0.0),
        # One direction alone.
        (np.eye(16)[4], 1.0, 1.0, 1.0, 1.0),
        # 3 at 0, 1 at 180 degrees, 1 at 90, nothing at 270.
        (
            np.where(np.arange(16) == 0, 3.0, np.isin(np.arange(16), (4, 8)) * 1.0),
            3 / 5,
            (3 - 0.5) / 3.5,
            np.hypot(2, 1) / 5,
            0.5,
        ),
    ],
    ids=["orientation", "direction", "flat", "one direction", "by hand"],
)
def test_selectivity_has_its_published_values(
    curve: np.ndarray, osi_vector: float, osi: float, dsi_vector: float, dsi: float
) -> None:
    for turned in (0, 3, 11):  # nothing depends on where the preferred direction is
        responses = np.roll(curve, turned)[None]
        found = [
            abs(indices.vector_orientation(responses, DEGREES)[0]),
            indices.orientation_selectivity(responses, DEGREES)[0],
            abs(indices.vector_direction(responses, DEGREES)[0]),
            indices.direction_selectivity(responses, DEGREES)[0],
        ]
        np.testing.assert_allclose(found, [osi_vector, osi, dsi_vector, dsi], atol=1e-12)


@pytest.mark.parametrize("centre", [0.0, 37.0, 181.0, 355.0])
@pytest.mark.parametrize(("smaller", "kappa"), [(0.3, 2.0), (0.9, 6.0), (0.0, 1.0)])
def test_the_direction_fit_finds_centre_and_half_width(centre: float, smaller: float, kappa: float) -> None:
    curve = 7 * bumps(centre, 1.0, smaller, kappa, floor=0.1)
    fits = fit_direction(DEGREES, curve[None], np.array([centre + 12]))
    assert fits.r2[0] > 0.999
    assert abs((np.rad2deg(fits[4][0]) - centre + 180) % 360 - 180) < 0.5
    # Half a von Mises bump's height: cos(x) = 1 - ln(2) / kappa.
    np.testing.assert_allclose(half_width_deg(fits), np.rad2deg(np.arccos(1 - np.log(2) / kappa)), rtol=0.02)
    np.testing.assert_allclose(fits.at(0, DEGREES), curve, atol=0.02)


def test_a_broad_curve_has_no_half_width_and_a_flat_one_no_fit() -> None:
    broad = fit_direction(DEGREES, bumps(90, 1.0, 0.0, 0.3)[None], np.array([90.0]))
    assert np.isnan(half_width_deg(broad)[0])
    flat = fit_direction(DEGREES, np.full((1, 16), 3.0), np.array([0.0]))
    assert np.isnan(flat.r2[0])
    assert flat.poor[0]


OCTAVES = np.arange(-1, 3, 0.5)


def curve_of(shape: Callable[[np.ndarray], np.ndarray], silent: bool = False) -> FrequencyCurve:
    return FrequencyCurve(2**OCTAVES, shape(OCTAVES)[None], np.array([silent]), "silent")


def test_a_frequency_is_preferred_where_the_curve_peaks_and_its_bandwidth_is_at_half_height() -> None:
    curve = curve_of(lambda o: 4 * np.exp(-((o - 0.7) ** 2) / (2 * 0.5**2)))
    assert curve.preferred.values[0] == pytest.approx(2**0.7, rel=1e-3)
    assert curve.bandwidth.values[0] == pytest.approx(2 * 0.5 * np.sqrt(2 * np.log(2)), rel=1e-3)

    # Broader towards low frequencies; where it is half as high is found on a fine grid.
    def skewed(o: np.ndarray) -> np.ndarray:
        return np.exp(-((o - 0.7) ** 2) / (2 * (0.5 - 0.2 * (o - 0.7)) ** 2))

    fine = np.linspace(-1, 2.5, 35001)
    high = fine[skewed(fine) >= 0.5]
    curve = curve_of(skewed)
    assert curve.preferred.values[0] == pytest.approx(2**0.7, rel=1e-3)
    assert curve.bandwidth.values[0] == pytest.approx(high[-1] - high[0], rel=2e-3)


def test_what_a_frequency_curve_does_not_tell_is_undefined_and_says_why() -> None:
    low = curve_of(lambda o: np.exp(-((o + 0.8) ** 2) / 2))
    assert low.preferred.why == ("",)
    assert "low-pass" in low.bandwidth.why[0]
    falling = curve_of(lambda o: np.exp(-((o + 2) ** 2) / 4))
    assert "at or below the lowest" in falling.preferred.why[0]
    rising = curve_of(lambda o: np.exp(-((o - 4) ** 2) / 4))
    assert "at or above the highest" in rising.preferred.why[0]
    assert "high-pass" in rising.bandwidth.why[0]
    ragged = curve_of(lambda o: np.tile([0.0, 1.0], 4))
    assert "R² under 0.6" in ragged.preferred.why[0]
    assert ragged.r2.why == ("",)
    assert curve_of(np.ones_like, silent=True).preferred.why == ("silent",)
    assert "nothing to fit" in curve_of(np.ones_like).preferred.why[0]
    few = FrequencyCurve(np.array([1.0, 2.0, 4.0]), np.array([[1.0, 3.0, 1.0]]), np.array([False]), "silent")
    assert "too few" in few.preferred.why[0]


@pytest.mark.parametrize(("rate_hz", "hz"), [(240.0, 4.0), (60.0, 8.0), (30.0, 2.83), (25.0, 4.0)])
def test_mean_and_modulation_of_a_sinusoid_are_its_own_whatever_comes_first(
    rate_hz: float, hz: float
) -> None:
    window = Window.of(rate_hz, hz, 0.25, 0.5)
    assert window.n_frames >= 0.5 * rate_hz - 1
    shown = window.frequency_hz(rate_hz)
    assert shown == pytest.approx(hz, rel=0.05)
    time = np.arange(window.shown) / rate_hz
    rates = 5 + 3 * np.cos(2 * np.pi * shown * time + 0.7)
    rates[: window.skipped] = 99
    found = window.mean_and_modulation(rates[None, :, None].astype(np.float32))
    np.testing.assert_allclose(found[0, :, 0], [5, 3], rtol=1e-5)
    # A half-wave rectified one, as of a simple cell without spikes at rest: pi / 2.
    rectified = np.maximum(np.cos(2 * np.pi * shown * time), 0)[None, :, None]
    mean, modulation = window.mean_and_modulation(rectified.astype(np.float32))[0, :, 0]
    assert modulation / mean == pytest.approx(np.pi / 2, rel=0.05)


def test_partial_correlations_of_plaids_are_as_published() -> None:
    rng = np.random.default_rng(0)
    none = np.zeros(3, bool)
    gratings = np.tile(rng.uniform(0, 1, 12), (3, 1))
    components = np.array([[own[(k - 2) % 12] + own[(k + 2) % 12] for k in range(12)] for own in gratings])
    plaids = np.stack([gratings[0], components[1], gratings[2] + components[2] + rng.normal(0, 0.3, 12)])
    found = PlaidTuning(np.arange(12) * 30.0, gratings, plaids, none, none)
    np.testing.assert_allclose(found.by_components, components)
    assert found.kinds[:2] == ("pattern", "component")
    assert found.indices["pattern_index"].values[0] > 5
    assert found.indices["pattern_index"].values[1] < -5
    # Of the third: correlate what is left of both after the other prediction has been taken out.
    for name, mine, other in (("pattern_z", gratings, components), ("component_z", components, gratings)):
        left = []
        for values in (plaids[2], mine[2]):
            weights = np.stack([np.ones(12), other[2]], axis=1)
            left.append(values - weights @ np.linalg.lstsq(weights, values, rcond=None)[0])
        expected = np.arctanh(np.corrcoef(*left)[0, 1]) * np.sqrt(12 - 3)
        assert found.indices[name].values[2] == pytest.approx(expected, rel=1e-6)
    same = PlaidTuning(np.arange(12) * 30.0, np.ones((1, 12)), np.ones((1, 12)), none[:1], none[:1])
    assert "alike in all directions" in same.indices["pattern_index"].why[0]
    assert same.kinds == (None,)


def test_an_index_counts_what_is_undefined_by_the_first_reason_that_holds() -> None:
    index = Index.of(
        np.array([1.0, 2.0, 3.0, np.inf, 5.0]),
        (np.array([True, False, False, False, False]), "silent"),
        (np.array([True, True, False, False, False]), "flat"),
    )
    assert index.why == ("silent", "flat", "", "it is not a finite number", "")
    assert index.undefined == {"silent": 1, "flat": 1, "it is not a finite number": 1}
    assert index.median == 4.0
    assert index.written(0) is None
    assert index.to_json()["units"] == 2
    nothing = Index.of(np.array([np.nan]))
    assert (nothing.median, nothing.quartiles) == (None, None)
