import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from specs import fingerprints_of, sessions_of
from visioncore.config import build_config, dump_config
from visioncore.data import load_data_config
from visioncore.errors import ConfigError, DataError
from visioncore.recording import ArrayRecording
from visioncore.simulation import (
    CalciumConfig,
    PresetConfig,
    SimulatedConfig,
    SimulationConfig,
    SlowRetinaConfig,
    SubunitCascadeConfig,
    WhiteNoiseConfig,
)
from visioncore.simulation.cells import CellsConfig, Population, draw_population
from visioncore.simulation.gaze import GazeConfig, simulate_gaze
from visioncore.simulation.images import PHOTOGRAPHS
from visioncore.simulation.randomness import stream
from visioncore.simulation.screen import window
from visioncore.stimuli import drifting_grating, gabor_pair, to_uint8

_REPOSITORY = Path(__file__).parents[2]

_TINY: dict[str, Any] = {
    "sampling_rate_hz": 60.0,
    "height": 20,
    "width": 28,
    "minutes_per_session": 1.0,
    "units_per_session": 6,
    "trial_s": 2.0,
    "repeated_stimuli": 2,
    "repeats": 3,
    "subjects": ("A", "B"),
}


def _sessions(**changes: Any) -> list[ArrayRecording]:
    return sessions_of(SimulatedConfig(**(_TINY | changes)).build(Path()))


@pytest.fixture(scope="module")
def sessions() -> list[ArrayRecording]:
    return _sessions()


def _population(n_units: int = 6, rate_hz: float = 240.0) -> Population:
    return draw_population(CellsConfig(), n_units, 36, 64, rate_hz, stream(3, "cells", 0))


def _bins(session: ArrayRecording, split: str, burn_in: int = 0) -> np.ndarray:
    return np.concatenate([np.arange(t.start + burn_in, t.stop) for t in session.trials if t.split == split])


def test_signals_are_aligned_and_named(sessions: list[ArrayRecording]) -> None:
    assert [session.spec.id for session in sessions] == ["A1", "B1"]
    for session in sessions:
        assert session.frames.shape == (session.n_bins, 1, 20, 28)
        assert session.behaviour is not None
        assert session.behaviour.shape == (session.n_bins, 42)
        assert session.rates is not None
        assert session.rates.shape == session.responses.shape == (session.n_bins, 6)
        assert session.trials[-1].stop == session.n_bins
        assert all(len(values) == 6 for values in session.unit_truth.values())
        assert json.loads(json.dumps(session.unit_truth)) == session.unit_truth
        assert len(session.spec.behaviour_names) == 42
        gratings = [trial.kind == "grating" for trial in session.trials]
        assert [value is not None for value in session.trial_columns["orientation_deg"]] == gratings


def test_the_same_seed_gives_the_same_recording_to_the_last_bit(sessions: list[ArrayRecording]) -> None:
    for first, again in zip(sessions[:1], _sessions(subjects=("A",)), strict=True):
        assert np.array_equal(first.frames, again.frames)
        assert np.array_equal(first.responses, again.responses)
        assert np.array_equal(np.asarray(first.rates), np.asarray(again.rates))
        assert np.array_equal(np.asarray(first.behaviour), np.asarray(again.behaviour))
        assert first.unit_truth == again.unit_truth


def test_another_seed_or_session_gives_other_units_and_other_stimuli(sessions: list[ArrayRecording]) -> None:
    (other,) = _sessions(seed=1, subjects=("A",), minutes_per_session=0.6)
    for session in (other, sessions[1]):
        assert session.unit_truth["rf_row_px"] != sessions[0].unit_truth["rf_row_px"]
        n_shared = min(len(session.frames), len(sessions[0].frames))
        assert not np.array_equal(session.frames[:n_shared], sessions[0].frames[:n_shared])


def test_repeats_have_the_same_video_behaviour_and_rates_but_not_the_same_spikes(
    sessions: list[ArrayRecording],
) -> None:
    session = sessions[0]
    repeats: dict[str | None, list[slice]] = {}
    for trial in session.trials:
        repeats.setdefault(trial.stimulus_id, []).append(slice(trial.start, trial.stop))
    repeated = [slices for slices in repeats.values() if len(slices) > 1]
    assert [len(slices) for slices in repeated] == [3, 3]
    assert session.behaviour is not None
    assert session.rates is not None
    for first, *others in repeated:
        for other in others:
            assert np.array_equal(session.frames[first], session.frames[other])
            assert np.array_equal(session.behaviour[first], session.behaviour[other])
            assert np.array_equal(session.rates[first], session.rates[other])
            assert not np.array_equal(session.responses[first], session.responses[other])


