"""A benchmark trains what its suite asks for, goes on where it was killed, and does nothing twice."""

import csv
import fcntl
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forked import command_line, end_process, start_process, visioncore_command
from visioncore.benchmark import Benchmark, PlannedRun, SuiteConfig, planned_runs, read_suite
from visioncore.benchmark.commands import command
from visioncore.config import build_config, dump_config, dump_yaml
from visioncore.data import DataConfig
from visioncore.errors import CheckpointError, ConfigError
from visioncore.training.lengths import PassesConfig, StepsConfig

BENCHMARKS = Path(__file__).resolve().parents[1] / "experiments" / "benchmarks"
LINEAR: dict[str, Any] = {"sampling_rate": 60.0, "convnet": {"type": "none"}, "linear": {"type": "low_rank"}}
VIVIT: dict[str, Any] = {
    "sampling_rate": 60.0,
    "convnet": {
        "type": "vivit",
        "params": {
            "embedding_dim": 8,
            "num_spatial_blocks": 1,
            "num_temporal_blocks": 1,
            "num_heads": 1,
            "head_dim": 8,
            "patch_size": [2, 3, 3],
            "stride": [2, 3, 3],
            "padding": "same",
        },
    },
    "linear": {"type": "low_rank", "params": {"rank": 1}},
}
TRAINING = {"batch_size": 4, "clip_frames": 30, "steps_per_epoch": 4, "warmup_steps": 1}
SUITE: dict[str, Any] = {
    "data": {"tiny": "data.yaml"},
    "models": {
        "ln": {"model": "ln.yaml", "training": "training.yaml"},
        "vivit": {"model": "vivit.yaml", "training": "training.yaml", "set": ["training.learning_rate=2e-3"]},
    },
    "passes": 1,
}


def suite(**changes: Any) -> SuiteConfig:
    return build_config(SuiteConfig, SUITE | changes, "suite.yaml")


@pytest.fixture
def folder(one_session: Callable[..., tuple[DataConfig, Path]]) -> Path:
    """A folder with a recording of 40 s and the YAML files that `SUITE` names."""
    data, folder = one_session()
    files = {"data": dump_config(data), "ln": LINEAR, "vivit": VIVIT, "training": TRAINING, "suite": SUITE}
    for name, raw in files.items():
        (folder / f"{name}.yaml").write_text(dump_yaml(raw))
    return folder


def planned(folder: Path, **changes: Any) -> list[PlannedRun]:
    return planned_runs(suite(**changes), folder, folder / "out")


# --- The suite ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_run_of_a_shipped_suite_is_sound(path: Path, tmp_path: Path) -> None:
    shipped = read_suite(path)
    runs = planned_runs(shipped, path.parent, tmp_path)
    expected = len(shipped.data) * len(shipped.models) * len(shipped.seeds) * len(shipped.conditions)
    assert len(runs) == expected
    assert {run.experiment.data_dir for run in runs} <= {path.parent / "../data_configs"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"passes": None}, "one budget: either minutes_per_run or passes, or the steps of every model"),
        (
            {"passes": None, "models": SUITE["models"] | {"ln": {"model": "ln.yaml", "steps": 7}}},
            "or the steps of every model",
        ),
        ({"models": {"ln": {"model": "ln.yaml", "steps": 7}}}, "models.ln.steps stands beside passes"),
        (
            {"passes": None, "minutes_per_run": [2, 8], "models": {"ln": {"model": "ln.yaml", "steps": 7}}},
            "models.ln.steps is one length, and minutes_per_run holds several",
        ),
        (
            {"models": {"ln": {"model": "ln.yaml", "set": ["training.max_steps=1"]}}},
            "training.max_steps is not a model's to set",
        ),
        ({"passes": None, "minutes_per_run": [2, 2.0]}, "minutes_per_run holds a value twice"),
        ({"minutes_per_run": 3.0}, "one budget: either minutes_per_run or passes"),
        ({"seeds": [0, 1, 0]}, "seeds holds a value twice"),
        ({"reference": "lm"}, "the reference 'lm' is none of the models: ln, vivit"),
        ({"models": {"a/b": SUITE["models"]["ln"]}}, "'a/b' is no name for a folder"),
        ({"models": {"seed-1": SUITE["models"]["ln"]}}, "'seed-1' is no name for a folder"),
        ({"models": {"ln": {"model": "ln.yaml", "set": ["training.seed=1"]}}}, "training.seed is not a model's to set"),
        ({"models": {"ln": {"model": "ln.yaml", "set": ["data.burn_in_s=1"]}}}, "data.burn_in_s is not a model's"),
        ({"models": {"ln": {"model": "ln.yaml", "sets": ["a=1"]}}}, "'models.ln.sets'; did you mean 'set'?"),
        ({"data_shares": [0.0, 1.0]}, "data_shares"),
    ],
)  # fmt: skip
def test_a_suite_that_makes_no_sense_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        suite(**changes)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("suite.yaml: ")


