"""What becomes of one trial of a search: who has it, how it is trained, judged and stopped, and what is said of it."""

import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from searches import SPACE, nothing, quick_trials, start, written
from visioncore.provenance import Epoch
from visioncore.run_folder import RunFolder
from visioncore.search import Search, Study, read_space, work
from visioncore.search import study as study_module
from visioncore.search import training as training_module
from visioncore.search.study import Confirmation, Work
from visioncore.search.training import carry_out, last_words
from visioncore.search.worker import begin
from visioncore.training.plan import RunPlan, write_plan


def begun(study: Study) -> Work:
    mine = study.begin()
    assert mine is not None
    return mine


# --- Who has a trial ----------------------------------------------------------------------------------------------


def test_a_trial_that_two_workers_ask_for_is_nobodys_but_the_first_ones(tmp_path: Path) -> None:
    config = read_space(written(tmp_path, trials=2, confirm_seeds=1))
    one, other = (Study(config, tmp_path / "out", None, [place]) for place in (0, 1))
    mine, theirs = begun(one), begun(other)
    assert (one.begin(), other.begin()) == (None, None)
    assert [trial.state for trial in one.trials()] == ["running"] * 2
    mine.finish(1.0)
    theirs.finish(2.0)
    assert one.begin() is None
    assert [trial.value for trial in other.trials()] == [1.0, 2.0]
    what = Confirmation("best, seed 1", start(), 1)
    confirming = one.confirm(what)
    assert confirming is not None
    assert other.confirm(what) is None
    assert other.confirm(Confirmation("start, seed 1", {}, 1)) is not None
    confirming.finish(3.0)
    assert one.confirm(what) is None
    assert [(trial.role, trial.seed) for trial in one.confirmations()] == [
        ("best, seed 1", 1),
        ("start, seed 1", 1),
    ]


def test_the_start_is_tried_once_however_many_workers_ask_for_it(tmp_path: Path) -> None:
    config = read_space(written(tmp_path))
    studies = [Study(config, tmp_path / "out", None, [place]) for place in (0, 1)]
    for study in studies:
        study.enqueue(start())
    assert [begun(study).chosen == start() for study in studies] == [True, False]


def test_a_trial_that_was_left_is_gone_on_with_in_its_folder_however_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Search(read_space(written(tmp_path)), tmp_path, tmp_path / "out", None)
    begin(search)
    study = Study(search.config, search.out, None)
    first = begun(study)
    for number in range(3):
        mine = first if number == 0 else begun(study)
        assert (mine.number, mine.folder, mine.chosen) == (number, 0, first.chosen)
        assert study.give_up_abandoned() == []
        mine.abandon()
        assert study.give_up_abandoned() == [number]
    # What was left does not count: as many trials as were asked for come to an end.
    quick_trials(monkeypatch)
    states = [trial.state for trial in work(search, nothing).trials()]
    assert states[:3] == ["abandoned"] * 3
    assert len(states) == 3 + 4
    assert "abandoned" not in states[3:]


def test_a_worker_of_another_machine_lives_while_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, here, now = read_space(written(tmp_path)), socket.gethostname(), time.time()
    away, study = (Study(config, tmp_path / "out", None, [place]) for place in (0, 1))

    def at(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: now + seconds)
        monkeypatch.setattr(time, "monotonic", lambda: now + seconds)

    at(0)
    monkeypatch.setattr(socket, "gethostname", lambda: "away")
    theirs = begun(away)
    monkeypatch.setattr(socket, "gethostname", lambda: here)
    for seconds in (100, 200, 300):
        at(seconds)
        assert study.give_up_abandoned() == []
        theirs.still_alive()
    at(410)
    assert study.give_up_abandoned() == []
    at(430)
    assert study.give_up_abandoned() == [theirs.number]


def test_another_process_with_a_dead_workers_number_is_not_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(read_space(written(tmp_path)), tmp_path / "out", None)
    monkeypatch.setattr(study_module, "_process", lambda pid: f"{pid} 123")
    mine = begun(study)
    assert study.give_up_abandoned() == []
    monkeypatch.undo()
    assert study.give_up_abandoned() == [mine.number]


# --- How it is carried out ----------------------------------------------------------------------------------------


