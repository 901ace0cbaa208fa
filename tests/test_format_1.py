"""A run folder of commit 1c068a0: its twin predicts and is scored, and the run says why it does not go on."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from visioncore.checkpoint import load_twin
from visioncore.comparison import compare, named_run, read_run
from visioncore.data import RecordingStore, load_data_config, prepare
from visioncore.errors import VisionCoreError
from visioncore.evaluation import evaluate
from visioncore.training.experiment import read_experiment
from visioncore.training.run import train

OLD = Path(__file__).parent / "format_1"
"""vivit_tiny on data_configs/tiny.yaml, trained by training_configs/tiny.yaml for two epochs. In rates.npz is what its
twin predicts of the first test block of each session."""
EXPERIMENTS = Path(__file__).parents[1] / "experiments"
DATA = EXPERIMENTS / "data_configs" / "tiny.yaml"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RecordingStore:
    config = load_data_config(DATA).model_copy(update={"store": str(tmp_path_factory.mktemp("stores"))})
    return prepare(config, DATA.parent)


def test_its_twin_predicts_what_it_did(store: RecordingStore) -> None:
    twin = load_twin(OLD)
    with np.load(OLD / "rates.npz") as recorded:
        for id_, session in store.sessions.items():
            block = session.blocks_in("test")[0]
            behaviour = session.behaviour(block.start, block.stop)
            rates = twin.predict(session.video(block.start, block.stop), behaviour, session=id_)
            expected = recorded[id_]
            assert np.array_equal(np.isnan(rates), np.isnan(expected))
            off = np.nan_to_num(np.abs(rates - expected))
            assert (off <= 1e-5 * (np.nan_to_num(expected) + np.nanmean(expected, axis=0))).all()


def test_its_twin_is_scored_and_says_on_what_it_was_trained(store: RecordingStore) -> None:
    result = evaluate(load_twin(OLD), store, progress=False)
    assert result.overall.n_units == 12
    # Recordings were named by another fingerprint then: whether it is the same data cannot be told.
    assert result.settings.trained_on_these_data is None


def test_its_run_does_not_resume_and_says_why(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLD, run)
    recipe = EXPERIMENTS / "training_configs" / "tiny.yaml"
    model = EXPERIMENTS / "model_configs" / "vivit_tiny.yaml"
    settings = ("training.max_epochs=2", f"data.store={tmp_path / 'stores'}")
    with pytest.raises(VisionCoreError, match=r"begun with an older version.*choose another --out"):
        train(read_experiment(model, DATA, recipe, settings), run)


@pytest.mark.slow
def test_its_run_is_compared_with_one_of_today_on_the_same_bins(
    store: RecordingStore, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(OLD, old)
    recipe = EXPERIMENTS / "training_configs" / "tiny.yaml"
    settings = [
        *("training.max_epochs=1", "training.steps_per_epoch=2", "training.validation_minutes=0.1"),
        *("training.initialise.linear=false", f"data.store={store.path.parent}"),
    ]
    train(read_experiment(EXPERIMENTS / "model_configs" / "vivit_tiny.yaml", DATA, recipe, settings), new)
    runs = [read_run(*named_run(f"{name}={tmp_path / name}")) for name in ("old", "new")]
    comparison = compare(runs)
    assert comparison.overall.n_units == 12
    assert list(comparison.models) == ["old", "new"]