def test_every_model_is_planned_for_every_recording_share_and_seed_the_first_seed_first(folder: Path) -> None:
    runs = planned(folder, seeds=[3, 5], data_shares=[0.5, 1.0])
    assert [run.name for run in runs[:4]] == [
        "tiny/ln/seed-3",
        "tiny/vivit/seed-3",
        "tiny/ln-share-0.5/seed-3",
        "tiny/vivit-share-0.5/seed-3",
    ]
    assert [run.seed for run in runs] == [3] * 4 + [5] * 4
    last = runs[-1].experiment.training
    assert (last.seed, last.train_share, last.length) == (5, 0.5, PassesConfig(number=1.0))
    assert last.optimiser.learning_rate == 2e-3
    assert runs[0].experiment.training.optimiser.learning_rate != 2e-3
    assert runs[0].folder == folder / "out" / "tiny" / "ln" / "seed-3"


def test_a_budget_in_minutes_is_passed_on_and_switches_passes_off(folder: Path) -> None:
    run = planned(folder, passes=None, minutes_per_run=1.5)[0]
    assert run.train_arguments[-2:] == ("--max-minutes", "1.5")
    assert run.experiment.training.length.type == "epochs"


def test_linear_false_switches_the_linear_path_off(folder: Path) -> None:
    runs = planned(
        folder, models={"a": {"model": "vivit.yaml"}, "b": {"model": "vivit.yaml", "linear": False}}
    )
    assert [run.experiment.model.linear.type for run in runs] == ["low_rank", "none"]


def test_a_mistake_in_a_models_yaml_names_model_and_file(folder: Path) -> None:
    (folder / "ln.yaml").write_text("sampling_rate: 60\nconvnet: {type: non}")
    with pytest.raises(ConfigError, match=r"model 'ln' of the suite: .*ln\.yaml: 'convnet\.type' is 'non'"):
        planned(folder)


# --- What is there already ----------------------------------------------------------------------------------------


def begin(run: PlannedRun, **changes: Any) -> None:
    run.folder.mkdir(parents=True)
    record = {"settings": run.settings().to_json(), "wall_s": 0.0, "finished": False} | changes
    run.record.write_text(json.dumps(record))


def test_an_entry_that_changed_after_its_run_was_begun_is_refused_with_what_differs(folder: Path) -> None:
    begin(planned(folder)[1])
    Benchmark(planned(folder), None)
    other = SUITE["models"] | {"vivit": SUITE["models"]["vivit"] | {"set": ["training.learning_rate=1e-3"]}}
    where = r"experiment\.training\.optimiser\.params\.learning_rate"
    with pytest.raises(ConfigError, match=rf"tiny/vivit/seed-0 .*\(different: {where}\)"):
        Benchmark(planned(folder, models=other), None)
    with pytest.raises(ConfigError, match=r"experiment\.training\.length\.type, minutes_per_run"):
        Benchmark(planned(folder, passes=None, minutes_per_run=2.0), None)


