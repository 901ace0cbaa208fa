"""The score of Sensorium 2023 against a second implementation, written from its description alone, and its files."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mice import NAME, config, prepared_mouse, save, write_images, write_mouse
from shared_cases import CASES, needs_cases
from visioncore import tables
from visioncore.cli.app import print_rich
from visioncore.config import build_config
from visioncore.data import RecordingStore, build_data_config
from visioncore.errors import ConfigError, DataError
from visioncore.evaluation.sensorium import (
    ChallengeSums,
    challenge_score,
    mice_of,
    sensorium_correlation,
    write_submission,
)
from visioncore.model import Twin, TwinConfig

TIERS = [
    *["train"] * 6,
    *["oracle"] * 4,
    *["live_test_main"] * 3,
    *["final_test_main"] * 2,
    "live_test_bonus",
    "none",
]
LENGTHS = {6: 64, 7: 41, 10: 63, 12: 50, 13: 58}


def independent(
    predictions: list[np.ndarray], recorded: list[np.ndarray], std: np.ndarray | None = None
) -> np.ndarray:
    """Per neuron: drop 50 frames of each trial, cut at 300, join, Pearson with ddof 0 and 1e-8 beside each std.

    NaN is 0. Arrays are (neurons, frames), NaN where nothing was recorded.
    """
    if std is not None:
        threshold = 0.01 * np.nanmean(std)
        precision = np.ones_like(std) / threshold
        precision[std > threshold] = 1 / std[std > threshold]
        predictions = [p * precision[:, : p.shape[1]] for p in predictions]
        recorded = [r * precision[:, : r.shape[1]] for r in recorded]
    scores = []
    for neuron in range(recorded[0].shape[0]):
        p = np.concatenate([one[neuron, 50:300] for one in predictions])
        r = np.concatenate([one[neuron, 50:300] for one in recorded])
        p, r = p[~np.isnan(r)], r[~np.isnan(r)]
        with np.errstate(invalid="ignore"):
            p = (p - p.mean()) / (p.std(ddof=0) + 1e-8) if len(p) else p
            r = (r - r.mean()) / (r.std(ddof=0) + 1e-8) if len(r) else r
            scores.append(np.mean(p * r) if len(p) else np.nan)
    return np.nan_to_num(np.array(scores))


def trials(*lengths: int, n_units: int = 4, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    recorded = [rng.gamma(1, 1, (n_units, n)) for n in lengths]
    predictions = [0.5 * r + rng.gamma(1, 1, r.shape) for r in recorded]
    return predictions, recorded


def scored(
    predictions: list[np.ndarray], recorded: list[np.ndarray], std: np.ndarray | None = None
) -> np.ndarray:
    masks = [~np.isnan(r.T) for r in recorded]
    return sensorium_correlation(
        [p.T for p in predictions], [r.T for r in recorded], masks, None if std is None else std.T
    )


@needs_cases
def test_the_score_of_the_case_is_its_truth() -> None:
    with np.load(CASES / "sensorium_2023" / "truth.npz") as truth:
        oracle = [
            slice(start, start + 300)
            for start, tier in zip(truth["trial_start"], truth["trial_tier"], strict=True)
            if tier == "oracle"
        ]
        predictions = [truth["challenge_prediction"][some] for some in oracle]
        recorded = [truth["trace"][some] for some in oracle]
        (root,) = (path for path in (CASES / "sensorium_2023").glob("dynamic*") if path.is_dir())
        std = np.load(root / "meta/statistics/responses/all/std.npy")
        mine = sensorium_correlation(predictions, recorded, std=std.T)
        np.testing.assert_allclose(mine, truth["challenge_per_unit"], atol=1e-7)
        assert mine.mean() == pytest.approx(float(truth["challenge_score"]), abs=1e-7)
        again = independent([p.T for p in predictions], [r.T.astype(float) for r in recorded], std)
        np.testing.assert_allclose(mine, again, atol=1e-9)


@pytest.mark.parametrize("scale", [False, True])
def test_every_irregularity_of_a_mouse_gives_what_the_second_implementation_gives(scale: bool) -> None:
    # 324 frames with NaN padding to 340, one trial of 41 frames, one of 50, a neuron that is not predicted to change,
    # one that never responds, and a stretch that was not recorded of one neuron alone.
    predictions, recorded = trials(300, 324, 41, 50, 180, 300, n_units=6)
    for p in predictions:
        p[2] = 0.7
    for r in recorded:
        r[3] = 0.0
    recorded[0][4, 100:200] = np.nan
    std = np.random.default_rng(3).uniform(0.2, 2, (6, 340)) if scale else None
    if std is not None:
        std[:, 60] = 0.0
        std[5] = 1e-6
        std[:, 324:] = np.nan
    expected = independent(predictions, recorded, std)
    padded = [np.pad(r, ((0, 0), (0, 340 - r.shape[1])), constant_values=np.nan) for r in recorded]
    filled = [np.pad(p, ((0, 0), (0, 340 - p.shape[1])), constant_values=np.nan) for p in predictions]
    np.testing.assert_allclose(scored(filled, padded, std), expected, atol=1e-9)
    if not scale:
        assert expected[2] == expected[3] == 0
    assert (expected[[0, 1, 4]] > 0.2).all()


def test_frames_before_the_fiftieth_and_from_the_three_hundredth_do_not_count() -> None:
    predictions, recorded = trials(324, 300)
    expected = scored(predictions, recorded)
    for p in predictions:
        p[:, :50] = 100
        p[:, 300:] = -100
    np.testing.assert_array_equal(scored(predictions, recorded), expected)
    predictions[1][:, 50] = 100
    assert not np.allclose(scored(predictions, recorded), expected)
    without_last = ChallengeSums(skip_last=1)
    assert without_last.frames(324) == slice(50, 299)
    assert ChallengeSums().frames(41) == slice(41, 41)


def test_a_prediction_that_is_not_a_number_scores_nothing() -> None:
    predictions, recorded = trials(300)
    predictions[0][1, 200] = np.nan
    found = scored(predictions, recorded)
    assert found[1] == 0
    assert (found[[0, 2, 3]] > 0.2).all()


def twin_of(store: RecordingStore) -> Twin:
    raw: dict[str, Any] = {
        "sampling_rate": store.spec.sampling.rate_hz,
        "convnet": {"type": "none"},
        "linear": {"type": "low_rank", "params": {"rank": 1}},
    }
    twin = build_config(TwinConfig, raw, "m").build(store.spec).eval()
    # Fresh weights of the path through time are zero.
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in twin.heads.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
    return twin


def by_hand(twin: Twin, root: Path, tier: str, std: np.ndarray | None = None) -> np.ndarray:
    """From the competition's own files."""
    predictions, recorded = [], []
    for number, own in enumerate(TIERS):
        response = root / f"data/responses/{number}.npy"
        if own != tier or not response.exists() or not np.nan_to_num(np.load(response)).any():
            continue
        video = np.load(root / f"data/videos/{number}.npy")
        n = int(np.isfinite(video[0, 0]).sum())
        shown = np.moveaxis(video[:, :, :n], 2, 0)[:, None].astype(np.float32)
        predictions.append(twin.predict(shown, session="m1").T.astype(np.float64))
        recorded.append(np.load(response)[:, :n])
    return independent(predictions, recorded, std)


