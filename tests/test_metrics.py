"""Golden tests of the scores: each against the published formula, written out again in the plainest way."""

import numpy as np
import pytest

from visioncore import metrics
from visioncore.metrics import PopulationScore, Sums


def poisson_cells(
    n_units: int, n_bins: int, n_repeats: int, mean: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rates (time, units) that vary by a gamma law, and counts (repeats, time, units) drawn from them."""
    rng = np.random.default_rng(seed)
    rates = rng.gamma(2.0, mean / 2.0, size=(n_bins, n_units))
    return rates, rng.poisson(rates, size=(n_repeats, n_bins, n_units)).astype(np.float32)


def test_bits_per_spike_of_the_null_is_exactly_zero() -> None:
    _, counts = poisson_cells(5, 200, 1, 0.3)
    null = np.array([0.3, 0.01, 1e-12, 2.0, 0.5])
    np.testing.assert_array_equal(metrics.bits_per_spike(np.tile(null, (200, 1)), counts[0], null), 0.0)


def test_bits_per_spike_falls_when_the_true_rate_is_scaled_and_is_never_clamped() -> None:
    rates, counts = poisson_cells(20, 5000, 1, 0.3)
    null = rates.mean(0)
    best = metrics.bits_per_spike(rates, counts[0], null)
    for factor in (0.5, 0.8, 1.25, 2.0):
        assert (metrics.bits_per_spike(factor * rates, counts[0], null) < best).all()
    assert (metrics.bits_per_spike(20 * rates, counts[0], null) < 0).all()


def test_bits_per_spike_pooled_with_the_evaluation_mean_is_the_neural_latents_benchmarks() -> None:
    rates, counts = poisson_cells(7, 400, 1, 0.4)
    counts, rates = counts[0].astype(float), rates * 1.1
    rates[3, 2] = 0.0
    null = np.broadcast_to(counts.mean(0), counts.shape)

    def negative_log_likelihood(rate: np.ndarray) -> float:
        rate = np.where(rate == 0, 1e-9, rate)
        return float(np.sum(rate - counts * np.log(rate)))

    expected = (negative_log_likelihood(null) - negative_log_likelihood(rates)) / counts.sum() / np.log(2)
    sums = Sums.measure(rates, counts, counts.mean(0), np.ones(counts.shape, bool))
    assert sums.nats_over_null.sum() / sums.spikes.sum() / np.log(2) == pytest.approx(expected, abs=1e-12)


def test_bins_that_are_not_valid_leave_every_score_whatever_they_hold() -> None:
    rates, counts = poisson_cells(4, 300, 1, 0.5)
    valid = np.random.default_rng(1).random((300, 4)) < 0.7
    null = rates.mean(0)
    spoilt, noise = rates.copy(), counts[0].copy()
    spoilt[~valid], noise[~valid] = np.nan, np.inf
    scores = metrics.bits_per_spike(spoilt, noise, null, valid)
    r, _ = metrics.correlation(spoilt, noise, valid)
    for unit in range(4):
        keep = valid[:, unit]
        alone = metrics.bits_per_spike(rates[keep][:, [unit]], counts[0][keep][:, [unit]], null[[unit]])
        assert scores[unit] == pytest.approx(alone[0], rel=1e-12)
        assert r[unit] == pytest.approx(np.corrcoef(rates[keep, unit], counts[0][keep, unit])[0, 1], rel=1e-9)


def test_a_unit_without_spikes_has_no_bits_per_spike() -> None:
    counts = np.zeros((50, 2))
    counts[3, 1] = 1
    scores = metrics.bits_per_spike(np.full((50, 2), 0.1), counts, np.full(2, 0.1))
    assert np.isnan(scores[0])
    assert np.isfinite(scores[1])


def test_a_constant_prediction_correlates_zero_and_says_so() -> None:
    _, counts = poisson_cells(2, 500, 1, 0.5)
    constant = np.full((500, 2), 0.1, np.float32)
    constant[:, 1] += np.float32(1e-8) * (np.arange(500, dtype=np.float32) % 2)  # rounding is no signal
    r, flags = metrics.correlation(constant, counts[0])
    np.testing.assert_array_equal(r, 0.0)
    assert flags.all()


def test_sums_of_pieces_are_the_sums_of_the_whole() -> None:
    rates, counts = poisson_cells(3, 90, 1, 0.5)
    null, valid = rates.mean(0), np.ones((90, 3), bool)
    whole = Sums.measure(rates, counts[0], null, valid)
    pieces = [Sums.measure(rates[s], counts[0][s], null, valid[s]) for s in (slice(0, 40), slice(40, 90))]
    np.testing.assert_allclose((pieces[0] + pieces[1]).correlation, whole.correlation, rtol=1e-12)
    np.testing.assert_allclose(
        Sums.stack(pieces).map(lambda a: a.sum(0)).bits_per_spike, whole.bits_per_spike
    )


def test_cc_norm_is_the_absolute_over_the_greatest_possible_correlation() -> None:
    rates, responses = poisson_cells(6, 400, 7, 0.5)
    prediction = rates + np.random.default_rng(2).gamma(1.0, 0.2, rates.shape)
    n, r = 7, responses.astype(float)
    y = r.mean(0)
    for unit, found in enumerate(metrics.cc_norm(responses, prediction)):
        mean, repeats = y[:, unit], r[:, :, unit]
        absolute = np.corrcoef(mean, prediction[:, unit])[0, 1]
        variance = mean.var(ddof=1)
        greatest = np.sqrt((n * variance - repeats.var(1, ddof=1).mean()) / ((n - 1) * variance))
        assert found == pytest.approx(absolute / greatest, abs=1e-12)


def test_the_true_rate_has_a_cc_norm_and_feve_of_one_on_average() -> None:
    rates, responses = poisson_cells(300, 600, 10, 0.5)
    assert metrics.cc_norm(responses, rates).mean() == pytest.approx(1.0, abs=0.02)
    assert metrics.feve(responses, rates)[0].mean() == pytest.approx(1.0, abs=0.02)


def test_cc_norm_is_undefined_without_signal_and_is_never_clipped() -> None:
    rates, responses = poisson_cells(40, 300, 4, 0.3)
    assert np.nanmax(metrics.cc_norm(responses, rates)) > 1
    shuffled = np.stack([np.random.default_rng(i).permutation(r) for i, r in enumerate(responses)])
    power = metrics.signal_power(shuffled)
    assert (power <= 0).any()
    np.testing.assert_array_equal(np.isnan(metrics.cc_norm(shuffled, rates)), power <= 0)


def test_a_constant_prediction_has_a_cc_norm_of_zero_and_a_broken_one_has_none() -> None:
    rates, responses = poisson_cells(3, 300, 8, 0.5)
    prediction = rates.copy()
    prediction[:, 0] = 0.3
    prediction[5, 1] = np.nan
    silent, broken, healthy = metrics.cc_norm(responses, prediction)
    assert silent == 0.0
    assert np.isnan(broken)
    assert healthy == metrics.cc_norm(responses, rates)[2]


def test_signal_power_recovers_the_variance_of_a_known_process() -> None:
    rates, responses = poisson_cells(50, 4000, 8, 0.5)
    assert metrics.signal_power(responses).mean() == pytest.approx(rates.var(0).mean(), rel=0.03)


def test_the_error_of_signal_power_is_its_spread_over_recordings() -> None:
    powers = [metrics.signal_power(poisson_cells(200, 400, 6, 0.3, seed)[1]) for seed in range(2)]
    _, responses = poisson_cells(200, 400, 6, 0.3)
    error = metrics.signal_power_error(responses, stretch_bins=10)
    assert error.mean() == pytest.approx(np.concatenate(powers).std(), rel=0.2)


def test_feve_is_the_sensorium_competitions_on_unequal_repeats() -> None:
    rng = np.random.default_rng(3)
    repeats_of_bin = rng.integers(2, 6, size=60)
    targets = [rng.poisson(rng.gamma(2.0, 1.0, 5), size=(n, 5)).astype(float) for n in repeats_of_bin]
    prediction = rng.gamma(2.0, 1.0, (60, 5))
    errors = np.vstack([(t - p) ** 2 for t, p in zip(targets, prediction, strict=True)]).mean(0)
    noise = np.mean([t.var(0, ddof=1) for t in targets], axis=0)
    total = np.vstack(targets).var(0, ddof=1)

    padded = np.full((5, 60, 5), np.nan)
    for time, target in enumerate(targets):
        padded[: len(target), time] = target
    explained, explainable = metrics.feve(padded, prediction)
    np.testing.assert_allclose(explainable, (total - noise) / total, rtol=1e-12)
    np.testing.assert_allclose(explained, 1 - (errors - noise) / (total - noise), rtol=1e-12)


def test_the_jackknife_oracle_correlates_each_repeat_with_the_mean_of_the_others() -> None:
    _, responses = poisson_cells(3, 200, 5, 0.5)
    others = np.stack([np.delete(responses, i, axis=0).mean(0) for i in range(5)])
    for unit, found in enumerate(metrics.jackknife_oracle(responses)):
        expected = np.corrcoef(responses[..., unit].ravel(), others[..., unit].ravel())[0, 1]
        assert found == pytest.approx(expected, rel=1e-6)


def block_sums(n_units: int, n_blocks: int, seed: int = 0) -> Sums:
    rates, counts = poisson_cells(n_units, n_blocks * 100, 1, 0.4, seed)
    valid = np.ones((100, n_units), bool)
    pieces = np.split(np.arange(n_blocks * 100), n_blocks)
    return Sums.stack([Sums.measure(rates[p], counts[0][p], rates.mean(0), valid) for p in pieces])


def test_the_interval_covers_the_mean_and_shrinks_with_more_blocks() -> None:
    widths = []
    for n_blocks in (5, 80):
        sums = block_sums(8, n_blocks)
        mean = sums.map(lambda a: a.sum(0)).bits_per_spike.mean()
        found = metrics.interval(metrics.population_draws([sums], lambda s: s.bits_per_spike))
        assert found is not None
        low, high = found
        assert low < mean < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_draws_repeat_with_the_seed_and_units_are_resampled_only_from_twenty_on() -> None:
    def draws(sums: Sums, seed: int = 0) -> np.ndarray | None:
        return metrics.population_draws([sums], lambda s: s.bits_per_spike, 100, seed)

    sums = block_sums(20, 6)
    first, again, other = draws(sums), draws(sums), draws(sums, seed=1)
    assert first is not None
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    one_block = sums.map(lambda a: a.sum(0, keepdims=True))
    units_only = draws(one_block)
    assert units_only is not None
    assert units_only.std() > 0
    assert draws(one_block.map(lambda a: a[:, :19])) is None


def test_the_order_of_units_and_sessions_changes_no_population_score() -> None:
    rates, counts = poisson_cells(6, 400, 2, 0.4)
    order = np.random.default_rng(0).permutation(6)
    valid, null = np.ones((400, 6), bool), rates.mean(0)
    straight, permuted = PopulationScore(), PopulationScore()
    for session in (0, 1):
        straight.update(f"s{session}", rates, counts[session], null, valid)
        permuted.update(f"s{1 - session}", rates[:, order], counts[1 - session][:, order], null[order], valid)
    assert straight.bits_per_spike() == pytest.approx(permuted.bits_per_spike(), rel=1e-12)
    assert straight.correlation() == pytest.approx(permuted.correlation(), rel=1e-12)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_one_prediction_that_is_not_finite_in_a_valid_bin_makes_the_streaming_score_nan(
    broken: float,
) -> None:
    rates, counts = poisson_cells(4, 100, 1, 0.5)
    counts[0][:, 3] = 0  # a unit without spikes has no bits per spike, and spoils nobody's
    null, valid = rates.mean(0), np.ones((100, 4), bool)
    rates[:3], valid[:3] = np.nan, False
    score = PopulationScore()
    score.update("a", rates, counts[0], null, valid)
    expected = metrics.bits_per_spike(rates[3:, :3], counts[0][3:, :3], null[:3])
    assert score.bits_per_spike() == pytest.approx(expected.mean(), rel=1e-12)
    assert np.isfinite(score.correlation())
    rates[50, 2] = broken
    score.update("b", rates, counts[0], null, valid)
    assert np.isnan(score.bits_per_spike())
    assert np.isnan(score.correlation())


def test_scores_of_nothing_are_nan_and_raise_no_warning() -> None:
    assert np.isnan(PopulationScore().bits_per_spike())
    assert metrics.interval(None) is None
    single = np.ones((1, 10, 2), np.float32)
    assert np.isnan(metrics.cc_norm(single, np.ones((10, 2)))).all()
    assert np.isnan(metrics.feve(single, np.ones((10, 2)))[0]).all()
    assert np.isnan(metrics.signal_power_error(single, 2)).all()
    assert np.isnan(metrics.jackknife_oracle(single)).all()