def test_a_damaged_record_is_named_with_the_remedy(folder: Path) -> None:
    run = planned(folder)[0]
    begin(run)
    for damage in ("{", '{"settings": {}, "wall_s": 0.0, "finished": false}'):
        run.record.write_text(damage)
        with pytest.raises(CheckpointError, match=r"seed-0\.json: is damaged .*; delete it together with"):
            Benchmark(planned(folder), None)


def test_a_record_alone_finishes_no_run(folder: Path) -> None:
    run = planned(folder)[0]
    begin(run, finished=True)
    work = Benchmark(planned(folder), None)
    assert not work.is_finished(run)
    assert work.progress(run).state == "begun"


def test_remaining_time_is_told_from_the_budget_or_from_runs_like_it(folder: Path) -> None:
    runs = planned(folder, seeds=[0, 1])
    begin(runs[0], finished=True, wall_s=90.0)
    work = Benchmark(runs, None)
    known = {run.name: work.progress(run).remaining_s for run in runs}
    assert known["tiny/ln/seed-1"] == 90.0
    assert known["tiny/vivit/seed-1"] is None
    timed = planned_runs(suite(passes=None, minutes_per_run=2.0), folder, folder / "timed")
    assert Benchmark(timed, None).progress(timed[0]).remaining_s == 120.0


def test_a_run_that_another_process_works_on_is_left_alone(folder: Path) -> None:
    runs = planned(folder)
    runs[0].folder.parent.mkdir(parents=True)
    with runs[0].log.open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="tiny/ln/seed-0 is being worked on by another process"):
            Benchmark(runs, None).execute(runs, lambda *_: None)
    assert not runs[0].folder.exists()


# --- Equal time ---------------------------------------------------------------------------------------------------


STATED = {
    name: entry | {"steps": steps}
    for (name, entry), steps in zip(SUITE["models"].items(), (7, 5), strict=True)
}


def test_a_model_whose_steps_are_stated_takes_them_and_rehearses_nothing(folder: Path) -> None:
    # Its own YAML has passes, which count no longer.
    (folder / "training.yaml").write_text(dump_yaml(TRAINING | {"max_passes": 3.0}))
    models = SUITE["models"] | {"ln": STATED["ln"]}
    ln, vivit = planned(folder, passes=None, minutes_per_run=8.0, models=models)
    assert "--max-minutes" not in ln.train_arguments
    assert ln.experiment.training.length == StepsConfig(number=7)
    assert vivit.train_arguments[-2:] == ("--max-minutes", "8.0")
    assert vivit.experiment.training.length == PassesConfig(number=3.0)


def test_steps_of_every_model_are_a_budget_too(folder: Path) -> None:
    runs = planned(folder, passes=None, models=STATED)
    assert [(run.minutes, run.experiment.training.length.number) for run in runs] == [(None, 7), (None, 5)]


def test_steps_take_what_such_runs_took_and_before_that_the_minutes(folder: Path) -> None:
    runs = planned(folder, passes=None, minutes_per_run=8.0, models=STATED, seeds=[0, 1])
    begin(runs[0], finished=True, wall_s=90.0)
    work = Benchmark(runs, None)
    known = {run.name: work.progress(run).remaining_s for run in runs}
    assert (known["tiny/ln/seed-1"], known["tiny/vivit/seed-1"]) == (90.0, 480.0)


def test_other_steps_are_another_run(folder: Path) -> None:
    begin(planned(folder, passes=None, models=STATED)[0])
    other = STATED | {"ln": STATED["ln"] | {"steps": 8}}
    with pytest.raises(ConfigError, match=r"different: experiment\.training\.length"):
        Benchmark(planned(folder, passes=None, models=other), None)


