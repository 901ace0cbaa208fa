import numpy as np
import pytest

from visioncore.behaviour import EyeBasisConfig, cosine_basis_over_time, eye_feature_names, eye_features


def _trace(n_samples: int = 200) -> np.ndarray:
    return np.cumsum(np.random.default_rng(0).normal(0, 0.02, (n_samples, 2)), axis=0)


def test_there_are_forty_two_features_by_default() -> None:
    assert eye_features(_trace(), 240.0).shape == (200, 42)
    assert len(set(eye_feature_names())) == 42


@pytest.mark.parametrize("changed", [0, 1, 50, 120, 199])
def test_a_later_eye_sample_never_changes_an_earlier_feature(changed: int) -> None:
    trace = _trace()
    before = eye_features(trace, 240.0)
    trace[changed] += [0.5, -0.3]
    after = eye_features(trace, 240.0)
    assert np.array_equal(before[:changed], after[:changed])
    assert not np.array_equal(before[changed:], after[changed:])


@pytest.mark.parametrize("rate_hz", [30.0, 60.0, 120.0, 240.0, 1000.0])
def test_every_basis_function_has_unit_mass_at_every_sampling_rate(rate_hz: float) -> None:
    basis = cosine_basis_over_time(20, 0.3, rate_hz)
    np.testing.assert_allclose(basis.sum(1), 1)
    assert (basis >= 0).all()


def test_basis_functions_reach_further_into_the_past_one_after_the_other_up_to_the_window() -> None:
    basis = cosine_basis_over_time(20, 0.3, 240.0)
    mean_lag = basis @ np.arange(basis.shape[1])
    assert (np.diff(mean_lag) > 0).all()
    assert mean_lag[0] < 2
    assert basis[-1, -1] > 0


def test_a_constant_velocity_gives_its_compressed_value_in_every_function() -> None:
    trace = np.stack([np.arange(400) * 5 / 240, np.zeros(400)], -1)
    features = eye_features(trace, 240.0, EyeBasisConfig(compression_deg_s=10.0))
    np.testing.assert_allclose(features[-1, :20], np.arcsinh(0.5), rtol=1e-5)
    np.testing.assert_allclose(features[-1, 20:40], 0)
    np.testing.assert_allclose(features[:, -2:], trace, rtol=1e-6)


def test_trials_do_not_see_each_other() -> None:
    traces = np.stack([_trace(), -_trace()])
    together = eye_features(traces, 240.0)
    assert np.array_equal(together[1], eye_features(traces[1], 240.0))
