"""A search finds what is planted, goes on after whatever ends it, and two workers never have the same trial."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flawed import N_BINS, SPLITS, TRIAL_BINS, recording
from pages import ROOT
from searches import SPACE, nothing, planted, quick_trials, start, written
from visioncore.errors import ConfigError
from visioncore.search import Search, Study, read_space, work, write_page
from visioncore.search import training as training_module
from visioncore.search.space import departures, names, start_values
from visioncore.search.study import Trial
from visioncore.search.training import carry_out
from visioncore.search.worker import put_back

# --- The space ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"space": {"model.linear.params.rnk": {"type": "int", "low": 1, "high": 2}}}, "rnk"),
        ({"space": {"model.linear.params.rank": {"type": "int", "low": 0, "high": 2}}}, r"rank' cannot be 0"),
        ({"space": {"model.linear.params.rank": {"type": "int", "low": 3, "high": 1}}}, "low must be less"),
        ({"space": {"training.clip_frames": {"type": "float", "low": 0.5, "high": 9.5}}}, r"cannot be 0\.5"),
        ({"space": {"training.seed": {"type": "int", "low": 0, "high": 2}}}, "same for all trials"),
        (
            {"space": {"model.linear": {"type": "choice", "values": [{"type": "none"}, {"type": "bent"}]}}},
            "bent",
        ),
        ({"steps_per_trial": None}, "expected one length"),
        ({"minutes_per_trial": 1.0}, "expected one length"),
        ({"pruner": "median"}, "unknown key 'pruner'"),
        (
            {
                "space": SPACE
                | {
                    "training.batch_size": {
                        "type": "int",
                        "low": 1,
                        "high": 4,
                        "when": {"model.linear.params.rank": [7]},
                    }
                }
            },
            "being 7, which it never is",
        ),
    ],
)
def test_what_does_not_fit_the_schema_is_said_before_the_first_trial(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        read_space(written(tmp_path, **changes))


def test_a_dimension_may_depend_on_another(tmp_path: Path) -> None:
    when = {"training.optimiser.type": ["muon"]}
    own = {"type": "float", "low": 0.001, "high": 0.1, "log": True, "when": when}
    config = read_space(
        written(tmp_path, space={"training.optimiser.params.muon_learning_rate": own} | SPACE)
    )
    key = "training.optimiser.params.muon_learning_rate"
    assert config.order.index(key) > config.order.index("training.optimiser.type")
    assert config.is_searched(key, {"training.optimiser.type": "muon"})
    assert not config.is_searched(key, {"training.optimiser.type": "adamw"})
    chosen = {"training.optimiser.type": "muon", key: 0.01}
    assert put_back(config, chosen, "training.optimiser.type") == {}


def test_short_names_tell_keys_apart() -> None:
    found = names(["model.a.params.type", "model.b.params.type", "training.clip_frames"])
    assert found == {
        "model.a.params.type": "a.type",
        "model.b.params.type": "b.type",
        "training.clip_frames": "clip_frames",
    }


@pytest.mark.parametrize("name", ["guide", "rivals"])
def test_the_shipped_searches_fit_the_schema(name: str) -> None:
    path = ROOT / "experiments" / "search" / f"{name}.yaml"
    config = read_space(path)
    point = start_values(config, path.parent)
    assert point is not None
    assert departures(config, path.parent, point) == {}


# --- What is decided, with a training that takes no time -----------------------------------------------------------


def test_it_finds_the_planted_optimum_though_trials_fail_and_are_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = quick_trials(monkeypatch)
    space = written(tmp_path, trials=60, confirm_seeds=2)
    search = Search(read_space(space), tmp_path, tmp_path / "out", None)
    study = work(search, nothing)
    trials = study.trials()
    assert len(trials) == 60
    assert {trial.state for trial in trials} == {"finished", "stopped", "failed"} == set(quick.values())
    # What fails is not tried again and again.
    assert sum(trial.state == "failed" for trial in trials) < 15
    # The start is tried first, as the YAML has it.
    assert trials[0].chosen == start()
    best = max((trial for trial in trials if trial.value is not None), key=lambda trial: trial.value or 0)
    assert best.chosen["model.linear.params.rank"] == 2
    assert best.chosen["training.optimiser.type"] == "muon"
    assert abs(np.log10(best.chosen["training.optimiser.params.learning_rate"] / 0.01)) < 0.2
    # With other seeds: the best, the start, and the best without each departure, twice.
    roles = [trial.role for trial in study.confirmations()]
    assert len(roles) == len(set(roles)) == 2 * 5
    assert {trial.seed for trial in study.confirmations()} == {1, 2}
    page = write_page(study, search).read_text()
    told = json.loads((tmp_path / "out" / "search_found.json").read_text())
    worth = {own["key"]: own["worth"] for own in told["departures"]}
    assert worth["training.optimiser.type"] == pytest.approx(1.0)
    assert worth["model.linear.params.rank"] == pytest.approx(1.0)
    assert told["lead"] == pytest.approx((best.value or 0) - planted(start()))
    assert "The test split was not read." in page
    assert "rank 3 needs more memory than there is" in page
    n_looks = sum(len(trial.curve) for trial in trials) + sum(trial.value is not None for trial in trials)
    assert told["n_looks"] == n_looks + 10 * 11
    # It is over, and stays so; with more trials it goes on.
    assert len(work(search, nothing).trials()) == 60
    more = Search(read_space(written(tmp_path, trials=62, confirm_seeds=2)), tmp_path, tmp_path / "out", None)
    assert len(work(more, nothing).trials()) == 62


def test_a_bad_trial_is_stopped_early_and_a_late_bloomer_is_not(tmp_path: Path) -> None:
    study = Study(read_space(written(tmp_path, trials=9)), tmp_path / "out", None)

    def stopped_at(curve: list[float]) -> int | None:
        mine = study.begin()
        assert mine is not None
        for tenth, score in enumerate(curve, 1):
            if mine.report(tenth, score):
                mine.stop()
                return tenth
        mine.finish(curve[-1])
        return None

    usual = [0.40, 0.43, 0.48, 0.53, 0.58, 0.62, 0.65, 0.67, 0.68, 0.69]
    bad = [0.44, 0.45, *[0.46] * 8]
    # With few to compare it with, nothing is stopped.
    assert [stopped_at(curve) for curve in ([usual] * 4 + [bad])] == [None] * 5
    assert stopped_at([0.30, 0.35, *usual[2:]]) is None
    assert stopped_at(bad) == 3


def test_steps_of_a_tenth_are_tenths(tmp_path: Path) -> None:
    key = "training.optimiser.params.weight_decay"
    space = {key: {"type": "float", "low": 0.0, "high": 0.9, "step": 0.1}}
    study = Study(read_space(written(tmp_path, trials=30, space=space)), tmp_path / "out", None)
    chosen = set()
    while mine := study.begin():
        chosen.add(mine.chosen[key])
        mine.finish(0.0)
    assert chosen <= {0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}
    # Three, six and seven steps of 0.1 are no tenths to the last bit.
    assert chosen & {0.3, 0.6, 0.7}


def test_another_search_is_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_trials(monkeypatch)
    work(Search(read_space(written(tmp_path)), tmp_path, tmp_path / "out", None), nothing)
    other = read_space(written(tmp_path, objective="held_out_units"))
    with pytest.raises(ConfigError, match=r"holds another search \(different: objective, "):
        work(Search(other, tmp_path, tmp_path / "out", None), nothing)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no search of ours"):
        work(Search(other, tmp_path, tmp_path / "full", None), nothing)


def test_a_trial_whose_worker_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    config = read_space(written(tmp_path))
    out = tmp_path / "out"
    worker = f"""
