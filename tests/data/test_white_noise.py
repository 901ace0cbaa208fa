"""The simulated white-noise experiment: stimulus, cells, splits."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs import fingerprints_of, sessions_of
from visioncore.config import build_config
from visioncore.data import build_data_config, load_data_config, prepare
from visioncore.errors import ConfigError, DataError
from visioncore.recording import ArrayRecording
from visioncore.simulation.early_cells import (
    EarlyCellClass,
    EarlyCellsConfig,
    EarlyPopulation,
    draw_early_population,
)
from visioncore.simulation.randomness import stream
from visioncore.simulation.temporal import biphasic
from visioncore.simulation.white_noise import WhiteNoiseConfig
from visioncore.stimuli import GREY

DATA_CONFIGS = Path(__file__).parents[2] / "experiments" / "data_configs"
ALL_CLASSES: tuple[EarlyCellClass, ...] = ("centre_surround", "gabor", "subunits", "normalised")


def session_of(**changes: Any) -> ArrayRecording:
    small = {"minutes": 1.0, "height": 12, "width": 14, "frozen_s": 2.0, "repeats": 4}
    (session,) = sessions_of(WhiteNoiseConfig(**(small | changes)).build(Path()))
    assert isinstance(session, ArrayRecording)
    assert session.rates is not None
    return session


def population(n_units: int = 4, **changes: Any) -> EarlyPopulation:
    config = EarlyCellsConfig(classes=ALL_CLASSES, **changes)
    drawn = draw_early_population(config, n_units, 16, 16, 60.0, stream(1, "cells"))
    return drawn.calibrated([noise(2400)])


def noise(n_bins: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([76, 178], np.uint8), (n_bins, 16, 16))


def bits_per_spike(rates: np.ndarray, truth: np.ndarray) -> float:
    """Expected score of a rate."""
    mean = truth.mean()
    return float((truth * np.log2(rates / mean) - (rates - mean) / np.log(2)).mean() / mean)


def best_function_of(drive: np.ndarray, truth: np.ndarray) -> float:
    """The score of the best static nonlinearity of a drive, fitted on one half and scored on the other."""
    half = len(drive) // 2
    bins = np.digitize(drive, np.quantile(drive[:half], np.linspace(0, 1, 31)[1:-1]))
    levels = np.array([truth[:half][bins[:half] == level].mean() for level in range(30)])
    return bits_per_spike(levels[bins[half:]], truth[half:])


# --- The stimulus -------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_recording_and_another_seed_another() -> None:
    first, again, other = session_of(), session_of(), session_of(seed=1)
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.responses, again.responses)
    assert np.array_equal(np.asarray(first.rates), np.asarray(again.rates))
    assert first.unit_truth == again.unit_truth
    assert not np.array_equal(first.frames, other.frames)
    assert first.unit_truth["rf_row_px"] != other.unit_truth["rf_row_px"]


def test_frozen_noise_is_the_same_every_time_with_the_same_rates_and_other_spikes() -> None:
    session = session_of()
    frozen = [slice(t.start, t.stop) for t in session.trials if t.kind == "frozen"]
    assert len(frozen) == 4
    assert len({t.stimulus_id for t in session.trials if t.kind == "frozen"}) == 1
    assert session.rates is not None
    for other in frozen[1:]:
        assert np.array_equal(session.frames[frozen[0]], session.frames[other])
        assert np.array_equal(session.rates[frozen[0]], session.rates[other])
        assert not np.array_equal(session.responses[frozen[0]], session.responses[other])


def test_running_noise_never_comes_again() -> None:
    session = session_of()
    running = np.concatenate(
        [np.arange(t.start, t.stop) for t in session.trials if t.stimulus_id is None]
        + [np.arange(t.start, t.stop) for t in session.trials if t.kind == "frozen"][:1]
    )
    seen = {session.frames[bin_index].tobytes() for bin_index in running}
    assert len(seen) == len(running)


@pytest.mark.parametrize(("noise", "levels"), [("binary", 2), ("gaussian", 100)])
def test_noise_is_grey_on_average_and_has_the_contrast_that_was_asked_for(noise: str, levels: int) -> None:
    frames = session_of(noise=noise, contrast=0.3).frames
    contrast = (frames.astype(float) - GREY) / GREY
    assert abs(contrast.mean()) < 0.005
    assert contrast.std() == pytest.approx(0.3, rel=0.02)
    assert len(np.unique(frames)) >= levels
    assert (len(np.unique(frames)) == 2) == (noise == "binary")


def test_squares_have_the_size_and_stay_as_long_as_configured() -> None:
    frames = session_of(stixel_px=4, refreshes_per_frame=3).frames[:30, 0]
    assert frames.shape == (30, 12, 14)
    squares = frames[::3, ::4, ::4]
    assert np.array_equal(frames, squares.repeat(3, 0).repeat(4, 1).repeat(4, 2)[:, :, :14])
    assert 0.3 < (squares[1:] != squares[:-1]).mean() < 0.7


# --- The cells ----------------------------------------------------------------------------------------------------


def test_mean_rates_are_as_drawn_and_spikes_follow_the_rates() -> None:
    session = session_of(
        n_units=8, cells=EarlyCellsConfig(classes=ALL_CLASSES, mean_rate_hz=(5.0, 14.0)), minutes=3.0
    )
    rates = np.asarray(session.rates, np.float64)
    running = np.concatenate([np.arange(t.start, t.stop) for t in session.trials if t.kind == "running"])
    assert (rates[running].mean(0) * 60).min() > 4.9
    assert (rates[running].mean(0) * 60).max() < 14.1
    np.testing.assert_allclose(session.responses.sum(0), rates.sum(0), rtol=0.15)
    assert session.unit_truth["cell_class"] == list(ALL_CLASSES) * 2
    assert all(len(values) == 8 for values in session.unit_truth.values())


@pytest.mark.parametrize("changed", [0, 1, 50, 119])
def test_a_later_frame_never_changes_an_earlier_rate(changed: int) -> None:
    cells, video = population(), noise(120, seed=3)
    before = cells.rates(video)
    video[changed] = 254 - video[changed]
    after = cells.rates(video)
    assert np.array_equal(before[:changed], after[:changed])
    assert (before[changed:] != after[changed:]).any(0).all()


def test_the_linear_cells_spike_triggered_average_is_its_filter() -> None:
    cells = population(2)
    video = noise(30_000, seed=4)
    counts = np.random.default_rng(0).poisson(cells.rates(video))
    pixels = (video.astype(float) - GREY).reshape(len(video), -1)
    lags = 15
    for unit in range(2):
        kernel = biphasic(np.eye(1, lags), cells.latency_s[unit] * 60, cells.transience[unit])[0]
        true = np.outer(kernel, cells.filters(unit)[0].ravel())
        average = np.stack(
            [
                counts[lag:, unit] @ pixels[: len(pixels) - lag] / counts[lag:, unit].sum()
                for lag in range(lags)
            ]
        )
        space, time = np.linalg.svd(average)[2][0], np.linalg.svd(average)[0][:, 0]
        assert abs(np.corrcoef(space, true.sum(0))[0, 1]) > 0.9
        assert abs(np.corrcoef(time, kernel)[0, 1]) > 0.97
        assert np.corrcoef(average.ravel(), true.ravel())[0, 1] > 0.5


def test_linear_cells_are_functions_of_one_filter_and_the_others_are_not() -> None:
    cells = population()
    video = noise(20_000, seed=5)
    rates = cells.rates(video).astype(np.float64)
    share = {}
    for unit, name in enumerate(cells.cell_class):
        # By symmetry the sum of its subunits' filters is what a subunit cell's linear part is proportional to.
        summed = cells.filters(unit).sum(0) if name == "subunits" else cells.filters(unit)[0]
        spatial = (video.astype(float) - GREY).reshape(len(video), -1) @ summed.ravel()
        drive = biphasic(spatial[None], cells.latency_s[unit] * 60, cells.transience[unit])[0]
        share[name] = best_function_of(drive, rates[:, unit]) / bits_per_spike(rates[:, unit], rates[:, unit])
    assert share["centre_surround"] > 0.95
    assert share["gabor"] > 0.95
    assert share["subunits"] < 0.8
    assert share["normalised"] < 0.8


# --- From the configuration to a store ----------------------------------------------------------------------------


def test_a_white_noise_recording_is_prepared_with_gaps_between_its_blocks(tmp_path: Path) -> None:
    raw = {
        "type": "white_noise",
        "params": {"minutes": 1.0, "height": 8, "width": 9, "frozen_s": 2.0, "repeats": 3},
        "split": {"block_s": 3.0, "split_gap_s": 0.5, "test": 0.25, "validation": 0.15},
    }
    store = prepare(build_data_config(raw, "here"), tmp_path)
    assert store.spec.behaviour_names == ()
    (session,) = store.sessions.values()
    kinds = {split: {block.kind for block in session.blocks_in(split)} for split in ("train", "test")}
    assert kinds == {"train": {"running"}, "test": {"running", "frozen"}}
    running = [block for block in session.blocks if block.kind == "running"]
    for before, after in pairwise(running):
        frozen_between = any(
            before.stop <= b.start < after.start for b in session.blocks if b.kind == "frozen"
        )
        assert frozen_between or before.split == after.split or after.start - before.stop >= 30


def test_the_small_recording_has_about_26000_training_frames_and_a_ceiling_near_one_bit(
    tmp_path: Path,
) -> None:
    config = load_data_config(DATA_CONFIGS / "white_noise_small.yaml")
    assert config.recordings[0].source == WhiteNoiseConfig()
    store = prepare(config.model_copy(update={"store": str(tmp_path)}), DATA_CONFIGS)
    (session,) = store.sessions.values()
    assert (store.spec.sampling.height, store.spec.sampling.width, len(session.spec.unit_ids)) == (16, 16, 1)
    assert session.unit_truth["cell_class"] == ["centre_surround"]
    assert sum(block.n_bins for block in session.blocks_in("train")) == pytest.approx(26_000, rel=0.03)
    rates = np.asarray(session.rates(0, session.n_bins), np.float64)
    assert bits_per_spike(rates[:, 0], rates[:, 0]) > 0.95


def test_the_large_recording_has_eight_cells_of_all_classes() -> None:
    config = load_data_config(DATA_CONFIGS / "white_noise_large.yaml").recordings[0].source
    assert isinstance(config, WhiteNoiseConfig)
    assert (config.n_units, config.height, config.width, config.minutes) == (8, 36, 64, 25.0)
    assert set(config.cells.classes) == set(ALL_CLASSES)


def test_the_fingerprint_follows_the_parameters() -> None:
    changes: tuple[dict[str, Any], ...] = ({}, {"seed": 1}, {"cells": EarlyCellsConfig(classes=("gabor",))})
    prints = {fingerprints_of(WhiteNoiseConfig(**change).build(Path())) for change in changes}
    assert len(prints) == 3
    assert fingerprints_of(WhiteNoiseConfig().build(Path())) in prints


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"contrast": 1.5}, "a screen shows binary noise up to 1"),
        ({"noise": "pink"}, "expected binary | gaussian"),
        ({"cells": {"classes": []}}, "'cells.classes' has 0 values"),
        ({"cells": {"gain": [3.0, 2.0]}}, "gain must ascend"),
    ],
)
def test_mistakes_in_the_config_are_named(params: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config(WhiteNoiseConfig, {"type": "white_noise", **params}, "here")
    assert expected in str(caught.value)


def test_frozen_noise_that_leaves_no_time_is_refused() -> None:
    with pytest.raises(DataError, match="raise minutes or lower repeats"):
        session_of(minutes=0.1)
