"""The linear-nonlinear model is never weaker than what a student writes in thirty lines (`sta_model.py`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sta_model import sta_scores
from visioncore.config import apply_overrides, build_config, read_yaml
from visioncore.data import RecordingStore, build_data_config, prepare
from visioncore.evaluation import evaluate
from visioncore.model import Twin, TwinConfig
from visioncore.model.linear import LowRankLinearConfig
from visioncore.training import window
from visioncore.training.experiment import InitialiseConfig
from visioncore.training.initialise import initialise
from visioncore.training.sample import Sample
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


def windowed(store: RecordingStore, *overrides: str) -> TwinConfig:
    """The linear-nonlinear model with the window that was found from the data."""
    raw = {"model": read_yaml(LN)}
    rate = ("model.sampling_rate=60", "model.output.params.sharpness=2.5")
    config = build_config(TwinConfig, apply_overrides(raw, [*rate, *overrides])["model"], "test")
    return with_window_from_data(config, store, InitialiseConfig())


def begun(config: TwinConfig, store: RecordingStore) -> Twin:
    """The twin with the filters that were found from the data."""
    torch.manual_seed(0)
    twin = config.build(store.spec).eval()
    initialise(twin, store, InitialiseConfig())
    return twin


def scored(config: TwinConfig, store: RecordingStore) -> np.ndarray:
    """Each unit's bits/spike on test."""
    scores = evaluate(begun(config, store), store, progress=False).to_json()
    return np.array([unit["bits_per_spike"] for unit in scores["units"]])


def window_s(config: TwinConfig) -> float:
    assert isinstance(config.linear, LowRankLinearConfig)
    assert config.linear.window_s != "auto"
    return config.linear.window_s


@dataclass(frozen=True)
class Fitted:
    store: RecordingStore
    config: TwinConfig
    bits_per_spike: np.ndarray


def fitted(kind: str, params: dict[str, Any], folder: Path) -> Fitted:
    store = store_of(kind, params, folder)
    config = windowed(store)
    return Fitted(store, config, scored(config, store))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fitted("slow_retina", SLOW, tmp_path_factory.mktemp("slow"))


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fitted("white_noise", FAST, tmp_path_factory.mktemp("fast"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slow", "fast"])
def test_no_unit_is_predicted_worse_than_by_its_spike_triggered_average(
    kind: str, request: pytest.FixtureRequest
) -> None:
    found: Fitted = request.getfixturevalue(kind)
    (session,) = found.store.sessions.values()
    reference = sta_scores(session, found.store.burn_in_bins)
    scores = found.bits_per_spike
    assert (scores > reference - 0.01).all()
    assert scores.mean() > reference.mean() + 0.03


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 5, 6])
def test_the_window_is_that_of_all_units_however_many_are_looked_at_at_once(
    at_once: int, slow: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visioncore.training.sample.UNITS_AT_ONCE", at_once)
    seen: list[int] = []

    def scores(sample: Sample, windows_s: Sequence[float], *unused: Any) -> Iterator[torch.Tensor]:
        """The first unit gains by every window, the others by none."""
        units = len(seen) + torch.arange(sample.responses.shape[1])
        seen.extend(units.tolist())
        for k, _ in enumerate(windows_s):
            yield torch.where(units == 0, 0.2 * (k + 1), 0.2)

    monkeypatch.setattr(window, "_scores", scores)
    assert window_s(windowed(slow.store)) == window.windows_of(slow.store)[-1] > 0.2
    assert seen == list(range(6))


@pytest.mark.slow
def test_slow_cells_are_given_the_window_that_they_need_and_fast_ones_a_short_one(
    slow: Fitted, tmp_path: Path
) -> None:
    (session,) = slow.store.sessions.values()
    lasts = max(session.unit_truth["kernel_s"])
    assert lasts - 0.1 < window_s(slow.config) <= 0.5
    fast = store_of("white_noise", {**SMALL, "minutes": 4.0}, tmp_path)
    assert window_s(windowed(fast)) == 0.3


@pytest.mark.slow
def test_filters_that_are_cut_off_are_said(slow: Fitted, caplog: pytest.LogCaptureFixture) -> None:
    begun(windowed(slow.store, "model.linear.params.window_s=0.15"), slow.store)
    (said,) = [r.getMessage() for r in caplog.records if "cut off" in r.getMessage()]
    assert "of 6 units are cut off" in said
    assert "model.linear.params.window_s" in said
    caplog.clear()
    begun(windowed(slow.store, "model.linear.params.window_s=0.5"), slow.store)
    assert not [r for r in caplog.records if "of 6 units are cut off" in r.getMessage()]


@pytest.mark.slow
def test_on_off_cells_need_the_bend(slow: Fitted) -> None:
    (session,) = slow.store.sessions.values()
    on_off = np.array([c.startswith("on_off") for c in session.unit_truth["cell_class"]])
    bent = slow.bits_per_spike
    straight = scored(windowed(slow.store, "model.linear.params.knots=null"), slow.store)
    assert (bent - straight)[~on_off].mean() > -0.02
    assert (bent - straight)[on_off].mean() > 0.1
