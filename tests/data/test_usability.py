"""What of a recording can be used is said when it is prepared; one that teaches nothing is refused."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flawed import N_BINS, N_UNITS, RATE_HZ, SPLITS, TRIAL_BINS, prepared, recording, started, traces
from visioncore.data import usability
from visioncore.errors import DataError
from visioncore.evaluation import evaluate

SPLIT_OF_BIN = np.repeat(SPLITS, TRIAL_BINS)


@pytest.fixture(scope="module")
def clean() -> dict[str, Any]:
    return recording()


def with_counts(
    arrays: dict[str, Any], bins: np.ndarray, value: int, units: Any = slice(None)
) -> dict[str, Any]:
    spikes = arrays["spikes"].copy()
    spikes[np.flatnonzero(bins)[:, None], np.arange(N_UNITS)[units]] = value
    return {**arrays, "spikes": spikes}


def test_a_recording_without_a_spike_in_training_is_refused(clean: dict[str, Any], tmp_path: Path) -> None:
    for bins in (SPLIT_OF_BIN != "", SPLIT_OF_BIN == "train"):
        with pytest.raises(DataError, match="no spike in the training bins of any unit"):
            prepared(tmp_path, with_counts(clean, bins, 0))


def test_traces_that_never_change_are_said_and_not_scored(
    clean: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flat = {**traces(clean), "spikes": np.full((N_BINS, N_UNITS), 0.3, np.float32)}
    store = prepared(tmp_path, flat, kind="trace")
    assert "4 of 4 units never change in training" in caplog.text
    with pytest.raises(
        DataError, match=r"none of the 4 units can be scored.*never changes in the training data"
    ):
        evaluate(started(store), store, progress=False)


def test_a_unit_that_is_silent_in_training_leaves_every_score_with_that_reason(
    clean: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    silent = with_counts(clean, SPLIT_OF_BIN == "train", 0, slice(1, 2))
    with caplog.at_level(logging.WARNING):
        store = prepared(tmp_path / "silent", silent)
    assert "1 of 4 units have no spike in training (1)" in caplog.text
    result = evaluate(started(store), store, progress=False)
    reasons = [row.excluded_reason for row in result.units]
    assert reasons == [None, "no spikes in the training data", None, None]
    whole = prepared(tmp_path / "whole", clean)
    others = [row.bits_per_spike or np.nan for row in evaluate(started(whole), whole, progress=False).units]
    scores = [row.bits_per_spike or np.nan for row in result.units]
    assert [scores[i] for i in (0, 2, 3)] == pytest.approx([others[i] for i in (0, 2, 3)], abs=0.02)
    assert result.overall.bits_per_spike.mean == pytest.approx(np.mean([scores[i] for i in (0, 2, 3)]))


def test_a_trace_that_never_changes_in_training_leaves_every_score(
    clean: dict[str, Any], tmp_path: Path
) -> None:
    still = traces(clean)
    still["spikes"][SPLIT_OF_BIN == "train", 2] = 1.5
    store = prepared(tmp_path, still, kind="trace")
    result = evaluate(started(store), store, progress=False)
    assert result.units[2].excluded_reason == "the trace never changes in the training data"
    assert result.overall.n_units == 3


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_without_a_spike_is_said_and_not_scored(
    split: Any, clean: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        store = prepared(tmp_path, with_counts(clean, split == SPLIT_OF_BIN, 0))
    assert f"there is no spike in the {split} split" in caplog.text
    with pytest.raises(DataError, match=f"none of the 4 units can be scored on the {split} split"):
        evaluate(started(store), store, split=split, progress=False)


def test_short_trials_are_counted_without_their_burn_in(
    clean: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # In every second of two: one trial of 40 bins, the others of 20; burn-in takes a quarter of a second, 30 bins.
    starts = np.array([start for start in range(0, N_BINS, 20) if start % TRIAL_BINS != 20])
    with caplog.at_level(logging.WARNING):
        store = prepared(tmp_path, {**clean, "starts": starts, "split": SPLIT_OF_BIN[starts]})
    minutes, left = usability.usable_minutes(store, store.sessions["s0"], "train")
    assert (minutes, left) == pytest.approx((8 * 240 / RATE_HZ / 60, 8 * 10 / RATE_HZ / 60))
    assert caplog.text.count("are used (4 %)") == 3
    assert "burn_in_s takes 0.25 s from every block, and 80 of 88 blocks" in caplog.text


def test_what_is_left_after_burn_in_is_what_is_scored(clean: dict[str, Any], tmp_path: Path) -> None:
    store = prepared(tmp_path, clean)
    session = store.sessions["s0"]
    for split in ("train", "validation", "test"):
        bins = np.count_nonzero(split == SPLIT_OF_BIN)
        left = sum(b.n_bins - store.burn_in_bins for b in session.blocks_in(split))
        expected = (bins / RATE_HZ / 60, left / RATE_HZ / 60)
        assert usability.usable_minutes(store, session, split) == pytest.approx(expected)


def test_outliers_of_a_trace_are_said_before_any_training(
    clean: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    wild = traces(clean)
    wild["spikes"][rng.choice(N_BINS, 10, replace=False), 1] += 100 * rng.normal(size=10)
    with caplog.at_level(logging.WARNING):
        prepared(tmp_path, wild, kind="trace", rates=None)
    assert "most of the variance of 1 of 4 traces (1)" in caplog.text
