"""What `describe` and `train` say of memory is what a run takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from forked import run_in_new_process, weighed_training
from visioncore.config import load_config
from visioncore.describe import describe, guide_spec, memory_of
from visioncore.model import TwinConfig
from visioncore.training.experiment import TrainingConfig
from visioncore.training.memory import MemoryEstimate
from visioncore.training.optimisers import AdamWConfig, MuonConfig

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
    expected = memory_of(experiment.model, store.spec, experiment.training, store.cached_bytes)
    log = tmp_path / "log"
    assert run_in_new_process(weighed_training, MODEL, DATA, tmp_path, overrides, log=log) == 0, (
        log.read_text()
    )
    peak = json.loads((tmp_path / "peak.json").read_text())
    assert 0.75 < expected.host(on_gpu=False) / peak < 1.25, (expected, peak)
