"""What `describe` and `train` say of memory is what a run takes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from forked import run_in_new_process, weighed_training
from visioncore.config import load_config
from visioncore.describe import describe, guide_spec, memory_of
from visioncore.model import TwinConfig
from visioncore.training.experiment import TrainingConfig
from visioncore.training.memory import MemoryEstimate, Recorded, _Live
from visioncore.training.optimisers import AdamWConfig, MuonConfig
from visioncore.training.ridge import LagMoments, MomentNumbers, Regression
from visioncore.training.sample import Grain

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
MODEL, DATA = EXPERIMENTS / "model_configs" / "vivit_tiny.yaml", EXPERIMENTS / "data_configs" / "tiny.yaml"


def estimated(**training: Any) -> MemoryEstimate:
    config = load_config(TwinConfig, MODEL)
    return memory_of(
        config, guide_spec(config), TrainingConfig(clip_frames=24).model_copy(update=training), 7
    )


def test_an_estimate_has_the_parts_that_are_known() -> None:
    config = load_config(TwinConfig, MODEL)
    weights = 4 * describe(config, guide_spec(config), 24).parameters
    found = estimated(batch_size=2)
    # Constants stand beside the weights.
    assert weights <= found.parameters < 1.2 * weights
    # Two moments, and a count of steps for each tensor.
    assert 2 * weights <= found.optimiser <= 2.01 * weights + 1000
    assert found.cache == 7
    assert found.host(on_gpu=True) < found.host(on_gpu=False)


def test_choices_cost_what_they_should() -> None:
    one, four = estimated(batch_size=1), estimated(batch_size=4)
    assert 3 < four.batch / one.batch < 4.5
    assert estimated(batch_size=1, ema_decay=0.9).parameters == 2 * one.parameters
    # One moment of the core's matrices in place of two.
    assert estimated(batch_size=1, optimiser=MuonConfig()).optimiser < one.optimiser
    assert estimated(batch_size=1, optimiser=AdamWConfig()).optimiser == one.optimiser


@pytest.mark.parametrize(
    ("bins", "rows", "lags", "units", "rank"),
    [(6000, 10, 10, 40, 2), (3000, 20, 10, 80, 2), (3000, 10, 20, 80, 1), (1000, 15, 12, 200, 2)],
)
def test_regressions_hold_what_was_counted(bins: int, rows: int, lags: int, units: int, rank: int) -> None:
    torch.manual_seed(0)
    features = rows * 20
    pixels, responses = torch.randn(bins, features), torch.rand(bins, units)
    held_out = ((torch.arange(bins) // (bins // 20)) % 5 == 4).float()[:, None]
    expected = MomentNumbers.of(bins, features, lags, units, rank)
    with _Live() as made:
        moments = LagMoments.of(pixels, (1, rows, 20), lags, responses, 1 - held_out, held_out)
    assert moments is not None
    with _Live() as solved:
        regression = Regression.fit(moments, rank)
    assert regression.score.shape == (units,)
    for numbers, live in ((expected.made, made.most), (expected.held, made.now)):
        assert 0.85 < 4 * numbers / live < 1.35, (numbers, live / 4)
    assert 0.85 < 4 * expected.solved / solved.most < 1.35, (expected.solved, solved.most / 4)


def test_the_start_is_counted_by_recording_units_and_window() -> None:
    config = load_config(TwinConfig, MODEL)
    spec = guide_spec(config)
    (session,) = spec.sessions
    rate = spec.bins_per_s

    def start(minutes: float, **initialise: Any) -> int:
        recipe = TrainingConfig(clip_frames=24).model_copy(update={"batch_size": 1})
        recipe = recipe.model_copy(update={"initialise": recipe.initialise.model_copy(update=initialise)})
        return memory_of(
            config, spec, recipe, 0, Recorded({session.id: round(60 * minutes * rate)}, 1.0)
        ).start

    few, more = start(2.0), start(10.0)
    assert 1.5 < more / few < 5.5
    assert start(40.0) == start(20.0) > more  # twenty minutes are read at most
    assert start(40.0, max_minutes_per_session=2.0) == few
    assert start(2.0, linear=False, positions=False) == 0
    found = memory_of(config, spec, TrainingConfig(clip_frames=24))
    assert found.start == start(20.0)
    assert found.host(on_gpu=False) >= found.start + found.parameters
    grain = Grain.of(spec, 2.0)
    assert grain.units_at_once * grain.lags * grain.pixels <= 16_000_000 < 512 * grain.lags * grain.pixels


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.mark.slow
@pytest.mark.parametrize("clips", [2, 12])
def test_a_run_takes_what_was_estimated_within_a_quarter(clips: int, stores: Path, tmp_path: Path) -> None:
    from visioncore.data import prepare
    from visioncore.training.experiment import read_experiment

    overrides = (
        f"training.batch_size={clips}",
        *("training.clip_frames=240", "training.length={type: steps, params: {number: 3}}"),
        *(
            "training.steps_per_epoch=3",
            "training.validation_minutes=0.02",
            f"data.store={stores}",
        ),
    )
    experiment = read_experiment(MODEL, DATA, None, overrides)
    store = prepare(experiment.data, experiment.data_dir)
    expected = memory_of(
        experiment.model, store.spec, experiment.training, store.cached_bytes, Recorded.of(store)
    )
    log = tmp_path / "log"
    assert run_in_new_process(weighed_training, MODEL, DATA, tmp_path, overrides, log=log) == 0, (
        log.read_text()
    )
    peak = json.loads((tmp_path / "peak.json").read_text())
    assert 0.75 < expected.host(on_gpu=False) / peak < 1.25, (expected, peak)
