"""Controls of an honest twin fall to chance, and those of a twin that cheats do not."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from audited import N_TRIALS, N_UNITS, TEST, TRIAL, Arrays, Build, controls, drive, levels, trial, twin_of
from visioncore.audit.controls import SessionControls
from visioncore.audit.lines import told
from visioncore.audit.recalibration import recalibrated
from visioncore.audit.run import control_lines
from visioncore.audit.verdicts import about_controls
from visioncore.data import RecordingStore
from visioncore.metrics import bits_per_spike
from visioncore.predictor import Predictor


def lines(store: RecordingStore, twin: Predictor) -> dict[str, Any]:
    return {line.name: line for line in told(control_lines(twin, store))}


def test_every_control_of_an_honest_twin_falls_to_chance_and_the_intact_score_does_not(build: Build) -> None:
    store = build(sessions=2)
    found = lines(store, twin_of(store))
    assert found["intact"].correlation.mean > 0.3
    assert found["intact"].recalibrated_bits_per_spike.mean > 0.2
    for name in ("video shifted", "trials shuffled", "other readout", "pixels scrambled", "no input"):
        low, high = found[name].correlation.ci95
        assert low <= 0.01, name
        assert high < 0.1, name
        assert found[name].less_intact.correlation.ci95[1] < -0.2, name


def test_a_wrong_prediction_that_is_sure_of_itself_is_judged_after_recalibration(
    clean: RecordingStore,
) -> None:
    shifted = lines(clean, twin_of(clean))["video shifted"]
    assert shifted.bits_per_spike.mean < -0.2
    assert 0 <= shifted.recalibrated_bits_per_spike.mean < 0.05


def test_repeats_that_a_grey_level_tells_apart_are_no_other_stimulus(build: Build) -> None:
    """Else a control gives an honest twin the right stimulus by mistake."""

    def few_repeated(arrays: Arrays) -> None:
        for i, repeat in enumerate(TEST):
            first = TEST[i % 3]
            shown = arrays["video"][first * TRIAL : (first + 1) * TRIAL]
            arrays["video"][repeat * TRIAL : (repeat + 1) * TRIAL] = shown
            arrays["stimulus"][repeat] = f"s{first}"
        for i, repeat in enumerate(TEST):
            arrays["video"][repeat * TRIAL : (repeat + 1) * TRIAL, 0, 0] ^= np.uint8(i // 3 % 2)

    store = build(few_repeated)
    session = SessionControls(twin_of(store), store, store.sessions["day0"])
    names = [audited.block.stimulus_id for audited in session.blocks]
    assert len(set(names)) == 3 < len(names)
    named = [np.full_like(a.recorded, names.index(a.block.stimulus_id)) for a in session.blocks]
    for _ in range(20):
        shuffled = session.shuffled(named)
        assert shuffled is not None
        assert all((given != own).all() for given, own in zip(shuffled, named, strict=True))


def test_a_twin_that_ignores_the_stimulus_is_reported_as_such(clean: RecordingStore) -> None:
    found = controls(clean, twin_of(clean, lambda video, eye: np.tile(0.3 + 0.3 * (eye[:, :1] > 1), N_UNITS)))
    assert found["stimulus"].level == "fail"
    assert "ignores the stimulus" in found["stimulus"].sentence
    assert found["video shifted"].level == "fail"


def test_a_twin_that_predicts_nothing_has_nothing_to_fall_from(clean: RecordingStore) -> None:
    found = controls(clean, twin_of(clean, lambda video, _: np.full((len(video), N_UNITS), 0.3)))
    assert found["stimulus"].level == "note"
    assert "predicts nothing" in found["stimulus"].sentence


def test_a_twin_with_a_clock_fails_even_where_it_also_sees(build: Build) -> None:
    """All test trials follow one time course, which no training trial shows; the twin knows it by heart."""
    course = 0.6 * (np.sin(np.arange(TRIAL) / 4) > 0.3)

    def change(arrays: Arrays) -> None:
        rng = np.random.default_rng(5)
        for number in TEST.tolist():
            arrays["counts"][trial(number)] += rng.poisson(course[:, None], (TRIAL, N_UNITS))

    store = build(change)
    found = controls(store, twin_of(store, lambda video, _: drive(video) + course[: len(video), None]))
    assert found["stimulus"].level == "pass"
    assert found["no input"].level == "fail"
    assert "clock" in found["no input"].remedy
    # Honest eyes see the same recording without a clock.
    assert levels(controls(store, twin_of(store)))["no input"] == "pass"


def test_what_every_trial_begins_with_may_survive_the_shuffling_of_trials(build: Build) -> None:
    """A transient after onset that all trials share, in training too, is no leak."""
    course = np.exp(-np.arange(TRIAL) / 15)

    def change(arrays: Arrays) -> None:
        rng = np.random.default_rng(5)
        arrays["counts"] += rng.poisson(np.tile(course, N_TRIALS)[:, None], arrays["counts"].shape)

    store = build(change)
    twin = twin_of(store, lambda video, _: drive(video) + course[: len(video), None])
    scored = control_lines(twin, store)
    found: dict[str, Any] = {line.name: line for line in told(scored)}
    assert found["trials shuffled"].correlation.ci95[0] > 0.1
    assert found["time since onset"].correlation.mean >= found["trials shuffled"].correlation.mean
    assert {finding.level for finding in about_controls(scored)} == {"pass"}


def test_units_that_are_all_copies_share_their_score_and_are_judged_by_that(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        rng = np.random.default_rng(6)
        arrays["counts"] = rng.poisson(np.repeat(drive(arrays["video"])[:, :1], N_UNITS, 1))

    store = build(change)
    twin = twin_of(store, lambda video, _: np.repeat(drive(video)[:, :1], N_UNITS, 1))
    finding = controls(store, twin)["other readout"]
    assert finding.level == "fail"
    assert "survives" in finding.sentence


def test_the_best_recalibration_is_found_and_undoes_any_gain_and_offset() -> None:
    rng = np.random.default_rng(0)
    truth = rng.gamma(0.8, 0.5, (4000, 1))
    counts = rng.poisson(truth)
    valid = rng.random(counts.shape) > 0.1
    confident = 0.1 + 7 * truth
    fitted = recalibrated(confident, counts, valid)
    np.testing.assert_allclose(fitted, recalibrated(3 + 0.2 * truth, counts, valid), rtol=1e-6)
    null = np.array([counts[valid].mean()])

    def bits(weight: float) -> float:
        above = truth - truth[valid].min()
        rates = null * (1 - weight + weight * above / above[valid].mean())
        return float(bits_per_spike(rates, counts, null, valid)[0])

    best = minimize_scalar(lambda weight: -bits(weight), bounds=(0, 1), method="bounded")
    assert bits_per_spike(fitted, counts, null, valid)[0] == pytest.approx(-best.fun, abs=1e-5)
    upside_down = recalibrated(-truth, counts, valid)
    np.testing.assert_allclose(upside_down, null[0])
