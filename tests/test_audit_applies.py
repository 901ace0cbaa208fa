"""What a check or control of the audit cannot tell is noted or left out, not failed; and nothing small escapes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress

from flawed import LINEAR, N_BINS, RATE_HZ, SPLITS, TRIAL_BINS, prepared, recording, started
from visioncore.audit import Finding
from visioncore.audit.controls import LEAST_SHIFT_S, SessionControls
from visioncore.audit.run import control_lines, leak_findings
from visioncore.audit.scan import LEAST_CHANGES, scan
from visioncore.audit.verdicts import about_controls
from visioncore.config import build_config
from visioncore.data import RecordingStore, build_data_config, prepare
from visioncore.model import TwinConfig

Arrays = dict[str, Any]
N_TRIALS = N_BINS // TRIAL_BINS
TESTS = [number for number, split in enumerate(SPLITS) if split == "test"]
TRAIN = SPLITS.index("train")


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    """White noise whose video is another."""
    arrays = recording()
    del arrays["truth"]
    return {**arrays, "stim": change(arrays["stim"].copy())}


def trial(number: int) -> slice:
    return slice(number * TRIAL_BINS, (number + 1) * TRIAL_BINS)


def leaks(store: RecordingStore) -> dict[str, Finding]:
    config = build_config(TwinConfig, {"sampling_rate": RATE_HZ, **LINEAR}, "m")
    twin = config.build(store.spec)
    return {finding.check: finding for finding in leak_findings(twin, store, Progress(disable=True))}


def controls(store: RecordingStore) -> SessionControls:
    return SessionControls(started(store), store, store.sessions["s0"])


# --- Leaks --------------------------------------------------------------------------------------------------------


def flicker(video: np.ndarray) -> np.ndarray:
    return np.repeat(np.repeat(video[:, :1, :1], video.shape[1], 1), video.shape[2], 2)


def test_frames_of_one_value_are_not_said_to_have_been_compared(tmp_path: Path) -> None:
    found = leaks(prepared(tmp_path, changed(flicker)))
    for check in ("exact duplicates", "near duplicates"):
        assert found[check].level == "note"
        assert "Not checked: every frame is of one value" in found[check].sentence
    assert found["repeats astride"].level == "pass"
    assert found["repeats astride"].numbers.to_json()["clips"] == N_TRIALS


def test_one_flicker_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    def change(video: np.ndarray) -> np.ndarray:
        video = flicker(video)
        video[trial(TESTS[0])] = video[trial(TRAIN)]
        return video

    finding = leaks(prepared(tmp_path, changed(change)))["repeats astride"]
    assert finding.level == "fail"
    assert finding.numbers.to_json()["straddling"][0]["what"] == "clip"


@pytest.mark.parametrize("changes", [0, LEAST_CHANGES - 1])
def test_a_clip_that_hardly_changes_may_be_in_two_splits(changes: int, tmp_path: Path) -> None:
    def change(video: np.ndarray) -> np.ndarray:
        video[trial(TESTS[0])] = video[trial(TRAIN)] = 128
        for number in (TESTS[0], TRAIN):
            video[trial(number)][:changes] = np.arange(changes).reshape(-1, 1, 1)
        return video

    assert leaks(prepared(tmp_path, changed(change)))["repeats astride"].level == "pass"


def test_a_clip_counts_its_changes_over_all_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visioncore.audit.scan._PIECE_BYTES", 1)
    length, splits = LEAST_CHANGES + 16, SPLITS[:6]
    short = {name: values[: length * len(splits)] for name, values in changed(flicker).items()}
    short |= {"starts": length * np.arange(len(splits)), "split": np.array(splits)}
    assert all(scan(prepared(tmp_path, short), lambda n: None).clips)


def test_of_every_static_image_a_frame_is_compared_however_short_it_was_shown(tmp_path: Path) -> None:
    """One image per bin, each a trial of its own: a copy in the test split, paler, is found."""
    rng = np.random.default_rng(1)
    n, side = 240, 16
    images = rng.normal(128, 40, (n, side, side)).clip(0, 255)
    split = np.array((["train"] * 4 + ["test", "validation"]) * (n // 6))
    pairs = np.flatnonzero(split == "test")[:10], np.flatnonzero(split == "train")[:10]
    images[pairs[0]] = 128 + 0.8 * (images[pairs[1]] - 128)
    spikes = rng.poisson(1.0, (n, 2))
    np.savez(tmp_path / "0.npz", v=images.astype(np.uint8), r=spikes, t=np.arange(n), s=split)
    session = {"id": "s0", "subject": "m", "path": "0.npz", "video": "v", "responses": "r"}
    session |= {"trial_start": "t", "split": "s"}
    params = {"sampling_rate_hz": RATE_HZ, "response_kind": "counts", "sessions": [session]}
    raw = {"type": "arrays", "params": params, "burn_in_s": 0.0}
    store = prepare(build_data_config(raw, "images.yaml"), tmp_path)
    found = leaks(store)
    assert found["near duplicates"].level == "fail"
    pair = found["near duplicates"].numbers.to_json()["pairs"][0]
    assert (pair["frames"], pair["compared"]) == (10, 40)


def test_where_there_are_very_many_images_some_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepared(tmp_path, recording())
    monkeypatch.setattr("visioncore.audit.scan.MAX_SAMPLED", {"train": 4, "validation": 1, "test": 1})
    sampled = scan(store, lambda n: None).sampled_at
    assert {split: len(at) for split, at in sampled.items()} == {"train": 4, "validation": 1, "test": 1}


# --- Controls -----------------------------------------------------------------------------------------------------


def test_what_cannot_be_scrambled_has_no_prediction_and_the_rest_is_scrambled(tmp_path: Path) -> None:
    def change(video: np.ndarray) -> np.ndarray:
        video[trial(TESTS[0])] = flicker(video[trial(TESTS[0])])
        return video

    own = controls(prepared(tmp_path, changed(change)))
    scrambled, intact = own.scrambled(), own.intact()
    assert scrambled is not None
    assert np.isnan(scrambled[0]).all()
    assert np.isfinite(scrambled[1]).any()
    assert not np.array_equal(scrambled[1], intact[1], equal_nan=True)


def test_a_single_screen_that_never_changes_cannot_be_shifted(tmp_path: Path) -> None:
    """Of one block there is no other stimulus, and its video moved against itself is the same."""
    long = N_BINS // 3

    def change(video: np.ndarray) -> np.ndarray:
        video[long : 2 * long] = video[0]
        return video

    trials = {"starts": np.arange(0, N_BINS, long), "split": np.array(["train", "test", "validation"])}
    own = controls(prepared(tmp_path, {**changed(change), **trials}))
    assert own.blocks[0].block.n_bins >= 4 * LEAST_SHIFT_S * RATE_HZ
    assert own.shifted() is None


def test_one_unit_has_no_other_to_be_read_out_as(tmp_path: Path) -> None:
    arrays = recording()
    own = controls(
        prepared(tmp_path, {**arrays, "spikes": arrays["spikes"][:, :1], "truth": arrays["truth"][:, :1]})
    )
    intact = own.intact()
    assert own.other_readout(intact) is None
    assert own.shared(intact) is None


@pytest.mark.parametrize("seed", range(3))
def test_an_honest_twin_with_two_test_blocks_is_not_judged_by_them(seed: int, tmp_path: Path) -> None:
    store = prepared(tmp_path, recording(seed=seed))
    found = about_controls(control_lines(started(store), store))
    assert [(finding.check, finding.level) for finding in found] == [("stimulus", "note")]
    assert "Too few blocks" in found[0].sentence


def test_six_test_blocks_are_enough_to_judge_by(tmp_path: Path) -> None:
    split = np.array(["train", "test"] * 5 + ["validation", "test"])
    store = prepared(tmp_path, {**recording(), "split": split})
    assert len(about_controls(control_lines(started(store), store))) > 1