def test_each_model_is_trained_for_each_of_several_minutes(folder: Path) -> None:
    runs = planned(folder, passes=None, minutes_per_run=[2, 8.0], data_shares=[0.5, 1.0])
    assert [run.minutes for run in runs] == [8.0, 8.0, 2.0, 2.0] * 2
    assert [run.model for run in runs if run.entry == "ln"] == [
        "ln-8min", "ln-2min", "ln-share-0.5-8min", "ln-share-0.5-2min"
    ]  # fmt: skip
    several = suite(passes=None, minutes_per_run=[2, 8], reference="ln")
    assert several.reference_model == "ln-8min"
    assert suite(passes=None, minutes_per_run=[8], reference="ln").reference_model == "ln"


# --- Processes ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_command_runs_in_a_process_of_its_own_and_what_it_says_stands_in_the_log(tmp_path: Path) -> None:
    with (tmp_path / "log").open("ab") as log:
        assert command(["recipes"], log, lambda: None)
        assert not command(["recipe"], log, lambda: None)
    said = (tmp_path / "log").read_text()
    for part in (
        "$ visioncore recipes\n",
        "vivit_best.yaml",
        "$ visioncore recipe\n",
        "No such command 'recipe'",
    ):
        assert part in said


# --- All the way through ------------------------------------------------------------------------------------------


COMMAND = ("benchmark", "suite.yaml", "--out", "out")


def history(run_dir: Path) -> list[dict[str, str]]:
    path = run_dir / "logs" / "metrics.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


@pytest.mark.slow
def test_a_killed_benchmark_goes_on_trains_nothing_twice_and_survives_a_run_that_fails(folder: Path) -> None:
    (folder / "colour.yaml").write_text(dump_yaml(LINEAR | {"initial_input_channels": 3}))
    (folder / "training.yaml").write_text(dump_yaml(TRAINING | {"steps_per_epoch": 8}))
    models = {"colour": {"model": "colour.yaml", "training": "training.yaml"}, **SUITE["models"]}
    (folder / "suite.yaml").write_text(dump_yaml(SUITE | {"models": models, "passes": 8}))
    log = folder / "log"
    process = start_process(command_line, folder, COMMAND, out=log, err=log)
    out = folder / "out" / "tiny"
    ln, vivit = (out / name / "seed-0" for name in ("ln", "vivit"))
    try:
        while not history(vivit):
            assert process.is_alive(), log.read_text()
            time.sleep(0.02)
    finally:
        end_process(process)
    assert "nothing to compare it with yet" in (out / "comparison.html").read_text()
    before, halfway = (ln / "twin.safetensors").stat(), history(vivit)
    done = visioncore_command(folder, *COMMAND, "--list")
    assert done.returncode == 0, done.stderr
    assert "1 of 3 runs finished" in done.stdout
    assert "begun (" in done.stdout

    done = visioncore_command(folder, *COMMAND)
    assert done.returncode == 1
    assert "1 of 3 runs failed" in done.stderr
    assert "tiny/colour/seed-0: error: " in done.stderr
    assert "initial_input_channels" in done.stderr
    assert "out/tiny/comparison.html" in done.stdout
    assert (ln / "twin.safetensors").stat() == before
    assert len(history(vivit)) > len(halfway)
    # The kill may have come between the history and the point of resumption: then that epoch was trained again.
    untimed = [[row | {"wall_s": ""} for row in rows] for rows in (history(vivit)[: len(halfway)], halfway)]
    assert untimed[0] == untimed[1]
    compared = json.loads((out / "comparison.json").read_text())
    assert list(compared["models"]) == ["ln", "vivit"]
    assert compared["settings"]["reference"] == "ln"
    assert all(own["wall_s"] > 0 and own["training_flops"] > 0 for own in compared["models"].values())
    assert np.isfinite(compared["overall"]["differences"]["vivit"]["bits_per_spike"]["mean"])
