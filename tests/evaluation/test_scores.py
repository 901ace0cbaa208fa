"""Scores of an evaluation are those that one counts by hand."""

from typing import Any

import numpy as np
import pytest

from scored import BURN_IN, N_UNITS, RATE_HZ, scored_bins, scripted, setting
from visioncore import metrics
from visioncore.errors import CheckpointError, ConfigError, DataError
from visioncore.spec import SessionSpec


def test_the_scores_are_those_of_the_test_bins_after_each_blocks_burn_in() -> None:
    s = setting(factor=0.7)
    result = s.score()
    per_unit = []
    for session in s.store.fakes.values():
        bins = scored_bins(session)
        rates, counts = 0.7 * session.true_rates[bins], session.counts[bins]
        per_unit.append(metrics.bits_per_spike(rates, counts, session.train_mean))
        found = [row.bits_per_spike for row in result.units if row.session == session.id]
        np.testing.assert_allclose(found, per_unit[-1], rtol=1e-5)
        expected = metrics.correlation(rates, counts)[0]
        found = [row.correlation for row in result.units if row.session == session.id]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    overall = result.overall
    assert overall.bits_per_spike.mean == pytest.approx(np.mean(per_unit), rel=1e-5)
    spikes = np.array([row.spikes for row in result.units])
    assert overall.bits_per_spike.pooled == pytest.approx(
        np.average(np.ravel(per_unit), weights=spikes), rel=1e-5
    )
    rates, counts = (
        np.concatenate([getattr(session, name)[scored_bins(session)] for session in s.store.fakes.values()])
        for name in ("true_rates", "counts")
    )
    own = [session.counts[scored_bins(session)].mean(0) for session in s.store.fakes.values()]
    null = np.repeat(own, [len(scored_bins(session)) for session in s.store.fakes.values()], axis=0)
    nats = (counts * np.log(0.7 * rates / null) - (0.7 * rates - null)).sum()
    assert overall.bits_per_spike.neural_latents == pytest.approx(nats / counts.sum() / np.log(2), rel=1e-5)
    assert overall.n_bins == 2 * len(scored_bins(s.store.fakes["a"]))
    assert overall.n_units == 2 * N_UNITS
    low, high = overall.bits_per_spike.ci95
    assert low < overall.bits_per_spike.mean < high


def test_the_truth_as_prediction_reaches_the_ceiling_exactly_and_half_of_it_does_not() -> None:
    whole = setting().score().overall
    assert whole.fraction_of_ceiling == pytest.approx(1.0, rel=1e-6)
    assert whole.fraction_of_ceiling_ci95 == pytest.approx((1.0, 1.0), rel=1e-6)
    assert whole.ceiling.bits_per_spike == pytest.approx(whole.bits_per_spike.mean, rel=1e-6)
    assert setting(factor=0.5).score().overall.fraction_of_ceiling < 0.95


def test_sections_cover_sessions_kinds_classes_and_phases() -> None:
    result = setting(stride=4).score()
    assert list(result.sessions) == ["a", "b"]
    assert list(result.by_kind) == ["movie", "noise"]
    assert {name: part.n_units for name, part in result.by_class.items()} == {"complex": 4, "simple": 4}
    assert list(result.by_phase) == ["0", "1", "2", "3"]
    for sections in (result.sessions, result.by_kind, result.by_phase):
        assert sum(part.n_bins for part in sections.values()) == result.overall.n_bins


def test_sessions_of_one_subject_are_scored_together() -> None:
    s = setting()
    assert list(s.score().by_subject) == ["a's subject", "b's subject"]
    s.store.fakes["b"].subject = "a's subject"
    result = s.score()
    (together,) = result.by_subject.values()
    assert together == result.overall
    assert result.sessions["a"].n_units < together.n_units


def test_a_prediction_that_is_bad_at_one_phase_shows_at_that_phase() -> None:
    s = setting(stride=2)

    def script(session: str, bins: np.ndarray, _: Any) -> np.ndarray:
        rates = s.store.fakes[session].true_rates[bins].copy()
        rates[1::2] *= 0.2  # bin 1 of a block is phase 0 when the stride is 2
        return rates

    s.twin.script = script
    phases = s.score().by_phase
    assert phases["0"].bits_per_spike.mean < phases["1"].bits_per_spike.mean - 0.1


def test_bins_without_a_prediction_leave_model_and_ceiling_alike() -> None:
    s = setting(stride=30)
    result = s.score()
    assert result.overall.n_bins == 2 * len(scored_bins(s.store.fakes["a"], skip=29))
    assert result.overall.fraction_of_ceiling == pytest.approx(1.0, rel=1e-6)