import sys, time
from pathlib import Path
from visioncore.search import Study, read_space
study = Study(read_space(Path({str(tmp_path / "search.yaml")!r})), Path({str(out)!r}), None)
mine = study.begin()
print(mine.number, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        study = Study(config, out, None)
        # While it lives nobody takes its trial away.
        assert study.give_up_abandoned() == []
        process.send_signal(signal.SIGKILL)
    assert study.give_up_abandoned() == [number]
    assert study.give_up_abandoned() == []
    (old,) = study.trials()
    mine = study.begin()
    assert mine is not None
    assert (old.state, mine.folder, mine.chosen) == ("abandoned", number, old.chosen)
    mine.finish(1.0)


def test_what_a_killed_worker_left_running_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its training has the trial's log; the trial does not fail for that."""
    config = read_space(written(tmp_path))
    study = Study(config, tmp_path / "out", None)
    mine = study.begin()
    assert mine is not None
    log = tmp_path / "out" / "trials" / "0000.log"
    log.parent.mkdir(parents=True)
    code = f"""
import fcntl, time
log = open({str(log)!r}, "ab")
fcntl.flock(log, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(1.5)
open({str(tmp_path / "ended")!r}, "w").close()
"""
    ended: list[bool] = []

    def command(*unused: Any) -> bool:
        ended.append((tmp_path / "ended").exists())
        return True

    monkeypatch.setattr(training_module, "command", command)
    monkeypatch.setattr(training_module, "_objective", lambda *_: 1.0)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as left:
        assert left.stdout is not None
        assert left.stdout.readline() == "locked\n"
        carry_out(mine, config, tmp_path, tmp_path / "out", lambda told: None, early=True)
    assert ended == [True]
    (trial,) = study.trials()
    assert (trial.state, trial.value) == ("finished", 1.0)


def test_two_workers_never_have_the_same_trial(tmp_path: Path) -> None:
    """And no more trials than were asked for."""
    written(tmp_path, trials=14)
    code = f"""
import sys, time
from pathlib import Path
from visioncore.search import Search, read_space, work
from visioncore.search import worker
def carry_out(mine, config, base, out, watch, *, early):
    time.sleep(0.1)
    print(mine.number, flush=True)
    mine.finish(float(mine.chosen["model.linear.params.rank"]))
worker.carry_out = carry_out
folder = Path({str(tmp_path)!r})
(folder / sys.argv[1]).touch()
while not ((folder / "0").exists() and (folder / "1").exists()):
    time.sleep(0.02)
work(Search(read_space(folder / "search.yaml"), folder, folder / "out", None), lambda study, told: None)
"""
    workers = [
        subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True)
        for name in "01"
    ]
    told = [[int(line) for line in process.communicate(timeout=120)[0].split()] for process in workers]
    assert [process.returncode for process in workers] == [0, 0]
    assert len(told[0]) + len(told[1]) == 14 == len({*told[0], *told[1]})
    assert min(map(len, told)) > 0
    study = Study(read_space(tmp_path / "search.yaml"), tmp_path / "out", None)
    points = [tuple(trial.chosen.values()) for trial in study.trials()]
    assert len(set(points)) > 10  # two workers that draw the same numbers would have half


