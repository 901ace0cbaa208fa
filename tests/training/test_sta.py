"""The linear-nonlinear model is never weaker than what a student writes in thirty lines (`sta_model.py`)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sta_model import sta_scores
from visioncore.config import apply_overrides, build_config, read_yaml
from visioncore.data import RecordingStore, build_data_config, prepare
from visioncore.evaluation import evaluate
from visioncore.model import TwinConfig
from visioncore.model.linear import LowRankLinearConfig
from visioncore.training.experiment import InitialiseConfig
from visioncore.training.initialise import initialise
from visioncore.training.window import with_window_from_data

LN = Path(__file__).parents[2] / "experiments" / "model_configs" / "ln.yaml"
SPLIT = {"test": 0.2, "validation": 0.1, "block_s": 10.0, "split_gap_s": 0.5}
SMALL = {"seed": 5, "minutes": 8.0, "height": 24, "width": 28}
"""A seed that no recipe was tuned on."""
SLOW: dict[str, Any] = {
    **SMALL,
    "n_units": 6,
    "cells": {"classes": ["on", "off", "on_off", "on_subunits", "off_subunits", "on_off_subunits"]},
}
FAST: dict[str, Any] = {
    **SMALL,
    "n_units": 4,
    "cells": {"classes": ["centre_surround", "gabor", "subunits", "normalised"]},
}


def store_of(kind: str, params: dict[str, Any], folder: Path) -> RecordingStore:
    raw = {"type": kind, "params": params, "split": SPLIT, "burn_in_s": 0.5}
    return prepare(build_data_config(raw, "test"), folder)


def fitted(store: RecordingStore, *overrides: str) -> tuple[TwinConfig, np.ndarray]:
    """The linear-nonlinear model with what was found from the data, and each unit's bits/spike on test."""
    raw = {"model": read_yaml(LN)}
    rate = ("model.sampling_rate=60", "model.output.params.sharpness=2.5")
    config = build_config(TwinConfig, apply_overrides(raw, [*rate, *overrides])["model"], "test")
    config = with_window_from_data(config, store, InitialiseConfig())
    torch.manual_seed(0)
    twin = config.build(store.spec).eval()
    initialise(twin, store, InitialiseConfig())
    scores = evaluate(twin, store, progress=False).to_json()
    return config, np.array([unit["bits_per_spike"] for unit in scores["units"]])


def window_s(config: TwinConfig) -> float:
    assert isinstance(config.linear, LowRankLinearConfig)
    assert config.linear.window_s != "auto"
    return config.linear.window_s


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> RecordingStore:
    return store_of("slow_retina", SLOW, tmp_path_factory.mktemp("slow"))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "params"), [("slow_retina", SLOW), ("white_noise", FAST)])
def test_no_unit_is_predicted_worse_than_by_its_spike_triggered_average(
    kind: str, params: dict[str, Any], tmp_path: Path
) -> None:
    store = store_of(kind, params, tmp_path)
    (session,) = store.sessions.values()
    reference = sta_scores(session, store.burn_in_bins)
    _, scores = fitted(store)
    assert (scores > reference - 0.01).all()
    assert scores.mean() > reference.mean() + 0.03


@pytest.mark.slow
def test_slow_cells_are_given_the_window_that_they_need_and_fast_ones_a_short_one(
    slow: RecordingStore, tmp_path: Path
) -> None:
    (session,) = slow.sessions.values()
    lasts = max(session.unit_truth["kernel_s"])
    assert lasts - 0.1 < window_s(fitted(slow)[0]) <= 0.5
    fast = store_of("white_noise", {**SMALL, "minutes": 4.0}, tmp_path)
    assert window_s(fitted(fast)[0]) == 0.3


@pytest.mark.slow
def test_filters_that_are_cut_off_are_said(slow: RecordingStore, caplog: pytest.LogCaptureFixture) -> None:
    fitted(slow, "model.linear.params.window_s=0.15")
    (said,) = [r.getMessage() for r in caplog.records if "cut off" in r.getMessage()]
    assert "of 6 units are cut off" in said
    assert "model.linear.params.window_s" in said
    caplog.clear()
    fitted(slow, "model.linear.params.window_s=0.5")
    assert not [r for r in caplog.records if "of 6 units are cut off" in r.getMessage()]


@pytest.mark.slow
def test_on_off_cells_need_the_bend(slow: RecordingStore) -> None:
    (session,) = slow.sessions.values()
    on_off = np.array([c.startswith("on_off") for c in session.unit_truth["cell_class"]])
    _, bent = fitted(slow)
    _, straight = fitted(slow, "model.linear.params.knots=null")
    assert (bent - straight)[~on_off].mean() > -0.02
    assert (bent - straight)[on_off].mean() > 0.1