class Trained:
    """In place of `visioncore` in processes of its own: the commands that a trial gives, and a history that grows."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, scores: Sequence[float] = (), *, fails: str = ""
    ) -> None:
        self.commands: list[list[str]] = []
        self.scores, self.fails, self.epochs_seen = scores, fails, 0
        monkeypatch.setattr(training_module, "command", self)

    def __call__(self, arguments: list[str], log: Any, tick: Any) -> bool:
        self.commands.append(arguments)
        if self.fails:
            log.write(self.fails.encode())
            log.flush()
            return False
        if arguments[0] == "train":
            folder = RunFolder(Path(arguments[arguments.index("--out") + 1]))
            plan = RunPlan(
                epochs=len(self.scores), steps_per_epoch=5, batches_per_step=1, data_fingerprint="f"
            )
            folder.logs.mkdir(parents=True)
            write_plan(folder.plan, plan)
            for n in range(1, len(self.scores) + 1):
                history = [Epoch(step=5 * k, validation_score=s) for k, s in enumerate(self.scores[:n], 1)]
                folder.write_history(history)
                self.epochs_seen = n
                tick()
        return True

    def option(self, command: int, name: str) -> str | None:
        """What follows an option of a command."""
        found = self.commands[command]
        return found[found.index(name) + 1] if name in found else None


def carried_out(study: Study, base: Path, mine: Work, *, early: bool = True) -> None:
    carry_out(mine, study.config, base, base / "out", lambda told: None, early=early)


@pytest.mark.parametrize("length", ["minutes", "steps"])
def test_each_trial_has_the_same_length_and_is_judged_on_the_validation_split(
    length: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"steps_per_trial": None, "epochs_per_trial": None, "minutes_per_trial": 2.0}
    changes = own if length == "minutes" else {}
    config = read_space(written(tmp_path, objective="held_out_units", held_out_units=0.25, **changes))
    study = Study(config, tmp_path / "out", None)
    trained = Trained(monkeypatch, [0.1])
    monkeypatch.setattr(training_module, "_objective", lambda *_: 1.0)
    mine = begun(study)
    carried_out(study, tmp_path, mine)
    train, evaluate = trained.commands
    assert (train[0], evaluate[0], evaluate[1]) == ("train", "evaluate", trained.option(0, "--out"))
    assert "--held-out-units" in evaluate
    assert trained.option(1, "--split") == "validation"
    minutes = ["2.0", "0.5"] if length == "minutes" else [None, None]
    assert [trained.option(k, "--max-minutes") for k in (0, 1)] == minutes
    overrides = {train[k + 1] for k, argument in enumerate(train) if argument == "--set"}
    expected = {"training.held_out_units=0.25"}
    if length == "steps":
        expected |= {
            'training.length={"params": {"number": 8}, "type": "steps"}',
            "training.steps_per_epoch=2",
        }
    assert overrides >= expected
    assert len(overrides - expected) == len(SPACE)
    assert f"model.linear.params.rank={mine.chosen['model.linear.params.rank']}" in overrides


def test_the_curve_is_the_best_score_so_far_by_tenth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(read_space(written(tmp_path)), tmp_path / "out", None)
    Trained(monkeypatch, [float("nan"), 0.2, 0.1, 0.5, 0.4])
    carried_out(study, tmp_path, begun(study))
    (trial,) = study.trials()
    assert trial.curve == {4: 0.2, 6: 0.2, 8: 0.5, 10: 0.5}
    # Of the validation split, and the best of all epochs: it is the twin that is kept.
    assert (trial.state, trial.value) == ("finished", 0.5)


@pytest.mark.parametrize(
    ("early", "stop_early", "scores", "state", "epochs"),
    [
        (True, True, [0.1] * 10, "stopped", 3),
        (False, True, [0.1] * 10, "finished", 10),
        (True, False, [0.1] * 10, "finished", 10),
        # All of its training is done: that it ends below the others takes nothing away.
        (True, True, [0.9] * 2, "finished", 2),
    ],
    ids=["bad", "of a confirmation", "not asked for", "at its end"],
)
def test_a_bad_trial_is_stopped_where_that_saves_something(
    early: bool,
    stop_early: bool,
    scores: list[float],
    state: str,
    epochs: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = Study(read_space(written(tmp_path, trials=9, stop_early=stop_early)), tmp_path / "out", None)
    for _ in range(5):
        usual = begun(study)
        for tenth in range(1, 11):
            usual.report(tenth, 0.5 if tenth < 10 else 1.0)
        usual.finish(1.0)
    trained = Trained(monkeypatch, scores)
    carried_out(study, tmp_path, begun(study), early=early)
    assert (study.trials()[-1].state, trained.epochs_seen) == (state, epochs)


def test_a_trial_that_fails_says_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(read_space(written(tmp_path)), tmp_path / "out", None)
    Trained(monkeypatch, fails="step 1\nerror: memory ran out\n")
    carried_out(study, tmp_path, begun(study))
    (trial,) = study.trials()
    assert (trial.state, trial.reason, trial.value) == ("failed", "error: memory ran out", None)


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("error: a\nstep 2\nerror: b\nafter\n", "error: b"),
        ("Traceback (most recent call last):\n  File\nValueError: x\n\n", "ValueError: x"),
        ("step 1\n", "it was ended without a word"),
    ],
)
def test_the_last_words_are_those_of_an_error(printed: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(printed)
    assert last_words(tmp_path / "log").startswith(words)


def test_a_trial_without_a_score_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(read_space(written(tmp_path)), tmp_path / "out", None)
    Trained(monkeypatch, [float("nan")])
    carried_out(study, tmp_path, begun(study))
    assert "no validation score is defined" in (study.trials()[0].reason or "")


def test_ctrl_c_leaves_the_trial_to_be_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(read_space(written(tmp_path)), tmp_path / "out", None)

    def interrupted(*unused: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(training_module, "command", interrupted)
    mine = begun(study)
    with pytest.raises(KeyboardInterrupt):
        carried_out(study, tmp_path, mine)
    assert study.give_up_abandoned() == [0]
    assert begun(study).chosen == mine.chosen
