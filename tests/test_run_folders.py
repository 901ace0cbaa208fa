"""What runs are called, and what their history tells."""

from pathlib import Path

import pytest

from visioncore.comparison import named_run, read_run
from visioncore.errors import CheckpointError, ConfigError, DataError
from visioncore.run_folder import RunFolder


def test_a_run_is_called_by_its_folder_and_a_seed_by_the_folder_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RunFolder(Path("runs/vivit")).model_name == "vivit"
    assert RunFolder(Path("runs/vivit/seed-12")).model_name == "vivit"
    assert RunFolder(Path("runs/vivit/seed-one")).model_name == "seed-one"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert RunFolder(Path(".")).model_name == "here"


def test_a_name_before_the_folder_is_the_models(tmp_path: Path) -> None:
    assert named_run("big=runs/a") == ("big", Path("runs/a"))
    assert named_run("runs/a") == ("a", Path("runs/a"))
    odd = tmp_path / "lr=1e-3"
    odd.mkdir()
    assert named_run(str(odd)) == ("lr=1e-3", odd)
    with pytest.raises(ConfigError, match="expected RUN or NAME=RUN"):
        named_run("=runs/a")


def test_a_folder_that_is_missing_or_holds_no_twin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: no such run folder"):
        read_run("a", tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="holds no twin yet"):
        read_run("a", tmp_path)


def test_steps_and_seconds_are_those_of_the_last_row_and_not_known_without_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    path = folder.metrics
    assert folder.training_so_far() == (None, None)
    folder.logs.mkdir()
    path.write_text("step,wall_s\n10,1.5\n20,3.25\n")
    assert folder.training_so_far() == (20, 3.25)
    path.write_text("step,train_loss\n10,0.5\n")
    assert folder.training_so_far() == (10, None)
    path.write_text("step,wall_s\nten,1.5\n")
    with pytest.raises(DataError, match=r"metrics\.csv: is no history of a training"):
        folder.training_so_far()


@pytest.mark.parametrize(
    ("text", "found"),
    [("model: 3\n", "'model'"), ("data: {normalisation: 2}\n", "'data.normalisation'"), ("- 1\n", "mapping")],
)
def test_an_experiment_that_is_damaged_is_refused_with_its_file_and_key(
    text: str, found: str, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path)
    assert folder.claimed_by() is None
    folder.experiment.write_text(text)
    with pytest.raises(ConfigError, match=rf"experiment\.yaml: .*{found}"):
        folder.claimed_by()


def test_an_experiment_of_another_version_is_read_with_all_its_keys(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.experiment.write_text(
        "data_dir: ..\nmodel: {core: new}\nmood: good\ntraining: {seed: 3, more: [1, x]}\n"
    )
    claimed = folder.claimed_by()
    assert claimed is not None
    assert claimed.to_json() == {
        "data_dir": "..",
        "model": {"core": "new"},
        "mood": "good",
        "training": {"seed": 3, "more": [1, "x"]},
    }
