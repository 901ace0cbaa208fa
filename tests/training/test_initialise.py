"""Where training starts, and whether a short training finds the receptive fields that the simulation put there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from visioncore.checkpoint import load_twin
from visioncore.config import apply_overrides, read_yaml
from visioncore.data import RecordingStore, prepare
from visioncore.evaluation import evaluate
from visioncore.model import Twin
from visioncore.model.linear import LowRankLinear
from visioncore.model.readouts import DynamicGaussianReadout
from visioncore.training.experiment import Experiment, InitialiseConfig
from visioncore.training.initialise import initialise
from visioncore.training.run import train
from visioncore.training.window import with_window_from_data

CONFIGS = Path(__file__).parents[2] / "experiments" / "model_configs"
DATA = {
    "type": "simulated",
    "params": {
        "subjects": ["A"],
        "sampling_rate_hz": 120,
        "height": 20,
        "width": 28,
        "minutes_per_session": 4,
        "units_per_session": 6,
        "repeated_stimuli": 2,
        "repeats": 2,
    },
}


def experiment(folder: Path, *overrides: str) -> Experiment:
    raw = {
        "model": read_yaml(CONFIGS / "vivit_tiny.yaml"),
        "data": DATA,
        "training": {
            "max_epochs": 3,
            "steps_per_epoch": 40,
            "batch_size": 6,
            "clip_frames": 120,
            "learning_rate": 3e-3,
            "warmup_steps": 10,
            "validation_minutes": 0.2,
        },
    }
    return Experiment(apply_overrides(raw, overrides), "test", folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulation")


@pytest.fixture(scope="module")
def store(folder: Path) -> RecordingStore:
    made = experiment(folder)
    return prepare(made.data, made.data_dir)


def fresh_twin(store: RecordingStore, folder: Path, *overrides: str) -> Twin:
    torch.manual_seed(0)
    return experiment(folder, *overrides).model.build(store.spec)


@pytest.fixture(scope="module")
def begun(store: RecordingStore, folder: Path) -> Twin:
    """Read by several tests, changed by none."""
    twin = fresh_twin(store, folder).eval()
    initialise(twin, store, InitialiseConfig())
    return twin


def distances_px(twin: Twin, store: RecordingStore) -> np.ndarray:
    """How far each unit's readout sits from where the simulation put its receptive field."""
    truth = store.sessions["A1"].unit_truth
    readout = twin.heads["A1"].readout
    assert isinstance(readout, DynamicGaussianReadout)
    found = readout.centres_px().detach().numpy()
    return np.hypot(found[:, 0] - truth["rf_row_px"], found[:, 1] - truth["rf_column_px"])


@pytest.mark.slow
def test_readouts_start_where_the_receptive_fields_are(store: RecordingStore, folder: Path) -> None:
    twin = fresh_twin(store, folder)
    far = distances_px(twin, store)
    initialise(twin, store, InitialiseConfig(linear=False))
    near = distances_px(twin, store)
    assert np.median(near) < 1.5
    assert np.median(far) > 2 * np.median(near)


@pytest.mark.slow
def test_the_linear_model_predicts_simple_cells_before_any_training(
    store: RecordingStore, folder: Path
) -> None:
    overrides = ("model.convnet={type: none}", "model.modulator={type: none}")
    twin = fresh_twin(store, folder, *overrides).eval()
    initialise(twin, store, InitialiseConfig(linear=False))
    null = evaluate(twin, store, split="validation", progress=False).to_json()
    assert abs(null["overall"]["bits_per_spike"]["mean"]) < 0.1
    twin = fresh_twin(store, folder, *overrides).eval()
    initialise(twin, store, InitialiseConfig())
    scores = evaluate(twin, store, split="validation", progress=False).to_json()
    assert scores["by_class"]["simple"]["fraction_of_ceiling"] > 0.3


@pytest.mark.slow
def test_cells_that_no_filter_drives_have_none(store: RecordingStore, begun: Twin) -> None:
    """Estimated from noise, it would be more noise for training to find uses for."""
    linear = begun.heads["A1"].linear
    assert isinstance(linear, LowRankLinear)
    is_simple = np.array(store.sessions["A1"].unit_truth["cell_class"]) == "simple"
    for factor in (linear.temporal, linear.spatial):
        power = factor.detach().square().sum((1, 2)).numpy()
        assert (power[is_simple] > 0).all()
        assert (power[~is_simple] == 0).all()


@pytest.mark.slow
def test_many_units_are_started_in_groups_as_all_of_them_at_once(
    store: RecordingStore, begun: Twin, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visioncore.training.sample.UNITS_AT_ONCE", 4)
    twin = fresh_twin(store, folder).eval()
    initialise(twin, store, InitialiseConfig())
    np.testing.assert_allclose(distances_px(twin, store), distances_px(begun, store), atol=1e-3)
    # The likelihood of all is raised together, in steps that depend on all.
    found, expected = (
        evaluate(t, store, split="validation", progress=False).to_json()["units"] for t in (twin, begun)
    )
    for unit, other in zip(found, expected, strict=True):
        assert unit["bits_per_spike"] == pytest.approx(other["bits_per_spike"], abs=0.01)


@pytest.mark.slow
def test_a_short_training_finds_receptive_fields_and_beats_the_linear_model(
    store: RecordingStore, begun: Twin, folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(experiment(folder), run)
    twin = load_twin(run)
    assert np.median(distances_px(twin, store)) < 1.5
    before = evaluate(begun, store, progress=False).to_json()["overall"]["bits_per_spike"]["mean"]
    after = evaluate(twin, store, progress=False).to_json()["overall"]["bits_per_spike"]["mean"]
    assert after > before + 0.05
    assert twin.provenance.data_fingerprint == store.fingerprint


@pytest.mark.slow
def test_where_training_starts_is_the_first_candidate(folder: Path, tmp_path: Path) -> None:
    harmful = experiment(
        folder,
        *("training.learning_rate=1.0", "training.gradient_clip=null"),
        *("training.max_epochs=1", "training.steps_per_epoch=5", "training.warmup_steps=0"),
    )
    train(harmful, tmp_path / "harmful")
    twin = load_twin(tmp_path / "harmful")
    assert twin.provenance.metrics is not None
    assert twin.provenance.metrics.step == 0
    torch.manual_seed(harmful.training.seed)
    store = prepare(harmful.data, harmful.data_dir)
    model = with_window_from_data(harmful.model, store, harmful.training.initialise)
    torch.manual_seed(harmful.training.seed)
    start = model.build(store.spec)
    initialise(start, store, harmful.training.initialise)
    for name, tensor in start.state_dict().items():
        assert torch.equal(twin.state_dict()[name], tensor), name