def test_no_picture_is_in_two_splits_in_any_session(sessions: list[ArrayRecording]) -> None:
    splits: dict[str | None, set[str | None]] = {}
    for session in sessions:
        for trial in session.trials:
            splits.setdefault(trial.group, set()).add(trial.split)
    assert all(len(found) == 1 for found in splits.values())
    names = [path for paths in PHOTOGRAPHS.values() for path in paths]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_most_bins_of_every_split_are_natural_images(sessions: list[ArrayRecording], split: str) -> None:
    for session in sessions:
        kinds = [t.kind for t in session.trials if t.split == split]
        assert sum(kind in ("photograph", "dead_leaves") for kind in kinds) >= len(kinds) / 2


def test_mean_rates_are_physiological_and_spikes_follow_the_rates(sessions: list[ArrayRecording]) -> None:
    for session in sessions:
        assert session.rates is not None
        train_hz = session.rates[_bins(session, "train")].mean(0) * 60
        assert train_hz.min() > 3.9
        assert train_hz.max() < 16.1
        expected = session.rates.sum(0, dtype=np.float64)
        # The hidden gain has expectation 1, but a session is only a few of its time constants long.
        np.testing.assert_allclose(session.responses.sum(0), expected, rtol=0.5)


def test_receptive_fields_lie_inside_the_field(sessions: list[ArrayRecording]) -> None:
    truth = sessions[0].unit_truth
    for row, column, sigma in zip(
        truth["rf_row_px"], truth["rf_column_px"], truth["rf_sigma_px"], strict=True
    ):
        assert 2 * sigma < row < 20 - 2 * sigma
        assert 2 * sigma < column < 28 - 2 * sigma


@pytest.mark.parametrize("changed", [0, 1, 37, 80, 119])
def test_a_later_frame_never_changes_an_earlier_rate(changed: int) -> None:
    population = _population()
    video = np.random.default_rng(0).integers(0, 255, (1, 120, 36, 64), dtype=np.uint8)
    eye_deg = np.zeros((1, 120, 2))
    before = population.rates(video, eye_deg)
    video[0, changed] = 255 - video[0, changed]
    after = population.rates(video, eye_deg)
    assert np.array_equal(before[:, :changed], after[:, :changed])
    assert not np.array_equal(before[:, changed:], after[:, changed:])


@pytest.mark.parametrize("changed", [1, 60, 119])
def test_a_later_eye_sample_never_changes_an_earlier_rate(changed: int) -> None:
    population = _population()
    video = np.random.default_rng(0).integers(0, 255, (1, 120, 36, 64), dtype=np.uint8)
    eye_deg = np.zeros((1, 120, 2))
    before = population.rates(video, eye_deg)
    eye_deg[0, changed:] += 2.0
    after = population.rates(video, eye_deg)
    assert np.array_equal(before[:, :changed], after[:, :changed])
    assert not np.array_equal(before[:, changed:], after[:, changed:])


def test_rates_do_not_depend_on_what_else_is_computed_beside_them() -> None:
    population = _population()
    video = np.random.default_rng(0).integers(0, 255, (3, 60, 36, 64), dtype=np.uint8)
    eye_deg = np.zeros((3, 60, 2))
    together = population.rates(video, eye_deg)
    assert np.array_equal(together[1:2], population.rates(video[1:2], eye_deg[1:2]))


def test_a_unit_sees_only_its_receptive_field() -> None:
    # White noise drives the filters little: a gain makes its responses count.
    population = replace(_population(), drive_scale=np.full(6, 0.05))
    generator = np.random.default_rng(0)
    video = generator.integers(0, 255, (1, 60, 36, 64), dtype=np.uint8)
    eye_deg = np.zeros((1, 60, 2))
    rates = population.rates(video, eye_deg)
    rows, columns = np.mgrid[:36, :64] + 0.5
    noise = generator.integers(0, 255, video.shape, dtype=np.uint8)
    for unit in range(6):
        distance = np.hypot(rows - population.row_px[unit], columns - population.column_px[unit])
        far = np.where(distance > 7.5 * population.sigma_px[unit], noise, video)
        near = np.where(distance < 2 * population.sigma_px[unit], noise, video)
        np.testing.assert_allclose(
            population.rates(far, eye_deg)[..., unit], rates[..., unit], rtol=1e-3, atol=1e-6
        )
        assert not np.allclose(population.rates(near, eye_deg)[..., unit], rates[..., unit], rtol=0.1)


