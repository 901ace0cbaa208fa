"""The recording for checking that recipes generalise: moving scenes, and cells made of rectified subunits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs import fingerprints_of, sessions_of
from visioncore.behaviour import eye_feature_names, eye_features
from visioncore.config import build_config
from visioncore.data import build_data_config, load_data_config, prepare
from visioncore.errors import ConfigError, DataError
from visioncore.recording import ArrayRecording
from visioncore.simulation.cascade_cells import (
    CascadeCellsConfig,
    CascadePopulation,
    draw_cascade_population,
)
from visioncore.simulation.moving_textures import KINDS, LeavesLibrary, MovingScreen
from visioncore.simulation.randomness import stream
from visioncore.simulation.simulated import SimulatedConfig
from visioncore.simulation.subunit_cascade import SubunitCascadeConfig
from visioncore.stimuli import drifting_grating, to_uint8

DATA_CONFIGS = Path(__file__).parents[2] / "experiments" / "data_configs"
RATE_HZ = 120.0
TINY: dict[str, Any] = {
    "height": 20,
    "width": 28,
    "minutes_per_session": 0.8,
    "units_per_session": 6,
    "trial_s": 1.5,
    "repeated_stimuli": 2,
    "repeats": 3,
}


def simulated(**changes: Any) -> list[ArrayRecording]:
    return sessions_of(SubunitCascadeConfig(**({"subjects": ("C", "D")} | TINY | changes)).build(Path()))


@pytest.fixture(scope="module")
def sessions() -> list[ArrayRecording]:
    return simulated()


def noise(n_trials: int, n_bins: int, seed: int = 0) -> np.ndarray:
    """Flicker that is smooth enough in space to drive the cells."""
    coarse = np.random.default_rng(seed).integers(0, 255, (n_trials, n_bins, 9, 16), dtype=np.uint8)
    return coarse.repeat(4, 2).repeat(4, 3)


@pytest.fixture(scope="module")
def population() -> CascadePopulation:
    drawn = draw_cascade_population(CascadeCellsConfig(), 6, 36, 64, RATE_HZ, stream(3, "cells"))
    calibrated, _ = drawn.calibrated(noise(4, 240), np.zeros((4, 240, 2)), np.ones(4, bool))
    return calibrated


# --- The recording ------------------------------------------------------------------------------------------------


def test_signals_are_aligned_and_named(sessions: list[ArrayRecording]) -> None:
    assert [session.spec.id for session in sessions] == ["C1", "D1"]
    assert all(session.spec.behaviour_names == eye_feature_names() for session in sessions)
    for session in sessions:
        assert session.frames.shape == (session.n_bins, 1, 20, 28)
        assert session.behaviour is not None
        assert session.behaviour.shape == (session.n_bins, 42)
        assert session.rates is not None
        assert session.rates.shape == session.responses.shape == (session.n_bins, 6)
        assert session.trials[-1].stop == session.n_bins
        assert all(len(values) == 6 for values in session.unit_truth.values())
        assert json.loads(json.dumps(session.unit_truth)) == session.unit_truth


def test_the_same_seed_gives_the_same_recording_and_another_seed_another(
    sessions: list[ArrayRecording],
) -> None:
    (again,) = simulated(subjects=("C",))
    (other,) = simulated(subjects=("C",), seed=1)
    for name in ("frames", "responses", "rates", "behaviour"):
        assert np.array_equal(getattr(sessions[0], name), getattr(again, name))
        for another in (other, sessions[1]):
            assert not np.array_equal(getattr(sessions[0], name), getattr(another, name))
    assert sessions[0].unit_truth == again.unit_truth


def test_repeats_have_the_same_video_behaviour_and_rates_but_not_the_same_spikes(
    sessions: list[ArrayRecording],
) -> None:
    session = sessions[0]
    repeats: dict[str | None, list[slice]] = {}
    for trial in session.trials:
        repeats.setdefault(trial.stimulus_id, []).append(slice(trial.start, trial.stop))
    repeated = [slices for slices in repeats.values() if len(slices) > 1]
    assert [len(slices) for slices in repeated] == [3, 3]
    for first, *others in repeated:
        for other in others:
            for name in ("frames", "behaviour", "rates"):
                assert np.array_equal(getattr(session, name)[first], getattr(session, name)[other])
            assert not np.array_equal(session.responses[first], session.responses[other])


def test_no_picture_is_in_two_splits_in_any_session(sessions: list[ArrayRecording]) -> None:
    splits: dict[str | None, set[str | None]] = {}
    for session in sessions:
        for trial in session.trials:
            splits.setdefault(trial.group, set()).add(trial.split)
    assert len(splits) > 10
    assert all(len(found) == 1 for found in splits.values())
    assert {trial.kind for trial in sessions[0].trials} == set(KINDS)


def test_mean_rates_are_as_drawn_and_spikes_follow_the_rates(sessions: list[ArrayRecording]) -> None:
    for session in sessions:
        assert session.rates is not None
        train = np.concatenate([np.arange(t.start, t.stop) for t in session.trials if t.split == "train"])
        train_hz = session.rates[train].mean(0) * RATE_HZ
        assert train_hz.min() > 2.9
        assert train_hz.max() < 14.1
        # The hidden gain has expectation 1, but a session is only a few of its time constants long.
        np.testing.assert_allclose(session.responses.sum(0), session.rates.sum(0), rtol=0.6)


def test_the_video_follows_the_recorded_eye_positions() -> None:
    (session,) = simulated(subjects=("C",), minutes_per_session=1.2)
    assert session.behaviour is not None
    errors = []
    for trial in session.trials:
        if trial.kind != "zooming_leaves":
            continue
        eye_px = session.behaviour[trial.start : trial.stop, -2:] / 0.05
        frames = session.frames[trial.start : trial.stop, 0].astype(float)
        for earlier in range(15, len(frames) - 3):
            right, up = np.rint(eye_px[earlier + 3] - eye_px[earlier]).astype(int)
            # Mostly vertical steps, so that a wrong sign of one axis cannot hide behind the other.
            if 2 <= abs(up) <= 5 and abs(right) <= 1:
                inside = (slice(6, -6), slice(6, -6))
                against = np.roll(frames[earlier], (up, -right), (0, 1)) - frames[earlier + 3]
                along = np.roll(frames[earlier], (-up, -right), (0, 1)) - frames[earlier + 3]
                errors.append((np.abs(against[inside]).mean(), np.abs(along[inside]).mean()))
    assert len(errors) > 5
    moved_against_the_gaze, moved_with_it = np.mean(errors, axis=0)
    assert moved_against_the_gaze < 0.6 * moved_with_it


# --- The scenes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_a_scene_moves_under_a_still_eye_and_has_contrast(kind: str) -> None:
    screen = MovingScreen(20, 28, RATE_HZ)
    frames, picture = screen.show(kind, "train", np.zeros((120, 2)), LeavesLibrary(0), stream(1, kind))
    assert frames.shape == (120, 20, 28)
    assert (picture is not None) == (kind == "zooming_leaves")
    assert 0.05 < frames.std() < 0.6
    assert np.abs(frames[60] - frames[0]).max() > 0.1
    assert np.abs(frames[1] - frames[0]).mean() < 0.3 * frames.std()


@pytest.mark.parametrize("kind", ["plaid", "sparse_motion", "motion_cloud", "zooming_leaves"])
def test_an_eye_that_moves_right_and_down_sees_every_scene_move_left_and_up(kind: str) -> None:
    screen, library = MovingScreen(24, 30, RATE_HZ), LeavesLibrary(0)
    still = np.zeros((3, 2))
    # Around a mean of zero, because moving elements are laid about the mean gaze.
    moved = np.array([[-2.0, -3.0], [0.0, 0.0], [2.0, 3.0]])
    before, _ = screen.show(kind, "train", still, library, stream(1, kind))
    after, _ = screen.show(kind, "train", moved, library, stream(1, kind))
    np.testing.assert_allclose(after[1], before[1], atol=1e-5)
    np.testing.assert_allclose(after[2][:-2, :-3], before[2][2:, 3:], atol=2e-3)


def test_a_picture_that_grows_stays_centred_and_one_that_turns_turns() -> None:
    screen = MovingScreen(21, 21, RATE_HZ)
    picture = np.zeros((101, 101), np.float32)
    picture[50, 40:61] = 1.0
    frames = screen._sampled(
        picture, np.zeros((3, 2)), np.array([1.0, 2.0, 1.0]), np.array([0.0, 0.0, np.pi / 2])
    )
    np.testing.assert_allclose(frames[0], picture[40:61, 40:61], atol=1e-5)
    assert frames[1].sum() > 1.5 * frames[0].sum()
    np.testing.assert_allclose(frames[2], frames[0].T, atol=1e-4)


# --- The cells ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [0, 1, 37, 119])
def test_a_later_frame_never_changes_an_earlier_rate(population: CascadePopulation, changed: int) -> None:
    video, eye_deg = noise(1, 120), np.zeros((1, 120, 2))
    before = population.rates(video, eye_deg)
    video[0, changed] = 255 - video[0, changed]
    after = population.rates(video, eye_deg)
    assert np.array_equal(before[:, :changed], after[:, :changed])
    assert (before[:, changed:] != after[:, changed:]).any()


@pytest.mark.parametrize("changed", [1, 60, 119])
def test_a_later_eye_sample_never_changes_an_earlier_rate(
    population: CascadePopulation, changed: int
) -> None:
    video, eye_deg = noise(1, 120), np.zeros((1, 120, 2))
    before = population.rates(video, eye_deg)
    eye_deg[0, changed:] += 2.0
    after = population.rates(video, eye_deg)
    assert np.array_equal(before[:, :changed], after[:, :changed])
    assert (before[:, changed:] != after[:, changed:]).all(-1).any()


def test_rates_do_not_depend_on_what_else_is_computed_beside_them(population: CascadePopulation) -> None:
    video, eye_deg = noise(10, 60), np.zeros((10, 60, 2))
    together = population.rates(video, eye_deg)
    assert np.array_equal(together[8:9], population.rates(video[8:9], eye_deg[8:9]))


def test_a_unit_sees_only_its_surroundings(population: CascadePopulation) -> None:
    video, eye_deg = noise(1, 60), np.zeros((1, 60, 2))
    other = noise(1, 60, seed=1)
    rows, columns = np.mgrid[:36, :64] + 0.5
    rates = population.rates(video, eye_deg)
    for unit in range(6):
        distance = np.hypot(rows - population.row_px[unit], columns - population.column_px[unit])
        reach = population.sigma_px[unit] * population.elongation[unit]
        far = population.rates(np.where(distance > 7 * reach + 4, other, video), eye_deg)
        near = population.rates(np.where(distance < 2 * reach, other, video), eye_deg)
        np.testing.assert_allclose(far[..., unit], rates[..., unit], rtol=1e-2)
        assert not np.allclose(near[..., unit], rates[..., unit], rtol=0.1)


def mean_rate_under_grating(cells: CascadePopulation, unit: int, direction_deg: float) -> float:
    still = np.zeros(240)
    frames = drifting_grating(
        still,
        still,
        36,
        64,
        orientation_deg=direction_deg,
        period_px=5.2 * cells.sigma_px[unit],
        phase=2 * np.pi * 5 * np.arange(240) / RATE_HZ,
        contrast=0.5,
    )
    return float(cells.rates(to_uint8(frames)[None], np.zeros((1, 240, 2)))[0, 120:, unit].mean())


def test_units_prefer_their_orientation_and_delay_opponent_ones_their_direction(
    population: CascadePopulation,
) -> None:
    for unit, name in enumerate(population.cell_class):
        angle = population.orientation_deg[unit]
        preferred = mean_rate_under_grating(population, unit, angle)
        assert preferred > 3 * mean_rate_under_grating(population, unit, angle + 90)
        opposite = mean_rate_under_grating(population, unit, angle + 180)
        if name == "delay_opponent":
            assert preferred > 3 * opposite
        else:
            assert preferred == pytest.approx(opposite, rel=0.25)


def test_push_pull_cells_tell_contrast_signs_apart_and_energy_cells_do_not(
    population: CascadePopulation,
) -> None:
    video, eye_deg = noise(2, 240, seed=2), np.zeros((2, 240, 2))
    # Exactly opposite contrasts: 127 is grey.
    video = np.minimum(video, 254)
    rates, inverted = population.rates(video, eye_deg), population.rates(254 - video, eye_deg)
    for unit, name in enumerate(population.cell_class):
        if name == "push_pull":
            assert np.corrcoef(rates[..., unit].ravel(), inverted[..., unit].ravel())[0, 1] < 0.2
        else:
            np.testing.assert_allclose(rates[..., unit], inverted[..., unit], rtol=1e-5)


def test_a_uniform_field_drives_no_unit(population: CascadePopulation) -> None:
    eye_deg = np.zeros((1, 120, 2))
    grey = population.rates(np.full((1, 120, 36, 64), 127, np.uint8), eye_deg)[0, -1]
    mean = population.target_rate_hz / RATE_HZ
    assert (grey < mean).all()
    assert (grey > 0).all()


def test_looking_along_its_gain_field_raises_a_units_rate(population: CascadePopulation) -> None:
    video = noise(1, 120)
    here = population.rates(video, np.zeros((1, 120, 2)))
    for unit in range(6):
        eye_deg = np.broadcast_to(population.gain_field[unit], (1, 120, 2))
        there = population.rates(video, eye_deg)
        expected = np.exp(np.square(population.gain_field[unit]).sum())
        np.testing.assert_allclose(there[..., unit], here[..., unit] * expected, rtol=1e-5)


def test_saccades_suppress_responses(population: CascadePopulation) -> None:
    video, eye_deg = noise(1, 120), np.zeros((1, 120, 2))
    eye_deg[0, 60:] = 1e-9
    still = population.rates(video, eye_deg)
    eye_deg[0, 58:62] = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    after = population.rates(video, eye_deg)
    assert (after[0, 62:66] < 0.8 * still[0, 62:66]).all()
    np.testing.assert_allclose(after[0, -1], still[0, -1], rtol=0.05)


# --- From the configuration to a store ----------------------------------------------------------------------------


def test_the_recording_is_prepared(tmp_path: Path) -> None:
    store = prepare(
        build_data_config({"type": "subunit_cascade", "params": {**TINY, "subjects": ["C"]}}, "here"),
        tmp_path,
    )
    assert len(store.spec.behaviour_names) == 42
    (session,) = store.sessions.values()
    assert session.has_rates
    assert {block.split for block in session.blocks} == {"train", "validation", "test"}


def test_behaviour_is_that_of_the_default_recording() -> None:
    (session,) = simulated(subjects=("C",))
    assert session.spec.behaviour_names == eye_feature_names()
    assert session.behaviour is not None
    trial = session.trials[0]
    own = session.behaviour[trial.start : trial.stop]
    np.testing.assert_allclose(eye_features(own[:, -2:].astype(np.float64), RATE_HZ), own, atol=1e-3)


def test_the_shipped_yaml_is_the_default_and_no_seed_of_the_tuned_recording() -> None:
    config = load_data_config(DATA_CONFIGS / "unseen_120hz.yaml").recordings[0].source
    assert config == SubunitCascadeConfig()
    assert config.seed != SimulatedConfig().seed
    assert (config.sampling_rate_hz, config.height, config.width) == (120, 36, 64)
    assert len(set(config.subjects)) == 2


def test_the_fingerprint_follows_the_parameters() -> None:
    changes: tuple[dict[str, Any], ...] = ({}, {"seed": 1}, {"cells": CascadeCellsConfig(push_pull=0.5)})
    assert len({fingerprints_of(SubunitCascadeConfig(**change).build(Path())) for change in changes}) == 3
    assert len({fingerprints_of(SubunitCascadeConfig().build(Path())) for _ in range(2)}) == 1


def test_mistakes_in_the_config_are_named() -> None:
    with pytest.raises(ConfigError, match="elongation must ascend"):
        build_config(
            SubunitCascadeConfig, {"type": "subunit_cascade", "cells": {"elongation": [2.0, 1.0]}}, "here"
        )
    with pytest.raises(DataError, match="raise minutes_per_session"):
        simulated(minutes_per_session=0.2)
