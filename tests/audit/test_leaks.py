"""An audit finds every kind of planted leak, and nothing where there is nothing."""

from dataclasses import replace

import numpy as np
import pytest
from skimage import data as pictures

from audited import (
    BURN_IN,
    SIDE,
    TEST,
    TRAIN,
    TRIAL,
    Arrays,
    Build,
    constants_of_all_data,
    controls,
    drive,
    leaks,
    levels,
    only_failing,
    trial,
    twin_of,
)
from visioncore.audit import audit
from visioncore.audit.likeness import is_distinctive, likeness
from visioncore.audit.scan import Moments
from visioncore.data import RecordingStore
from visioncore.provenance import Provenance


def test_a_clean_recording_and_an_honest_twin_pass_every_check(clean: RecordingStore) -> None:
    result = audit(twin_of(clean), clean, progress=False)
    found = {finding.check: finding for finding in result.findings}
    assert set(levels(found).values()) == {"pass"}, found
    assert result.passed
    assert found["near duplicates"].numbers.to_json()["pairs"][0]["compared"] > 100


def test_an_honest_twin_that_uses_behaviour_passes_too(clean: RecordingStore) -> None:
    twin = twin_of(clean, lambda video, eye: drive(video) + 0.3 * (eye[:, :1] > 1))
    assert set(levels(controls(clean, twin)).values()) == {"pass"}