def _peak_response_to_grating(population: Population, unit: int, direction_deg: float) -> float:
    still = np.zeros(240)
    frames = drifting_grating(
        still,
        still,
        36,
        64,
        orientation_deg=direction_deg,
        period_px=population.period_px[unit],
        phase=2 * np.pi * 6 * np.arange(240) / 240,
        contrast=0.5,
    )
    rates = population.rates(to_uint8(frames)[None], np.zeros((1, 240, 2)))
    return float(rates[0, 120:, unit].mean())


def test_units_prefer_their_orientation_and_direction_selective_ones_their_direction() -> None:
    population = _population(12)
    for unit, name in enumerate(population.cell_class):
        angle = population.orientation_deg[unit]
        preferred = _peak_response_to_grating(population, unit, angle)
        assert preferred > 10 * _peak_response_to_grating(population, unit, angle + 90)
        opposite = _peak_response_to_grating(population, unit, angle + 180)
        if name == "direction_selective":
            assert preferred > 5 * opposite
        else:
            assert preferred == pytest.approx(opposite, rel=0.1)


def test_simple_cells_answer_to_one_phase_and_complex_cells_to_all() -> None:
    population = replace(_population(2), simple_phase=np.zeros(2))
    modulation = []
    for unit in range(2):
        even, odd = gabor_pair(
            36,
            64,
            row_px=population.row_px[unit],
            column_px=population.column_px[unit],
            sigma_px=population.sigma_px[unit],
            orientation_deg=population.orientation_deg[unit],
            period_px=population.period_px[unit],
        )
        flashes = np.zeros((2, 60, 36, 64))
        flashes[0, 12:], flashes[1, 12:] = even, odd
        peaks = population.rates(to_uint8(flashes), np.zeros((2, 60, 2)))[..., unit].max(1)
        modulation.append(peaks[1] / peaks[0])
    assert modulation[0] < 0.1
    assert modulation[1] == pytest.approx(1, rel=0.2)


def test_latency_is_the_time_to_the_peak_of_a_flash_response() -> None:
    population = _population(2)
    even, _ = gabor_pair(
        36,
        64,
        row_px=population.row_px[1],
        column_px=population.column_px[1],
        sigma_px=population.sigma_px[1],
        orientation_deg=population.orientation_deg[1],
        period_px=population.period_px[1],
    )
    flash = np.zeros((1, 96, 36, 64))
    flash[0, 20] = even
    peak_s = (population.rates(to_uint8(flash), np.zeros((1, 96, 2)))[0, :, 1].argmax() - 20) / 240
    assert peak_s == pytest.approx(population.latency_s[1], abs=0.012)


def test_a_gaze_to_the_right_and_up_moves_the_picture_left_and_down() -> None:
    picture = np.random.default_rng(0).random((100, 120), np.float32)
    right_px, down_px = np.array([0.0, -3.0]), np.array([0.0, 2.0])
    frames = window(picture, down_px, right_px, 20, 28)
    np.testing.assert_allclose(frames[0], picture[40:60, 46:74], atol=1e-4)
    np.testing.assert_allclose(frames[1][2:, :-3], frames[0][:-2, 3:], atol=1e-4)


def test_the_video_follows_the_recorded_eye_positions() -> None:
    (session,) = _sessions(subjects=("A",), minutes_per_session=0.6, image_speed_deg_s=0.0)
    assert session.behaviour is not None
    errors = []
    for trial in session.trials:
        if trial.kind != "dead_leaves":
            continue
        eye_px = session.behaviour[trial.start : trial.stop, -2:] / 0.05
        frames = session.frames[trial.start : trial.stop, 0].astype(float)
        for earlier in range(30, len(frames) - 3, 3):
            right, up = np.rint(eye_px[earlier + 3] - eye_px[earlier]).astype(int)
            if 2 <= max(abs(right), abs(up)) <= 5:
                inside = (slice(5, -5), slice(5, -5))
                against = np.roll(frames[earlier], (up, -right), (0, 1)) - frames[earlier + 3]
                along = np.roll(frames[earlier], (-up, right), (0, 1)) - frames[earlier + 3]
                errors.append((np.abs(against[inside]).mean(), np.abs(along[inside]).mean()))
    assert len(errors) > 5
    moved_against_the_gaze, moved_with_it = np.mean(errors, axis=0)
    assert moved_against_the_gaze < 0.5 * moved_with_it


def test_gaze_has_drift_and_saccades_on_the_main_sequence() -> None:
    traces = [simulate_gaze(GazeConfig(), 960, 240.0, stream(0, "test gaze", index)) for index in range(40)]
    speed = np.hypot(*np.moveaxis(np.diff(np.stack(traces), axis=1) * 240, -1, 0))
    assert 0.3 < np.median(speed) < 0.7
    onsets = ((speed[:, 1:] > 15) & (speed[:, :-1] <= 15)).sum() / (40 * 4)
    assert 0.8 < onsets < 2.5
    assert speed.max() < 430