@pytest.mark.parametrize("scale", [False, True])
def test_a_twins_score_is_that_of_the_files_by_hand(scale: bool, tmp_path: Path) -> None:
    root = write_mouse(tmp_path, TIERS, LENGTHS)
    # One tier all zero, one with a trial withheld.
    for number in (13, 14):
        save(root / f"data/responses/{number}.npy", np.zeros((5, 64)))
    (root / "data/responses/11.npy").unlink()
    store = prepared_mouse(tmp_path, root)
    twin = twin_of(store)
    std = np.load(root / "meta/statistics/responses/all/std.npy") if scale else None
    mice = mice_of(build_data_config(config(root), "d"), tmp_path) if scale else None
    found = {tier.tier: tier for tier in challenge_score(twin, store, mice=mice).tiers}
    assert set(found) == {"live_test_main", "live_test_bonus"}
    for tier, score in found.items():
        expected = by_hand(twin, root, tier, std)
        assert score.all_neurons == pytest.approx(expected.mean(), abs=1e-6)
        assert score.mice == {"m1": pytest.approx(expected.mean(), abs=1e-6)}
    (oracle,) = challenge_score(twin, store, split="validation", mice=mice).tiers
    assert oracle.mean_of_mice == pytest.approx(by_hand(twin, root, "oracle", std).mean(), abs=1e-6)
    assert oracle.n_frames == 14 + 0 + 10 + 10