def test_frames_of_the_test_split_that_stand_in_train_are_found_and_counted(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        arrays["video"][trial(TEST[1])][20:25] = arrays["video"][trial(TRAIN[3])][50:55]

    found = leaks(build(change))
    assert only_failing(found) == ["exact duplicates", "near duplicates"]
    pair = found["exact duplicates"].numbers.to_json()["pairs"][0]
    assert (pair["frames"], pair["by_chance"]) == (5, 0)
    assert pair["share"] == pytest.approx(5 / (len(TEST) * TRIAL))
    first = {
        "test": f"session day0 bin {TEST[1] * TRIAL + 20}",
        "train": f"session day0 bin {TRAIN[3] * TRIAL + 50}",
    }
    assert pair["examples"][0] == first
    assert first["test"] in found["exact duplicates"].sentence


def test_a_grey_screen_in_every_split_is_no_leak(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        for number in (TEST[0], TRAIN[0]):
            arrays["video"][trial(number)][:40] = 128

    finding = leaks(build(change))["exact duplicates"]
    assert finding.level == "pass"
    assert finding.numbers.to_json()["pairs"][0]["frames"] == 0


def test_frames_so_small_that_they_agree_by_chance_are_no_leak(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        # Four by four binary pixels, shown large: tens of thousands of frames share a few thousand patterns.
        coarse = np.random.default_rng(3).integers(0, 2, (len(arrays["video"]), 2, 4))
        arrays["video"] = np.repeat(np.repeat(coarse, 8, 1), 4, 2).astype(np.uint8) * 175 + 40

    finding = leaks(build(change))["exact duplicates"]
    assert finding.level != "fail"
    assert finding.numbers.to_json()["pairs"][0]["frames"] > 100


def photograph(down: int, right: int, contrast: float = 1.0) -> np.ndarray:
    """A window onto one picture, in steps of a pixel of the stimulus."""
    camera: np.ndarray = pictures.camera()  # type: ignore[no-untyped-call]
    picture = camera[:384:4, :384:4].astype(float)
    window = picture[40 + down : 40 + down + SIDE, 30 + right : 30 + right + SIDE]
    return np.clip(128 + contrast * (window - 128), 0, 255).astype(np.uint8)


def test_one_photograph_in_two_splits_is_found_though_it_is_moved_and_paler(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        arrays["video"][trial(TRAIN[2])] = photograph(0, 0)
        arrays["video"][trial(TEST[2])] = photograph(2, -2, contrast=0.8)

    found = leaks(build(change))
    assert only_failing(found) == ["near duplicates"]
    pair = found["near duplicates"].numbers.to_json()["pairs"][0]
    assert pair["frames"] == 15
    assert pair["by_chance"] == 0
    assert pair["examples"][0]["correlation"] > 0.85


def test_two_photographs_in_two_splits_are_no_leak(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        arrays["video"][trial(TRAIN[2])] = photograph(0, 0)
        arrays["video"][trial(TEST[2])] = photograph(20, 25)

    assert levels(leaks(build(change)))["near duplicates"] == "pass"


def test_a_grating_says_nothing_about_which_picture_it_is_from() -> None:
    row, column = np.mgrid[:18, :32]
    grating = np.sin(0.9 * row + 0.6 * column).astype(np.float32)[None]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1, 18, 32)).astype(np.float32)
    assert is_distinctive(np.concatenate([grating, noise])).tolist() == [False, True]
    moved = np.roll(noise, (2, 3), axis=(1, 2))
    assert likeness(moved, noise) == pytest.approx(1, abs=0.1)
    assert likeness(rng.normal(size=(200, 18, 32)).astype(np.float32), np.repeat(noise, 200, 0)).max() < 0.4


def test_a_stimulus_id_or_group_in_two_splits_is_found(build: Build) -> None:
    store = build()
    session = store.sessions["day0"]
    blocks = list(session.blocks)
    train = next(i for i, block in enumerate(blocks) if block.split == "train")
    test = next(i for i, block in enumerate(blocks) if block.split == "test")
    blocks[test] = replace(blocks[test], group="cat")
    blocks[train] = replace(blocks[train], group="cat")
    session.blocks = tuple(blocks)
    finding = leaks(store)["repeats astride"]
    assert finding.level == "fail"
    assert "group 'cat' in" in finding.sentence


def test_one_clip_in_two_splits_under_two_ids_is_found(build: Build) -> None:
    def change(arrays: Arrays) -> None:
        arrays["video"][trial(TEST[0])] = arrays["video"][trial(TRAIN[4])]

    found = leaks(build(change))
    assert found["repeats astride"].level == "fail"
    assert found["repeats astride"].numbers.to_json()["straddling"][0]["what"] == "clip"
    assert found["exact duplicates"].level == "fail"


def test_blocks_that_share_bins_fail_and_blocks_of_a_running_recording_that_touch_are_noted(
    build: Build,
) -> None:
    store = build()
    session = store.sessions["day0"]
    named = session.blocks
    session.blocks = tuple(replace(block, stimulus_id=None) for block in named)
    finding = leaks(store)["context"]
    assert finding.level == "note"
    assert "less than split_gap_s (1 s) apart" in finding.sentence
    session.blocks = (replace(named[0], stop=named[0].stop + 5), *named[1:])
    assert leaks(store)["context"].level == "fail"


def test_constants_that_were_fitted_on_all_data_are_named_as_such(build: Build) -> None:
    store = build()
    store.spec = store.spec.with_constants(constants_of_all_data(store))
    finding = leaks(store)["constants"]
    assert finding.level == "fail"
    for what in ("store's normalisation of video", "twin's normalisation of behaviour"):
        assert f"{what} (they are those of all data, test bins included)" in finding.sentence


def test_training_means_of_all_data_are_named_as_such(build: Build) -> None:
    store = build()
    session = store.sessions["day0"]
    bins = np.concatenate([np.arange(b.start + BURN_IN, b.stop) for b in session.blocks])
    session.train_mean = session.responses(0, session.n_bins)[bins].mean(0, dtype=float)
    finding = leaks(store)["constants"]
    assert "the training means of session day0 (they are those of all data" in finding.sentence


def test_a_twin_of_other_data_and_counts_that_are_not_whole_fail(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = build()
    twin = twin_of(store)
    twin.provenance = Provenance(data_fingerprint="beef", session_fingerprints={"day0": "beef"})
    session = store.sessions["day0"]
    counts = session.responses(0, session.n_bins)
    smoothed = np.apply_along_axis(np.convolve, 0, counts, np.ones(3) / 3, "same").astype(np.float32)
    monkeypatch.setattr(session, "responses", lambda start, stop: smoothed[start:stop])
    found = leaks(store, twin)
    assert found["training data"].level == "fail"
    assert found["responses"].level == "fail"
    assert "smoothed" in found["responses"].sentence


def test_moments_add_up_whatever_the_dtype() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.integers(0, 256, (500, 2), dtype=np.uint8), rng.normal(1e4, 1, (500, 2))):
        first, second = (Moments(np.array([100.0, 1e4])) for _ in range(2))
        first.add(values[:200])
        second.add(values[200:])
        np.testing.assert_allclose((first + second).mean, values.mean(0))
        np.testing.assert_allclose((first + second).std, values.std(0), rtol=1e-6)
