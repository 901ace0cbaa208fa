"""Repeats are what a lab calls repeats: equal to within a grey level in nearly every frame, and nothing less."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flawed import N_BINS, TRIAL_BINS, prepared, recording
from visioncore.data import RecordingStore
from visioncore.errors import DataError

IDS = np.array([0, 0, 0, *range(1, 10)])


@pytest.fixture(scope="module")
def repeated() -> dict[str, Any]:
    """The first three trials show one clip."""
    arrays = recording()
    for k in (1, 2):
        arrays["stim"][k * TRIAL_BINS : (k + 1) * TRIAL_BINS] = arrays["stim"][:TRIAL_BINS]
    return arrays


def prepare_with(folder: Path, arrays: dict[str, Any], video: np.ndarray, **more: Any) -> RecordingStore:
    return prepared(folder, {**arrays, "stim": video, "ids": IDS, **more}, stimulus_id="ids", split=None)


def one_grey_level(video: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).integers(-1, 2, video[:TRIAL_BINS].shape)
    changed = video.copy()
    changed[TRIAL_BINS : 2 * TRIAL_BINS] = np.clip(video[:TRIAL_BINS].astype(int) + noise, 0, 255)
    # A difference of two between the outer ones is of one to the longest.
    return changed


def a_dropped_frame(video: np.ndarray) -> np.ndarray:
    changed = video.copy()
    changed[TRIAL_BINS + 57] = changed[TRIAL_BINS + 56]
    return changed


def rounding(video: np.ndarray) -> np.ndarray:
    changed = video.astype(np.float32) / 255
    changed[TRIAL_BINS : 2 * TRIAL_BINS] *= np.float32(1 + 1e-6)
    return changed


def float_grey_levels(video: np.ndarray) -> np.ndarray:
    return (one_grey_level(video).astype(np.float64) / 255 * 2 - 1).astype(np.float64)


def half_precision(video: np.ndarray) -> np.ndarray:
    changed = (video / 255).astype(np.float32)
    changed[TRIAL_BINS : 2 * TRIAL_BINS] = changed[TRIAL_BINS : 2 * TRIAL_BINS].astype(np.float16)
    return changed


def every_eighth_frame_lost(video: np.ndarray) -> np.ndarray:
    changed = video.copy()
    changed[TRIAL_BINS : 2 * TRIAL_BINS : 8] = 0
    return changed


@pytest.mark.parametrize(
    "change",
    [one_grey_level, a_dropped_frame, rounding, float_grey_levels, half_precision, every_eighth_frame_lost],
)
def test_repeats_that_are_not_equal_to_the_byte_are_repeats(
    change: Any, repeated: dict[str, Any], tmp_path: Path
) -> None:
    store = prepare_with(tmp_path, repeated, change(repeated["stim"]))
    splits = {block.split for block in store.sessions["s0"].blocks if block.stimulus_id == "0"}
    assert len(splits) == 1


def test_frames_that_differ_are_counted(
    repeated: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare_with(tmp_path, repeated, a_dropped_frame(repeated["stim"]))
    assert "session 's0': 1 of 480 frames of repeats differ by more than a grey level" in caplog.text
    caplog.clear()
    prepare_with(tmp_path / "equal", repeated, repeated["stim"])
    assert "repeats differ" not in caplog.text


def another_clip(video: np.ndarray) -> np.ndarray:
    changed = video.copy()
    changed[TRIAL_BINS : 2 * TRIAL_BINS] = recording(seed=5)["stim"][:TRIAL_BINS]
    return changed


def another_contrast(video: np.ndarray) -> np.ndarray:
    changed = video.copy()
    changed[TRIAL_BINS : 2 * TRIAL_BINS] = (changed[:TRIAL_BINS] * 0.9).astype(np.uint8)
    return changed


def a_fifth_of_the_frames(video: np.ndarray) -> np.ndarray:
    changed = video.copy()
    changed[TRIAL_BINS + 40 : TRIAL_BINS + 90] = 0
    return changed


@pytest.mark.parametrize(
    ("change", "agree"), [(another_clip, "0%"), (another_contrast, "0%"), (a_fifth_of_the_frames, "79%")]
)
def test_different_videos_under_one_id_are_refused_with_how_far_they_agree(
    change: Any, agree: str, repeated: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(
        DataError, match=rf"names different videos.* {agree} of the frames agree.*different ids"
    ):
        prepare_with(tmp_path, repeated, change(repeated["stim"]))


@pytest.mark.parametrize("shift", [1, -1, 2, 3])
def test_a_repeat_that_is_a_few_frames_late_is_told_so(
    shift: int, repeated: dict[str, Any], tmp_path: Path
) -> None:
    video = repeated["stim"].copy()
    video[TRIAL_BINS : 2 * TRIAL_BINS] = np.roll(video[:TRIAL_BINS], shift, axis=0)
    frames = "frame they" if abs(shift) == 1 else "frames they"
    with pytest.raises(
        DataError, match=rf"moved by {abs(shift)} {frames} agree: look at where the trials start"
    ):
        prepare_with(tmp_path, repeated, video)


def test_frames_that_no_valid_unit_saw_are_not_compared(repeated: dict[str, Any], tmp_path: Path) -> None:
    video = a_fifth_of_the_frames(repeated["stim"])
    valid = np.ones(N_BINS, bool)
    valid[TRIAL_BINS + 40 : TRIAL_BINS + 90] = False
    prepare_with(tmp_path, repeated, video, ok=valid)


def two_values(video: np.ndarray) -> np.ndarray:
    return (video > 127).astype(np.uint8)


def few_levels(video: np.ndarray) -> np.ndarray:
    return 120 + video // 32


def pictures_on_grey(video: np.ndarray) -> np.ndarray:
    """Another picture in every trial for a tenth of its time, grey before and after."""
    changed = np.full_like(video, 127)
    for k in range(len(video) // TRIAL_BINS):
        changed[k * TRIAL_BINS + 40 : k * TRIAL_BINS + 64] = video[k]
    return changed


@pytest.mark.parametrize("change", [two_values, few_levels, pictures_on_grey])
def test_different_videos_are_told_apart_whatever_their_grey_levels_and_pauses(
    change: Any, tmp_path: Path
) -> None:
    arrays = recording()
    with pytest.raises(DataError, match="names different videos"):
        prepare_with(tmp_path, arrays, change(arrays["stim"]))


@pytest.mark.parametrize("change", [two_values, few_levels, pictures_on_grey])
def test_equal_videos_are_repeats_whatever_their_grey_levels_and_pauses(
    change: Any, repeated: dict[str, Any], tmp_path: Path
) -> None:
    video = change(repeated["stim"])
    for k in (1, 2):
        video[k * TRIAL_BINS : (k + 1) * TRIAL_BINS] = video[:TRIAL_BINS]
    video[TRIAL_BINS + 64] = video[TRIAL_BINS + 63]  # a picture that stays a frame too long
    prepare_with(tmp_path, repeated, video)


def test_a_grey_screen_that_is_rounded_is_a_repeat_however_little_a_stretch_of_it_spans(
    repeated: dict[str, Any], tmp_path: Path
) -> None:
    video = (repeated["stim"] / 255).astype(np.float32)
    starts = np.array([0, 960, 1920, 2240, 2560])
    video[60:960], video[1020:1920] = 0.5, np.float32(0.5) * np.float32(1 + 3e-7)
    video[960:1020] = video[:60]
    prepare_with(tmp_path, repeated, video, starts=starts, ids=np.array([0, 0, 1, 2, 3]))


def test_differences_within_a_grey_level_are_said_too(
    repeated: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare_with(tmp_path, repeated, one_grey_level(repeated["stim"]))
    assert "0 of 480 frames of repeats differ by more than a grey level, " in caplog.text
    assert "by less" in caplog.text