def test_a_split_without_responses_is_refused(tmp_path: Path) -> None:
    root = write_mouse(tmp_path, TIERS, LENGTHS)
    for number in range(10, 16):
        (root / f"data/responses/{number}.npy").unlink()
    store = prepared_mouse(tmp_path, root)
    with pytest.raises(DataError, match="no frame that the competition scores"):
        challenge_score(twin_of(store), store)


def test_a_submission_has_the_competitions_files_rows_and_units(tmp_path: Path) -> None:
    parquet = import_module("pyarrow.parquet")
    root = write_mouse(tmp_path, TIERS, LENGTHS)
    store = prepared_mouse(tmp_path, root)
    twin = twin_of(store)
    mice = mice_of(build_data_config(config(root), "d"), tmp_path)
    written = write_submission(twin, store, mice, tmp_path / "sub")
    assert sorted(path.name for path in (tmp_path / "sub").iterdir()) == [
        "predictions_final_main.parquet.brotli",
        "predictions_live_bonus.parquet.brotli",
        "predictions_live_main.parquet.brotli",
    ]
    table = parquet.read_table(next(path for path in written if "live_main" in path.name))
    rows = table.to_pylist()
    assert [row["trial_indices"] for row in rows] == [10, 11, 12]
    assert {row["mouse"] for row in rows} == {NAME}
    assert rows[0]["neuron_ids"] == [3, 10, 17, 24, 31]
    assert [np.array(row["prediction"]).reshape(5, -1).shape for row in rows] == [(5, 13), (5, 10), (5, 0)]
    start = store.sessions["m1"].trials[10]
    raw = twin.predict(store.sessions["m1"].video(start.start, start.stop), session="m1")
    std = np.load(root / "meta/statistics/responses/all/std.npy")
    np.testing.assert_allclose(np.array(rows[0]["prediction"]), raw[50:].T / std[:, 50:63], rtol=1e-5)
    (one,) = {path.parent for path in write_submission(twin, store, mice, tmp_path / "x_{tier}_y.parquet")}
    assert (one / "x_live_test_main_y.parquet").exists()
    with pytest.raises(ConfigError, match="one file for the tiers"):
        write_submission(twin, store, mice, tmp_path / "one.parquet")


def test_images_are_scored_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_images(tmp_path)
    store = prepared_mouse(tmp_path, root)
    twin = twin_of(store)
    found = challenge_score(twin, store, mice=mice_of(build_data_config(config(root), "d"), tmp_path))
    print_rich(tables.challenge(found))
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "2022: test split, all images together, responses divided by the published spread of each neuron"
        in told
    )
    assert "frames" not in told
    (test,) = found.tiers
    assert (test.tier, test.n_frames) == ("test", 6)
    pictures = [np.load(root / f"data/images/{n}.npy")[None].astype(np.float32) for n in range(30, 36)]
    predicted = np.stack([twin.predict(picture, session="m1")[0] for picture in pictures]).astype(float)
    recorded = np.stack([np.load(root / f"data/responses/{n}.npy") for n in range(30, 36)])
    x, y = ((values - values.mean(0)) / (values.std(0) + 1e-8) for values in (predicted, recorded))
    assert test.all_neurons == pytest.approx((x * y).mean(), abs=1e-5)
