"""Repeats, ceilings, traces, and predictions that cannot be scored."""

from typing import Any

import numpy as np
import pytest

from scored import BURN_IN, N_BINS, N_UNITS, REPEATED, setting
from visioncore import metrics
from visioncore.data.splits import Block
from visioncore.errors import CheckpointError, DataError
from visioncore.evaluation import scoring


def test_repeats_are_scored_over_all_of_them_and_reported_with_their_number() -> None:
    s = setting()
    for session in s.store.fakes.values():
        session.true_rates *= 3
        session.counts = np.random.default_rng(5).poisson(session.true_rates).astype(np.float32)
    result = s.score()
    session = s.store.fakes["a"]
    repeats = np.stack([session.counts[b + BURN_IN : b + 100] for b in REPEATED])
    expected = metrics.cc_norm(repeats, session.true_rates[600 + BURN_IN : 700])
    np.testing.assert_allclose([row.cc_norm for row in result.units[:N_UNITS]], expected, rtol=1e-5)
    assert result.overall.n_repeats == result.settings.n_repeats == 4
    assert result.overall.cc_norm_n_units == 8
    assert result.overall.cc_norm == pytest.approx(1.0, abs=0.15)
    assert result.by_kind["movie"].cc_norm is None


def test_units_without_reliable_signal_stay_out_of_the_mean_over_repeats() -> None:
    s = setting()
    for session in s.store.fakes.values():
        session.counts = np.random.default_rng(5).poisson(3 * session.true_rates).astype(np.float32)
        session.counts[:, 1] = np.random.default_rng(7).poisson(0.3, N_BINS)
    result = s.score()
    assert result.overall.cc_norm_n_units == result.overall.feve_n_units == 6
    reliable = [row.cc_norm for row in result.units if row.unit_id[1] != "1"]
    assert result.overall.cc_norm == pytest.approx(np.mean(reliable), rel=1e-12)


def test_published_feve_is_over_the_units_that_publications_choose() -> None:
    s = setting()
    for session in s.store.fakes.values():
        scale = np.linspace(0.02, 12, session.true_rates.shape[1], dtype=session.true_rates.dtype)
        session.true_rates = session.true_rates * scale
        session.counts = np.random.default_rng(5).poisson(session.true_rates).astype(np.float32)
    result = s.score()
    chosen = [row.feve for row in result.units if row.fev is not None and row.fev >= 0.15]
    assert 0 < len(chosen) < len(result.units)
    assert result.overall.feve_published_n_units == len(chosen)
    assert result.overall.feve_published == pytest.approx(np.mean(chosen), rel=1e-12)


@pytest.mark.parametrize("stretch_s", [20.0, 0.5])
@pytest.mark.parametrize("cut", [0, 3])
def test_showing_every_stimulus_twice_with_the_same_outcome_makes_no_interval_narrower(
    stretch_s: float, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "STRETCH_S", stretch_s)
    found = []
    for shown in (1, 2):
        s = setting(factor=0.6)
        for session in s.store.fakes.values():
            index = np.arange(N_BINS) % 600
            session.frames[:, 0, 0, 0] = index
            session.true_rates, session.counts = session.true_rates[index], session.counts[index]
            session.blocks = tuple(
                Block(start, start + 100 - cut * (start >= 600), "test", f"{start % 600}", "movie")
                for start in range(0, 600 * shown, 100)
            )
        scores = s.score().overall
        found.append(
            [
                np.ptp(interval)
                for interval in (
                    scores.bits_per_spike.ci95,
                    scores.correlation.ci95,
                    scores.ceiling.ci95,
                )
            ]
        )
    # Cut repeats weigh the bins a little otherwise; blocks taken for independent would be 0.71 as wide.
    np.testing.assert_allclose(found[1], found[0], rtol=0.12 if cut else 1e-9)


def test_repeats_that_agree_in_video_and_behaviour_share_a_prediction_and_others_do_not() -> None:
    s = setting()
    s.score()
    assert len(s.twin.calls) == 2 * (2 + 1 + 1)
    s = setting()
    s.twin.uses_behaviour = True
    for session in s.store.fakes.values():
        session.samples = np.zeros((N_BINS, 1), np.float32)
        session.samples[700:800] = 1
    seen: list[float] = []

    def script(session: str, bins: np.ndarray, behaviour: np.ndarray) -> np.ndarray:
        seen.append(float(behaviour.mean()))
        return s.store.fakes[session].true_rates[bins] * (1 + behaviour)

    s.twin.script = script
    result = s.score()
    assert seen.count(1.0) == 2
    assert result.settings.behaviour == "recorded"
    assert result.overall.fraction_of_ceiling < 1


def test_no_more_than_one_block_of_video_is_read_at_a_time() -> None:
    s = setting()
    s.score()
    assert max(s.store.fakes["a"].reads) == 250


def test_without_truth_the_ceiling_is_null() -> None:
    s = setting()
    for session in s.store.fakes.values():
        session.truth_known = False
    overall = s.score().overall
    assert overall.ceiling.bits_per_spike is None
    assert overall.fraction_of_ceiling is None


def test_with_truth_in_one_session_only_the_fraction_is_over_its_units() -> None:
    s = setting(factor=0.5)
    s.store.fakes["b"].truth_known = False
    result = s.score()
    assert result.overall.fraction_of_ceiling == pytest.approx(
        result.sessions["a"].fraction_of_ceiling, rel=1e-12
    )


def test_traces_have_a_correlation_and_no_bits_per_spike() -> None:
    s = setting(kind="trace")
    for session in s.store.fakes.values():
        session.counts = session.true_rates * 2 - 1
    result = s.score()
    assert result.settings.selection_metric == "correlation"
    assert set(result.overall.bits_per_spike.to_json().values()) == {None}
    assert result.overall.correlation.mean == pytest.approx(1.0, abs=1e-6)
    assert result.overall.fraction_of_ceiling is None
    assert result.units[0].spikes is None


def test_a_split_without_bins_and_a_prediction_that_is_not_finite_are_errors() -> None:
    s = setting()
    with pytest.raises(DataError, match="validation split has no bin"):
        s.score(split="validation")
    s.twin.script = lambda session, bins, _: np.full((len(bins), N_UNITS), np.nan)
    with pytest.raises(CheckpointError, match="session 'a', bins 0 to 250"):
        s.score()


def test_a_twin_that_diverges_late_in_a_block_is_refused_rather_than_scored_on_its_healthy_bins() -> None:
    s = setting(stride=4)
    healthy = s.twin.script

    def script(session: str, bins: np.ndarray, behaviour: Any) -> np.ndarray:
        rates = healthy(session, bins, behaviour).copy()
        rates[4:, 2] = np.nan
        return rates

    s.twin.script = script
    with pytest.raises(CheckpointError, match="not finite; its weights are damaged or its training diverged"):
        s.score()