def test_the_fingerprint_follows_every_parameter() -> None:
    prints = {
        fingerprints_of(SimulatedConfig(**(_TINY | change)).build(Path()))
        for change in ({}, {"seed": 1}, {"repeats": 5}, {"cells": CellsConfig(adaptation=0.5)})
    }
    assert len(prints) == 4
    assert fingerprints_of(SimulatedConfig(**_TINY).build(Path())) in prints


KEPT: dict[type[PresetConfig], tuple[str, str]] = {
    SimulatedConfig: ("A1", "f0a5e20160ea2e596e4f0f29abc767c815d9c0b0c692e02ddb664ef57010edee"),
    WhiteNoiseConfig: ("N1", "d7ada703b5e90c0116d9c68d0352b1fdfe9afcb409278d1529aa4e728dee6d09"),
    SlowRetinaConfig: ("R1", "ed34ea762c9c76a09fa4bcc4b091403c94241718541efb767586fb0f180bc214"),
    CalciumConfig: ("A1", "2866ee622a184aa7400923de99514bb92723b3ac14f3519415d5c1965d229225"),
    SubunitCascadeConfig: ("C1", "dc44a20320a1b160dd3452daf2e1744951a2a111d8af942793376a86743bf106"),
}
"""The first session of each preset with its defaults, and its fingerprint."""


@pytest.mark.parametrize("preset", get_args(SimulationConfig))
def test_every_preset_keeps_its_fingerprint(
    preset: type[PresetConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the photographs, which another release of their package may change.
    for module in ("simulated", "calcium"):
        monkeypatch.setattr(f"visioncore.simulation.{module}.photographs_digest", lambda: "")
    source = preset().build(Path())  # type: ignore[call-arg]
    first = source.session_ids()[0]
    assert (first, source.fingerprint(first)) == KEPT[preset]


def test_the_default_generator_keeps_its_recordings(sessions: list[ArrayRecording]) -> None:
    # Recorded when the version became 2. Sums, because another processor may round an exponential otherwise.
    assert SimulatedConfig.VERSION == 2
    session = sessions[0]
    assert session.frames.sum(dtype=np.int64) == pytest.approx(257637994, abs=50)
    assert session.responses.sum(dtype=np.int64) == pytest.approx(3350, abs=2)
    assert session.rates is not None
    expected = [870.57160048, 727.44003753, 359.98808437, 465.44876761, 663.62374775, 344.57611543]
    np.testing.assert_allclose(session.rates.sum(0, dtype=np.float64), expected, rtol=1e-5)
    assert session.behaviour is not None
    assert session.behaviour.sum(dtype=np.float64) == pytest.approx(454.513417, rel=1e-5)
    first = session.trials[0]
    assert (first.stimulus_id, first.group) == ("A1/photograph-006", "photograph/coffee")


def test_the_shipped_yaml_is_the_default_and_survives_a_round_trip() -> None:
    config = (
        load_data_config(_REPOSITORY / "experiments" / "data_configs" / "simulated.yaml").recordings[0].source
    )
    assert isinstance(config, SimulatedConfig)
    assert config == SimulatedConfig()
    assert build_config(SimulatedConfig, dump_config(config), "dumped") == config
    assert (config.sampling_rate_hz, config.height, config.width) == (240, 36, 64)
    assert len(set(config.subjects)) == 2


def test_mistakes_in_the_config_are_named() -> None:
    with pytest.raises(ConfigError, match="latency_s must ascend"):
        build_config(SimulatedConfig, {"type": "simulated", "cells": {"latency_s": [0.06, 0.03]}}, "here")
    with pytest.raises(DataError, match="raise minutes_per_session"):
        _sessions(minutes_per_session=0.2)


@pytest.mark.slow
def test_the_default_task_is_worth_solving() -> None:
    config = SimulatedConfig(subjects=("A",), minutes_per_session=4.0)
    (session,) = sessions_of(config.build(Path()))
    assert isinstance(session, ArrayRecording)
    assert session.rates is not None
    rates = session.rates[_bins(session, "test", burn_in=60)].astype(np.float64)
    mean = rates.mean(0)
    ceiling = (rates * np.log2(rates / mean)).mean(0) / mean
    assert ceiling.mean() >= 1
    assert (mean * 240).min() >= 1
    assert (mean * 240).max() <= 30