def test_a_database_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    config = read_space(written(tmp_path))
    for url in ("postgresql+psycopg://me:secret@127.0.0.1:9/none", "nonsense"):
        with pytest.raises(ConfigError, match="cannot be kept there") as caught:
            Study(config, tmp_path / "out", url)
        assert "secret" not in str(caught.value)


def test_the_start_is_a_point_of_the_space_or_it_is_not(tmp_path: Path) -> None:
    config = read_space(written(tmp_path))
    assert start_values(config, tmp_path) == start()
    assert departures(config, tmp_path, start() | {"model.linear.params.rank": 2}) == {
        "model.linear.params.rank": (1, 2)
    }
    outside = read_space(
        written(tmp_path, space=SPACE | {"training.clip_frames": {"type": "int", "low": 100, "high": 200}})
    )
    assert start_values(outside, tmp_path) is None


# --- With real trainings ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_trials_are_trained_judged_killed_and_gone_on_with(tmp_path: Path) -> None:
    """Through the command line; and what stands in the test split changes nothing."""
    outcomes = []
    for name, garbage in (("one", False), ("other", True)):
        folder = tmp_path / name
        space = {key: own for key, own in SPACE.items() if own.get("type") != "choice"}
        written(folder, space=space, trials=2, objective="held_out_units", held_out_units=0.5)
        arrays = recording()
        starts = np.arange(0, N_BINS, TRIAL_BINS)
        if garbage:
            test = np.repeat(np.array(SPLITS) == "test", TRIAL_BINS)
            arrays["spikes"][test] = arrays["spikes"][test][::-1]
        np.savez(folder / "0.npz", **arrays, starts=starts, split=np.array(SPLITS))
        command = [sys.executable, "-m", "visioncore.cli", "search", str(folder / "search.yaml")]
        command += ["--out", str(folder / "out")]
        if not garbage:
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                deadline = time.monotonic() + 200
                while not list((folder / "out").glob("trials/*/last.ckpt")) and time.monotonic() < deadline:
                    time.sleep(0.2)
                process.send_signal(signal.SIGKILL)
        done = subprocess.run(command, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
        assert (folder / "out" / "search.html").exists()
        found = json.loads((folder / "out" / "trials.json").read_text())["trials"]
        kept = [own for own in found if own["state"] != "abandoned"]
        assert [own["state"] for own in kept] == ["finished"] * 2, found
        outcomes.append([(own["chosen"], own["value"]) for own in kept][:1])
        assert not list((folder / "out").rglob("evaluation_test.json"))
        assert not list((folder / "out").rglob("test_evaluations.json"))
        assert (folder / "out" / "best" / "model.yaml").exists()
    assert outcomes[0] == outcomes[1]


@pytest.mark.slow
def test_a_trial_that_fails_says_why_and_the_search_goes_on(tmp_path: Path) -> None:
    """No clip of the one kind is longer than the burn-in, which only the data can tell."""
    space = {"training.clip_frames": {"type": "choice", "values": [10, 96]}}
    written(tmp_path, space=space, trials=5, steps_per_trial=4)
    np.savez(
        tmp_path / "0.npz",
        **recording(),
        starts=np.arange(0, N_BINS, TRIAL_BINS),
        split=np.array(SPLITS),
    )
    search = Search(read_space(tmp_path / "search.yaml"), tmp_path, tmp_path / "out", None)
    trials: list[Trial] = work(search, nothing).trials()
    # The start is tried first, and the choice has no other.
    assert trials[0].chosen == {"training.clip_frames": 96}
    states = {trial.chosen["training.clip_frames"]: trial for trial in trials}
    assert states[96].state == "finished"
    assert states[10].state == "failed"
    assert "burn-in" in (states[10].reason or "")
