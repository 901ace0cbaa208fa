"""Where training starts: a unit's start does not depend on other units' flaws, on its gaps, nor on its size."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flawed import (
    LINEAR,
    N_BINS,
    N_UNITS,
    SPLITS,
    TRIAL_BINS,
    VIVIT,
    correlations,
    prepared,
    recording,
    started,
    traces,
)
from visioncore.data import RecordingStore
from visioncore.losses import OUTLIER, masked_loss
from visioncore.model import Twin
from visioncore.model.linear import LowRankLinear
from visioncore.model.readouts import DynamicGaussianReadout


@pytest.fixture(scope="module")
def clean() -> dict[str, Any]:
    return recording()


@pytest.fixture(scope="module")
def plain(clean: dict[str, Any]) -> dict[str, Any]:
    return traces(clean)


@pytest.fixture(scope="module")
def of_traces(plain: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> RecordingStore:
    return prepared(tmp_path_factory.mktemp("plain"), plain, kind="trace")


@pytest.fixture(scope="module")
def linear_of_traces(of_traces: RecordingStore) -> Twin:
    return started(of_traces)


@pytest.fixture(scope="module")
def vivit_of_traces(of_traces: RecordingStore) -> Twin:
    return started(of_traces, VIVIT)


def rates(twin: Twin, arrays: dict[str, Any]) -> np.ndarray:
    return twin.predict(arrays["stim"][:TRIAL_BINS], session="s0")


def centres(twin: Twin) -> np.ndarray:
    readout = twin.heads["s0"].readout
    assert isinstance(readout, DynamicGaussianReadout)
    return readout.centres_px().detach().numpy()


@pytest.mark.parametrize("scale", [1e-12, 1e-9, 1e-3, 1e6, 1e12])
def test_a_trace_is_fitted_alike_in_any_unit_of_measurement(
    scale: float, plain: dict[str, Any], vivit_of_traces: Twin, tmp_path: Path
) -> None:
    scaled = {**plain, "spikes": plain["spikes"] * np.float32(scale)}
    twins = [vivit_of_traces, started(prepared(tmp_path, scaled, kind="trace"), VIVIT)]
    one, other = (rates(twin, plain)[10:] for twin in twins)
    np.testing.assert_allclose(other / scale, one, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(centres(twins[1]), centres(twins[0]), atol=0.05)


def test_one_trace_of_another_size_leaves_the_others_as_they_were(
    plain: dict[str, Any], linear_of_traces: Twin, tmp_path: Path
) -> None:
    odd = {**plain, "spikes": plain["spikes"] * np.array([1, 1e6, 1, 1e-9], np.float32)}
    twins = (linear_of_traces, started(prepared(tmp_path, odd, kind="trace")))
    one, other = (rates(twin, plain) for twin in twins)
    np.testing.assert_allclose(other[:, [0, 2]], one[:, [0, 2]], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(other[:, 1] / 1e6, one[:, 1], rtol=1e-3, atol=1e-3)


def held(seed: int = 0) -> np.ndarray:
    """Each unit is held in all but some trials of its own; every one in the last trials."""
    rng = np.random.default_rng(seed)
    valid = np.ones((N_BINS, N_UNITS), bool)
    train = [trial for trial, split in enumerate(SPLITS) if split == "train"]
    for unit in range(N_UNITS):
        for trial in rng.choice(train, 3, replace=False):
            valid[trial * TRIAL_BINS : (trial + 1) * TRIAL_BINS, unit] = False
    return valid


@pytest.mark.parametrize("kind", ["counts", "trace"])
def test_units_that_are_held_part_of_the_time_are_fitted_on_the_bins_that_count(
    kind: Any, clean: dict[str, Any], tmp_path: Path
) -> None:
    arrays = clean if kind == "counts" else traces(clean)
    truth = {**arrays, "truth": clean["truth"]}
    whole = started(prepared(tmp_path / "whole", arrays, kind=kind))
    store = prepared(tmp_path / "held", {**arrays, "ok": held()}, kind=kind)
    parts = started(store)
    assert correlations(parts, truth).mean() > correlations(whole, truth).mean() - 0.12
    # Were missing bins zeros, the prediction would be nearly two fifths too low.
    predicted = parts.predict(arrays["stim"], session="s0")
    train = held() & (np.repeat(SPLITS, TRIAL_BINS) == "train")[:, None]
    for unit in range(N_UNITS):
        mean, std = (getattr(arrays["spikes"][train[:, unit], unit], name)() for name in ("mean", "std"))
        assert abs(predicted[train[:, unit], unit].mean() - mean) < 0.25 * (mean if kind == "counts" else std)


@pytest.mark.parametrize("counts_per_bin", [5, 500, 5000])
def test_large_counts_are_fitted_as_well_as_their_ceiling_allows(counts_per_bin: int, tmp_path: Path) -> None:
    arrays = recording(counts_per_bin)
    store = prepared(tmp_path, arrays)
    twin = started(store, LINEAR, output={"type": "softplus", "params": {"sharpness": 10.0}})
    assert correlations(twin, arrays).mean() > 0.85
    scale = np.array(store.spec.sessions[0].normalisation.count_scale)
    np.testing.assert_array_equal(scale, store.sessions["s0"].train_mean)


def test_recordings_with_small_counts_have_no_scales_and_the_constants_they_had(
    clean: dict[str, Any], tmp_path: Path
) -> None:
    store = prepared(tmp_path, clean)
    assert store.spec.sessions[0].normalisation.count_scale == ()


def flicker(arrays: dict[str, Any]) -> dict[str, Any]:
    return {**arrays, "stim": np.repeat(np.repeat(arrays["stim"][:, :1, :1], 9, axis=1), 12, axis=2)}


@pytest.mark.parametrize(
    "change", [flicker, lambda a: {**a, "stim": a["stim"][:, :1, :1]}], ids=["flicker", "pixel"]
)
def test_without_contrast_within_frames_units_look_at_the_middle_and_that_is_said(
    change: Any, clean: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        twin = started(prepared(tmp_path, change(clean)), VIVIT)
    assert "no contrast within them" in caplog.text
    spec = twin.spec
    np.testing.assert_allclose(centres(twin), [[spec.sampling.height / 2, spec.sampling.width / 2]] * N_UNITS)
    assert np.isfinite(rates(twin, change(clean))[1:]).all()


def test_outliers_of_a_trace_do_not_move_where_it_starts(clean: dict[str, Any], tmp_path: Path) -> None:
    plain = traces(clean)
    wild = {**plain, "spikes": plain["spikes"].copy()}
    train = np.flatnonzero(np.repeat(SPLITS, TRIAL_BINS) == "train")
    at = np.random.default_rng(0).choice(train, 6, replace=False)
    wild["spikes"][at, 1] = np.array([300, -200, 250, 400, -350, 280], np.float32)
    stores = [prepared(tmp_path / str(i), a, kind="trace", rates=None) for i, a in enumerate((plain, wild))]
    one, other = (started(store) for store in stores)
    scales = [twin.heads["s0"].output.scale.numpy() for twin in (one, other)]
    np.testing.assert_allclose(scales[1], scales[0], rtol=0.2)
    truth = clean["truth"][:TRIAL_BINS, 1]
    fits = [np.corrcoef(rates(twin, plain)[:, 1], truth)[0, 1] for twin in (one, other)]
    assert fits[1] > fits[0] - 0.05


def test_the_loss_of_traces_is_a_square_near_and_a_straight_line_far_away() -> None:
    def loss(error: float, scale: float = 1.0) -> float:
        one = torch.ones(1, 1, 1)
        return float(masked_loss("trace", error * scale * one, 0 * one, one.bool(), torch.full((1,), scale)))

    assert loss(3.0) == loss(3.0, scale=1e6) == 9.0
    assert loss(OUTLIER) == pytest.approx(OUTLIER**2)
    assert loss(OUTLIER + 2) - loss(OUTLIER + 1) == pytest.approx(2 * OUTLIER)


def test_units_with_large_counts_weigh_no_more_in_the_loss_than_others() -> None:
    one = torch.ones(1, 1, 1)

    def pull(mean: float) -> float:
        """Of a prediction a tenth too high, on what scales it."""
        gain = torch.ones(1, requires_grad=True)
        masked_loss(
            "counts", 1.1 * mean * gain * one, mean * one, one.bool(), torch.full((1,), mean)
        ).backward()
        assert gain.grad is not None
        return float(gain.grad)

    assert pull(500.0) == pytest.approx(pull(1.0), rel=1e-4)


def test_filters_of_units_that_were_never_held_are_left_out(clean: dict[str, Any], tmp_path: Path) -> None:
    """In the bins that the estimates read, that is; the unit has its mean rate."""
    valid = np.ones((N_BINS, N_UNITS), bool)
    valid[40:, 2] = False
    twin = started(prepared(tmp_path, {**clean, "ok": valid}))
    linear = twin.heads["s0"].linear
    assert isinstance(linear, LowRankLinear)
    assert (linear.temporal[2] == 0).all()
    assert (linear.temporal[0] != 0).any()
