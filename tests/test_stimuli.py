import numpy as np
import pytest

from visioncore.stimuli import (
    GREY,
    dead_leaves,
    drifting_grating,
    gabor_pair,
    gabor_texture,
    to_uint8,
    wave_vector,
)


def test_zero_contrast_is_mean_grey_and_what_lies_outside_saturates() -> None:
    assert to_uint8(np.array([-2.0, -1.0, 0.0, 1.0, 2.0])).tolist() == [0, 0, GREY, 2 * GREY, 2 * GREY]


@pytest.mark.parametrize("orientation_deg", [0.0, 37.0, 90.0, 200.0])
def test_a_gabor_pair_ignores_uniform_fields_and_is_in_quadrature(orientation_deg: float) -> None:
    even, odd = gabor_pair(
        36, 64, row_px=18.0, column_px=30.0, sigma_px=3.0, orientation_deg=orientation_deg, period_px=8.0
    )
    assert abs(even.sum()) < 1e-9
    assert abs(odd.sum()) < 1e-9
    assert abs((even * odd).sum()) < 1e-9 * (even**2).sum()
    assert (even**2).sum() == pytest.approx((odd**2).sum(), rel=0.05)


def test_a_gabor_lies_where_it_was_asked_for_when_the_field_is_not_square() -> None:
    even, odd = gabor_pair(
        36, 64, row_px=11.5, column_px=40.5, sigma_px=3.0, orientation_deg=20.0, period_px=9.0
    )
    assert np.argmax(even**2 + odd**2) == 11 * 64 + 40


@pytest.mark.parametrize(
    ("direction_deg", "axis", "step"), [(0.0, 2, 1), (90.0, 1, -1), (180.0, 2, -1), (270.0, 1, 1)]
)
def test_a_grating_drifts_in_its_direction(direction_deg: float, axis: int, step: int) -> None:
    still = np.zeros(3)
    frames = drifting_grating(
        still,
        still,
        36,
        64,
        orientation_deg=direction_deg,
        period_px=8.0,
        phase=2 * np.pi * np.arange(3) / 8,
        contrast=0.5,
    )
    moved = np.roll(frames[0], step, axis=axis - 1)
    inside = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(frames[1][inside], moved[inside], atol=1e-6)


def test_a_shift_moves_a_grating_down_and_right() -> None:
    shifts = np.array([0.0, 1.0])
    frames = drifting_grating(
        shifts, 2 * shifts, 20, 28, orientation_deg=30.0, period_px=7.0, phase=np.zeros(2), contrast=1.0
    )
    np.testing.assert_allclose(frames[1][1:, 2:], frames[0][:-1, :-2], atol=1e-6)


def test_the_wave_vector_of_ninety_degrees_points_up() -> None:
    rows, columns = wave_vector(90.0, 10.0)
    assert rows == pytest.approx(-2 * np.pi / 10)
    assert columns == pytest.approx(0, abs=1e-12)


def test_random_stimuli_are_functions_of_their_generator() -> None:
    def both(seed: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        return (
            gabor_texture(40, 60, gabors_per_px=0.01, contrast=0.3, generator=generator),
            dead_leaves(40, 60, radius_px=(2.0, 20.0), generator=generator),
        )

    for first, again, other in zip(both(1), both(1), both(2), strict=True):
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_dead_leaves_have_the_steep_spectrum_of_natural_images() -> None:
    generator = np.random.default_rng(0)
    power = np.zeros((128, 128))
    for _ in range(4):
        image = dead_leaves(128, 128, radius_px=(2.0, 40.0), generator=generator)
        power += np.abs(np.fft.fft2((image - image.mean()) * np.hanning(128)[:, None] * np.hanning(128))) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    band = (frequency > 0.02) & (frequency < 0.15)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert -3.6 < slope < -1.6