def test_summed_bins_are_sums_of_counts_and_predictions() -> None:
    s = setting(factor=0.8)
    result = s.score(bin_ms=30.0)
    assert result.settings.bin_ms == 30.0
    session = s.store.fakes["a"]
    pieces = []
    for block in session.blocks:
        if block.split == "test":
            start = block.start + BURN_IN
            pieces.append(np.arange(start, start + (block.stop - start) // 3 * 3).reshape(-1, 3))
    bins = np.concatenate(pieces)
    rates, counts = 0.8 * session.true_rates[bins].sum(1), session.counts[bins].sum(1)
    expected = metrics.bits_per_spike(rates, counts, 3 * session.train_mean)
    np.testing.assert_allclose([r.bits_per_spike for r in result.units[:N_UNITS]], expected, rtol=1e-5)
    assert result.units[0].recorded_rate_hz == pytest.approx(counts[:, 0].mean() * RATE_HZ / 3, rel=1e-5)


def test_coarser_bins_of_a_trace_are_means_of_trace_prediction_and_null() -> None:
    s = setting(kind="trace", factor=0.8)
    fine, coarse = s.score(), s.score(bin_ms=30.0)
    session = s.store.fakes["a"]
    starts = [(b.start + BURN_IN, (b.stop - b.start - BURN_IN) // 3 * 3) for b in session.blocks]
    test = [b.split == "test" for b in session.blocks]
    bins = np.concatenate([np.arange(a, a + n) for (a, n), some in zip(starts, test, strict=True) if some])
    recorded, predicted = session.counts[bins], 0.8 * session.true_rates[bins]
    for i, row in enumerate(coarse.units[:N_UNITS]):
        assert row.recorded_mean == pytest.approx(recorded[:, i].mean(), rel=1e-5)
        assert row.predicted_mean == pytest.approx(predicted[:, i].mean(), rel=1e-5)
        averages = [values[:, i].reshape(-1, 3).mean(1) for values in (recorded, predicted)]
        assert row.correlation == pytest.approx(np.corrcoef(*averages)[0, 1], rel=1e-5)
        assert row.recorded_mean == pytest.approx(fine.units[i].recorded_mean, rel=0.05)


def test_a_trace_on_a_high_baseline_is_no_constant_in_coarser_bins() -> None:
    s = setting(kind="trace")
    for session in s.store.fakes.values():
        session.true_rates = session.counts = 1e4 + 0.02 * session.true_rates
        session.train_mean = np.full(N_UNITS, 1e4)
    assert s.score(bin_ms=30.0).overall.correlation.mean == pytest.approx(1.0, abs=1e-6)


def test_a_summed_bin_counts_only_where_all_its_bins_are_valid() -> None:
    s = setting()
    every_bin = s.score(bin_ms=30.0).sessions["a"].n_bins
    s.store.fakes["a"].is_valid[BURN_IN + 3 : BURN_IN + 10 : 6] = False
    assert s.score(bin_ms=30.0).sessions["a"].n_bins == every_bin - 2


@pytest.mark.parametrize(("bin_ms", "nearest"), [(25.0, "20"), (4.0, "10"), (14.0, "10")])
def test_a_bin_width_that_is_no_multiple_is_refused_with_the_nearest(bin_ms: float, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"nearest is {nearest}$"):
        setting().score(bin_ms=bin_ms)


def test_units_in_another_order_are_matched_by_their_ids() -> None:
    straight = setting(factor=0.7).score()
    s = setting(factor=0.7)
    order = [2, 0, 3, 1]
    specs = tuple(
        SessionSpec(id=x.id, subject=x.subject, unit_ids=tuple(x.unit_ids[i] for i in order))
        for x in s.store.spec.sessions[::-1]
    )
    permuted = scripted(s.store.spec.model_copy(update={"sessions": specs}))
    script = s.twin.script
    permuted.script = lambda session, bins, behaviour: script(session, bins, behaviour)[:, order]
    s.twin = permuted
    assert s.score().units == straight.units


def test_missing_units_and_sessions_are_named() -> None:
    s = setting()
    fewer = s.store.spec.sessions[0].model_copy(update={"unit_ids": ("a0", "a1", "a2", "new")})
    s.twin = scripted(s.store.spec.model_copy(update={"sessions": (fewer, s.store.spec.sessions[1])}))
    with pytest.raises(CheckpointError, match=r"session 'a': the twin lacks 1 unit\(s\): a3"):
        s.score()
    other = s.store.spec.sessions[0].model_copy(update={"id": "c"})
    s.twin = scripted(s.store.spec.model_copy(update={"sessions": (other,)}))
    with pytest.raises(CheckpointError, match="no session 'a' of fake, nor any other of it; it has c"):
        s.score()


@pytest.mark.parametrize(
    ("fact", "value"), [("height", 5), ("sampling_rate_hz", 50.0), ("response_kind", "trace")]
)
def test_a_store_unlike_the_twins_data_is_refused(fact: str, value: Any) -> None:
    s = setting()
    spec = s.store.spec
    if fact == "response_kind":
        sessions = tuple(own.model_copy(update={fact: value}) for own in spec.sessions)
        s.store.spec = spec.model_copy(update={"sessions": sessions})
    else:
        key = "rate_hz" if fact == "sampling_rate_hz" else fact
        s.store.spec = spec.model_copy(update={"sampling": spec.sampling.model_copy(update={key: value})})
    with pytest.raises(DataError, match=f"{fact} is {value}"):
        s.score()


def test_units_without_spikes_or_valid_bins_are_excluded_counted_and_explained() -> None:
    s = setting()
    session = s.store.fakes["a"]
    session.counts[:, 1] = 0
    session.is_valid[:, 2] = False
    result = s.score()
    assert result.overall.n_excluded == 2
    assert result.overall.n_units == 6
    assert [row.excluded_reason for row in result.units[:4]] == [
        None,
        "no spikes in the scored bins",
        "no valid bins",
        None,
    ]
    assert np.isfinite(result.overall.bits_per_spike.mean)


def test_what_stands_in_bins_that_are_not_valid_changes_nothing() -> None:
    scores = []
    for spoil in (False, True):
        s = setting(factor=0.8)
        session = s.store.fakes["b"]
        session.is_valid[620:700, 0] = False
        session.is_valid[100:130] = False
        if spoil:
            session.counts[~session.is_valid] = 99
        scores.append(s.score().to_json())
    assert scores[0] == scores[1]


def test_a_constant_prediction_scores_no_correlation_and_says_so() -> None:
    s = setting()
    s.twin.script = lambda session, bins, _: np.full((len(bins), N_UNITS), 0.3)
    result = s.score()
    assert result.overall.correlation.mean == 0
    assert result.overall.correlation.n_constant_predictions == 8
    assert "constant" in result.units[0].correlation_note
    assert result.overall.bits_per_spike.mean == pytest.approx(0, abs=1e-6)
