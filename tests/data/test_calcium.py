"""The simulated calcium recording: traces that are no counts, running animals, a known expectation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs import fingerprints_of, sessions_of
from visioncore.config import build_config
from visioncore.data import build_data_config, load_data_config, prepare
from visioncore.errors import ConfigError, DataError
from visioncore.recording import ArrayRecording
from visioncore.simulation.calcium import CalciumConfig, IndicatorConfig, _Indicator
from visioncore.simulation.locomotion import LocomotionConfig, behavioural_gain, simulate_locomotion
from visioncore.simulation.randomness import stream

DATA_CONFIGS = Path(__file__).parents[2] / "experiments" / "data_configs"
TINY: dict[str, Any] = {
    "height": 20,
    "width": 28,
    "minutes_per_session": 2.0,
    "units_per_session": 6,
    "trial_s": 4.0,
    "repeated_stimuli": 2,
    "repeats": 3,
}


def session_of(**changes: Any) -> ArrayRecording:
    (session,) = sessions_of(CalciumConfig(**({"subjects": ("A",)} | TINY | changes)).build(Path()))
    assert isinstance(session, ArrayRecording)
    return session


@pytest.fixture(scope="module")
def session() -> ArrayRecording:
    return session_of()


def test_the_same_seed_gives_the_same_recording_and_another_seed_another(session: ArrayRecording) -> None:
    again, other = session_of(), session_of(seed=1)
    for name in ("frames", "responses", "rates", "behaviour"):
        assert np.array_equal(getattr(session, name), getattr(again, name))
        assert not np.array_equal(getattr(session, name), getattr(other, name))
    assert session.unit_truth == again.unit_truth
    assert json.loads(json.dumps(session.unit_truth)) == session.unit_truth


def test_responses_are_traces_and_no_counts(session: ArrayRecording) -> None:
    assert CalciumConfig(**TINY).build(Path()).session("A1").spec.response_kind == "trace"
    assert session.responses.dtype.kind == "f"
    assert (session.responses < 0).any()
    assert (session.responses != np.floor(session.responses)).mean() > 0.99


def test_repeats_show_the_same_video_to_an_animal_in_another_state(session: ArrayRecording) -> None:
    repeats: dict[str | None, list[slice]] = {}
    for trial in session.trials:
        repeats.setdefault(trial.stimulus_id, []).append(slice(trial.start, trial.stop))
    repeated = [slices for slices in repeats.values() if len(slices) > 1]
    assert [len(slices) for slices in repeated] == [3, 3]
    assert session.behaviour is not None
    for first, *others in repeated:
        for other in others:
            assert np.array_equal(session.frames[first], session.frames[other])
            assert not np.array_equal(session.behaviour[first], session.behaviour[other])


def test_without_gains_the_expected_trace_of_repeats_is_the_same() -> None:
    still = LocomotionConfig(running_gain=(0.0, 0.0), pupil_gain=(0.0, 0.0))
    session = session_of(locomotion=still)
    shown: dict[str | None, np.ndarray] = {}
    assert session.rates is not None
    for trial in session.trials:
        expected = session.rates[trial.start : trial.stop]
        np.testing.assert_array_equal(expected, shown.setdefault(trial.stimulus_id, expected))


def test_no_stimulus_is_in_two_splits() -> None:
    splits: dict[str | None, set[str | None]] = {}
    for session in sessions_of(CalciumConfig(**TINY).build(Path())):
        for trial in session.trials:
            splits.setdefault(trial.group, set()).add(trial.split)
    assert len(splits) > 10
    assert all(len(found) == 1 for found in splits.values())


def test_the_recorded_trace_is_the_expected_one_on_average() -> None:
    session = session_of(minutes_per_session=6.0, hidden_gain_sd=0.0)
    assert session.rates is not None
    residual = session.responses - session.rates
    np.testing.assert_allclose(session.responses.mean(0), session.rates.mean(0), rtol=0.2)
    # The trace's own noise and that of its spikes do not know the stimulus.
    explained = [np.corrcoef(residual[:, unit], session.rates[:, unit])[0, 1] for unit in range(6)]
    assert np.abs(explained).max() < 0.2
    correlation = [np.corrcoef(session.responses[:, u], session.rates[:, u])[0, 1] for u in range(6)]
    assert np.mean(correlation) > 0.4


def test_a_spike_decays_with_the_indicators_time_constant_and_never_shows_before_its_bin() -> None:
    config = CalciumConfig(
        units_per_session=1, indicator=IndicatorConfig(decay_s=0.5, rise_s=0.0, amplitude=(0.2, 0.2))
    )
    indicator = _Indicator(config, stream(0, "test indicator"))
    n_frames, lead_in = 60, round(6 * 0.5 * 60)
    spikes = np.zeros((lead_in + n_frames * 2, 1))
    spikes[lead_in + 20] = 1
    trace = indicator.fluorescence(spikes, n_frames)[:, 0]
    assert (trace[:10] == 0).all()
    assert trace[10] == pytest.approx(0.2, rel=0.02)
    assert trace[10 + 15] / trace[10] == pytest.approx(np.exp(-1), rel=1e-6)


def test_a_trial_begins_at_the_traces_level_at_rest(session: ArrayRecording) -> None:
    # In grey the cells fire at 4 % of their mean rate, in proportion to the state of the animal.
    assert session.rates is not None
    truth, starts = session.unit_truth, [trial.start for trial in session.trials]
    spontaneous = 0.04 * np.array(truth["mean_rate_hz"]) * np.array(truth["amplitude"]) * 0.5
    first = session.rates[starts].mean(0)
    assert (first > 0.5 * spontaneous).all()
    assert (first < 2.0 * spontaneous).all()
    assert (first < 0.2 * session.rates.mean(0)).all()


def test_a_later_frame_and_a_later_sample_never_change_an_earlier_expectation() -> None:
    config = CalciumConfig(units_per_session=2)
    indicator = _Indicator(config, stream(0, "test indicator"))
    generator = np.random.default_rng(0)
    visual, gain, at_rest = generator.random((120, 2)), 1 + generator.random((60, 2)), np.full(2, 0.1)
    before = indicator.fluorescence(indicator.with_lead_in(visual, at_rest, gain), 60)
    for changed in ("visual", "gain"):
        later_visual, later_gain = visual.copy(), gain.copy()
        later_visual[60:] += changed == "visual"
        later_gain[30:] += changed == "gain"
        after = indicator.fluorescence(indicator.with_lead_in(later_visual, at_rest, later_gain), 60)
        assert np.array_equal(before[:30], after[:30])
        assert (before[30:] != after[30:]).all()


def test_the_animal_runs_in_bouts_and_its_pupil_follows() -> None:
    behaviour = simulate_locomotion(LocomotionConfig(), 30 * 1200, 30.0, stream(0, "test locomotion"))
    speed, pupil, change = behaviour.T.astype(float)
    assert 0.2 < (speed > 0).mean() < 0.6
    assert 5 < speed[speed > 0].mean() < 20
    assert np.corrcoef(np.log1p(speed), pupil)[0, 1] > 0.4
    np.testing.assert_allclose(np.diff(pupil) * 30, change[1:], atol=1e-4)


def test_the_gain_of_behaviour_is_modest_and_one_on_average() -> None:
    config = LocomotionConfig()
    behaviour = simulate_locomotion(config, 30 * 600, 30.0, stream(0, "test locomotion"))
    gain = behavioural_gain(
        behaviour, np.array([0.0, config.running_gain[1]]), np.array([0.0, config.pupil_gain[1]])
    )
    np.testing.assert_allclose(gain.mean(0), 1)
    assert (gain[:, 0] == 1).all()
    assert 0.2 < gain[:, 1].std() < 1


def test_mean_rates_are_near_those_drawn(session: ArrayRecording) -> None:
    rates = np.array(session.unit_truth["mean_rate_hz"])
    assert rates.min() > 0.5
    assert rates.max() < 9


def test_a_calcium_recording_is_prepared_as_traces(tmp_path: Path) -> None:
    raw = {"type": "calcium", "params": {**TINY, "minutes_per_session": 1.5}, "burn_in_s": 1.0}
    store = prepare(build_data_config(raw, "here"), tmp_path)
    assert store.spec.response_kind == "trace"
    assert [session.subject for session in store.spec.sessions] == ["A", "B"]
    assert len(store.spec.behaviour_names) == 3
    for session in store.sessions.values():
        assert (session.responses(0, 100) < 0).any()
        assert session.has_rates


def test_the_shipped_yaml_is_the_default() -> None:
    config = load_data_config(DATA_CONFIGS / "calcium_30hz.yaml")
    assert config.recordings[0].source == CalciumConfig()
    assert config.burn_in_s >= 3 * CalciumConfig().indicator.decay_s
    assert len(set(CalciumConfig().subjects)) == 2


def test_the_fingerprint_follows_the_parameters() -> None:
    changes: tuple[dict[str, Any], ...] = ({}, {"seed": 1}, {"indicator": IndicatorConfig(rise_s=0.0)})
    assert len({fingerprints_of(CalciumConfig(**change).build(Path())) for change in changes}) == 3
    assert len({fingerprints_of(CalciumConfig().build(Path())) for _ in range(2)}) == 1


def test_mistakes_in_the_config_are_named() -> None:
    with pytest.raises(ConfigError, match="amplitude must ascend"):
        build_config(CalciumConfig, {"type": "calcium", "indicator": {"amplitude": [0.3, 0.1]}}, "here")
    with pytest.raises(ConfigError, match="running_gain must ascend"):
        build_config(CalciumConfig, {"type": "calcium", "locomotion": {"running_gain": [0.3, 0.1]}}, "here")
    with pytest.raises(DataError, match="raise minutes_per_session"):
        session_of(minutes_per_session=0.2)
