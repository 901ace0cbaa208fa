"""Values that cannot be what they claim are refused with their place; what is merely unusual is not."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flawed import N_BINS, prepared, recording, traces
from visioncore.data.plausibility import sampling_step, stray_values, suspects
from visioncore.errors import DataError

CODES = [1e20, 9.96921e36, -9999.0, -32768.0, 65535.0, float(np.finfo(np.float32).max)]


@pytest.fixture(scope="module")
def clean() -> dict[str, Any]:
    return recording()


def at(n: int, seed: int = 0) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(N_BINS, n, replace=False))


@pytest.mark.parametrize("code", CODES)
def test_codes_for_missing_samples_in_running_speed_are_refused_with_their_place(
    code: float, clean: dict[str, Any], tmp_path: Path
) -> None:
    speed = clean["speed"].copy()
    speed[at(57)] = code
    with pytest.raises(DataError, match=rf"behaviour_0: 57 of {N_BINS} bins.*bin {at(57)[0]}.*missing: \["):
        prepared(tmp_path, {**clean, "speed": speed})


@pytest.mark.parametrize("scale", [1.0, 1 / 255])
@pytest.mark.parametrize("code", CODES)
def test_codes_in_a_few_frames_are_refused(
    code: float, scale: float, clean: dict[str, Any], tmp_path: Path
) -> None:
    video = clean["stim"].astype(np.float32) * np.float32(scale)
    video[at(5)] = code
    with pytest.raises(DataError, match=rf"video: 5 of {N_BINS} frames.*bin {at(5)[0]},.*missing: \["):
        prepared(tmp_path, {**clean, "stim": video})


def test_codes_in_pixels_of_most_frames_are_refused(clean: dict[str, Any], tmp_path: Path) -> None:
    video = clean["stim"].astype(np.float32)
    video[N_BINS // 10 :, :2] = -9999.0
    with pytest.raises(DataError, match=r"of the pixels hold -9999.*grey"):
        prepared(tmp_path, {**clean, "stim": video})


@pytest.mark.parametrize("code", [255, 999, 32767, 65535])
def test_codes_among_counts_are_refused(code: int, clean: dict[str, Any], tmp_path: Path) -> None:
    spikes = clean["spikes"].copy()
    spikes[at(50), 2] = code
    with pytest.raises(DataError, match=rf"unit 2: 50 of {N_BINS} bins hold {code}"):
        prepared(tmp_path, {**clean, "spikes": spikes})


@pytest.mark.parametrize("code", [1e20, -9999.0])
def test_codes_in_one_of_several_traces_are_refused(
    code: float, clean: dict[str, Any], tmp_path: Path
) -> None:
    flawed = traces(clean)
    flawed["spikes"][at(57), 1] = code
    with pytest.raises(DataError, match="unit 1: 57 of"):
        prepared(tmp_path, flawed, kind="trace")


@pytest.mark.parametrize("value", [0, 255])
def test_single_frames_that_are_black_or_white_all_over_are_said(
    value: int, clean: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = clean["stim"].copy()
    video[[100, 700, 701, 1500]] = value
    prepared(tmp_path, {**clean, "stim": video})
    assert f"4 of {N_BINS} frames are {value} all over, the first at bin 100" in caplog.text


@pytest.mark.parametrize("blank", ["black between trials", "grey frames", "flicker"])
def test_blanks_that_are_shown_are_not_said(
    blank: str, clean: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = clean["stim"].copy()
    if blank == "black between trials":
        for start in range(0, N_BINS, 240):
            video[start : start + 10] = 0
    elif blank == "grey frames":
        video[[100, 700]] = 127
    else:
        video[:] = video[:, :1, :1]
    prepared(tmp_path, {**clean, "stim": video})
    assert "all over" not in caplog.text


def test_codes_that_the_yaml_names_are_left_out_and_held(clean: dict[str, Any], tmp_path: Path) -> None:
    flawed = {**clean, "stim": clean["stim"].astype(np.float32), "speed": clean["speed"].copy()}
    flawed["spikes"] = clean["spikes"].astype(np.int64)
    flawed["stim"][[100, 101]] = 1e20
    flawed["speed"][200] = -9999.0
    flawed["spikes"][300, 1] = 65535
    session = prepared(tmp_path, flawed, missing=[1e20, -9999, 65535]).sessions["s0"]
    invalid = ~session.valid(0, N_BINS)
    assert np.argwhere(invalid.all(1)).ravel().tolist() == [100, 101, 200]
    assert np.argwhere(invalid & ~invalid.all(1, keepdims=True)).tolist() == [[300, 1]]
    np.testing.assert_array_equal(session.video(101, 102)[0, 0], clean["stim"][99])
    behaviour = session.behaviour(199, 202)
    assert behaviour is not None
    np.testing.assert_array_equal(behaviour[1], behaviour[0])
    np.testing.assert_array_equal(session.responses(0, N_BINS)[~invalid], clean["spikes"][~invalid])


def test_values_that_the_yaml_calls_real_are_kept(clean: dict[str, Any], tmp_path: Path) -> None:
    speed = clean["speed"].copy()
    speed[at(57)] = -9999.0
    session = prepared(tmp_path, {**clean, "speed": speed}, missing=[]).sessions["s0"]
    assert session.valid(0, N_BINS).all()
    behaviour = session.behaviour(0, N_BINS)
    assert behaviour is not None
    np.testing.assert_array_equal(behaviour, speed)


@pytest.mark.parametrize(
    "signal",
    [
        np.random.default_rng(0).standard_t(3, 5000),  # heavy tails
        np.abs(np.random.default_rng(1).normal(size=5000)) * (np.arange(5000) % 400 < 60),  # mostly still
        (np.arange(5000) % 900 == 0).astype(float),  # rare events
        5.0 * (np.arange(5000) % 50 == 0),  # a pulse
        np.repeat(np.random.default_rng(2).normal(size=50), 100),  # held samples
        np.exp(np.random.default_rng(3).normal(0, 1.5, 5000)),  # skewed
        np.full(5000, 7.0),
    ],
    ids=["heavy tails", "mostly still", "rare events", "pulse", "held", "skewed", "constant"],
)
def test_signals_as_they_are_hold_no_codes(signal: np.ndarray) -> None:
    assert stray_values(signal) is None
    assert stray_values(-signal) is None


@pytest.mark.parametrize("factor", [2, 60, 120])
def test_counts_that_are_all_multiples_of_a_number_are_refused(
    factor: int, clean: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"unit 0: .*multiple of {factor}: these are not counts"):
        prepared(tmp_path, {**clean, "spikes": clean["spikes"] * factor})


def test_one_unit_whose_counts_are_multiples_is_named(clean: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unit 3: .*multiple of 3"):
        prepared(tmp_path, {**clean, "spikes": clean["spikes"] * [1, 1, 1, 3]})


def test_spikes_per_second_at_a_rate_that_is_not_round_are_recognised(
    clean: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"multiples of 59\.94.*divide them by it"):
        prepared(tmp_path, {**clean, "spikes": clean["spikes"] * 59.94})


def scaled(arrays: dict[str, Any], factor: float, offset: float = 0.0) -> dict[str, Any]:
    return {**arrays, "stim": arrays["stim"].astype(np.float32) * np.float32(factor) + np.float32(offset)}


def test_sessions_on_different_pixel_scales_are_refused(clean: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"session 's0' has a mean of 0\.[45].*session 's1' has a mean of 12[78]"
    ):
        prepared(tmp_path, scaled(clean, 1 / 255), scaled(recording(seed=1), 1.0))


def test_sessions_on_scales_that_may_differ_are_said(
    clean: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = recording(seed=1)
    with caplog.at_level(logging.WARNING):
        prepared(tmp_path / "same", scaled(clean, 1 / 255), scaled(other, 0.8 / 255, 0.1))
    assert "different scales" not in caplog.text
    with caplog.at_level(logging.WARNING):
        prepared(tmp_path / "other", scaled(clean, 1 / 255), scaled(other, 1 / 74, -127.5 / 74))
    assert "different scales" in caplog.text


@pytest.mark.parametrize("kind", ["normal", "gamma", "two places", "steps"])
def test_whatever_is_stray_is_looked_at_closely_and_clean_noise_is_not(kind: str) -> None:
    found = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2500, 40_000))
        clean = {
            "normal": rng.normal(size=n),
            "gamma": rng.gamma(1.0, size=n),
            "two places": rng.normal(size=n) + 6 * (rng.random(n) < 0.3),
            "steps": rng.integers(0, 12, n).astype(float),
        }[kind]
        values = clean.copy()
        code = rng.choice([-999.0, -99.0, -20.0, 30.0, 255.0, 9999.0])
        values[rng.random(n) < 10 ** rng.uniform(-3.5, -0.37)] = code
        columns = np.stack([values, clean], axis=1)
        looked_at = suspects(
            columns[:: sampling_step(n)], columns.min(axis=0), columns.max(axis=0), counts=False
        )
        if stray_values(values) is not None:
            found += 1
            assert 0 in looked_at, (seed, code)
        if kind == "normal":
            assert 1 not in looked_at
    assert found > 30
