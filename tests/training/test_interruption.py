"""A run that is told to stop by SIGTERM or SIGUSR1 saves its step, and goes on as the run that was left alone."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from killed import start
from ranks import Trained, unequal_sessions
from visioncore.checkpoint import load_twin
from visioncore.errors import Stopped
from visioncore.run_folder import RunFolder

pytestmark = pytest.mark.slow
STOPPED = 75
ONE = (
    "training.batch_size=4",
    "training.accumulate_grad_batches=2",
    "training.steps_per_epoch=12",
    "training.loggers=[{type: tensorboard}, {type: csv}]",
)
EVERYTHING = (
    *ONE,
    "training.ema_decay=0.9",
    "training.cutmix=0.5",
    "training.machine.num_workers=1",
    "model.convnet.params.patch_dropout=0.2",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unequal_sessions(tmp_path_factory.mktemp("interruption"))


def epochs(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.to_json().items() if k != "wall_s"} for e in RunFolder(run).history()]


def saved_step(run: Path) -> int:
    return torch.load(run / "last.ckpt", weights_only=True)["global_step"]


def scalars(run: Path) -> dict[str, list[int]]:
    """The steps of every curve that says the same on every machine."""
    events = EventAccumulator(str(run / "logs" / "tensorboard")).Reload()
    return {tag: [e.step for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def table(run: Path) -> list[str]:
    timed = ("peak_memory", "clips_per_s")
    lines = (run / "logs" / "steps.csv").read_text().splitlines()
    return [line for line in lines if not any(name in line for name in timed)]


def same_result(one: Path, other: Path) -> None:
    assert epochs(one) == epochs(other)
    states = [torch.load(run / "last.ckpt", weights_only=True)["state_dict"] for run in (one, other)]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    weights = load_twin(other).state_dict()
    for name, tensor in load_twin(one).state_dict().items():
        assert torch.equal(tensor, weights[name]), name


@pytest.fixture(scope="module")
def left_alone(folder: Path) -> Path:
    assert start(folder, folder / "alone", overrides=EVERYTHING) == 0
    return folder / "alone"


def test_a_run_that_is_told_to_stop_saves_its_step_and_goes_on_as_if_left_alone(
    folder: Path, left_alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    # In the first half of a step of each epoch, and in the second pass of a step.
    assert start(folder, out, "step", 9, EVERYTHING, by=signal.SIGUSR1) == STOPPED
    assert saved_step(out) == 5
    assert start(folder, out, "step", 4, EVERYTHING, by=signal.SIGTERM) == STOPPED
    assert saved_step(out) == 7
    assert "stopped by SIGTERM, saved at step 7; the same command" in out.with_name("run.log").read_text()
    assert start(folder, out, "step", 2 * (12 - 7) + 3, EVERYTHING, by=signal.SIGTERM) == STOPPED
    assert saved_step(out) == 14
    assert start(folder, out, overrides=EVERYTHING) == 0
    same_result(left_alone, out)
    # One folder, in which no step of any curve stands twice.
    assert scalars(out) == scalars(left_alone)
    assert scalars(out)["validation/score"] == [11, 23]
    assert scalars(out)["train/loss"] == [9, 19, 23]
    assert table(out) == table(left_alone)
    walls = [epoch.wall_s for epoch in RunFolder(out).history()]
    assert 0 < walls[0] < walls[1]


def test_what_comes_with_the_last_pass_or_the_validation_of_an_epoch_stops_the_run_after_it(
    folder: Path, left_alone: Path, tmp_path: Path
) -> None:
    for moment, number in (("step", 24), ("validation", 6)):
        out = tmp_path / moment
        assert start(folder, out, moment, number, EVERYTHING, by=signal.SIGTERM) == STOPPED
        assert saved_step(out) == 12
        assert len(epochs(out)) == 1
    assert start(folder, out, overrides=EVERYTHING) == 0
    same_result(left_alone, out)


def test_an_epoch_goes_on_though_its_clips_are_dealt_out_otherwise(folder: Path, tmp_path: Path) -> None:
    alone, out = tmp_path / "alone", tmp_path / "run"
    assert start(folder, alone, overrides=ONE) == 0
    assert start(folder, out, "step", 9, ONE, by=signal.SIGTERM) == STOPPED
    otherwise = ("training.batch_size=2", "training.accumulate_grad_batches=4", *ONE[2:])
    assert start(folder, out, "step", 9, otherwise, by=signal.SIGTERM) == STOPPED
    assert saved_step(out) == 8
    assert start(folder, out, overrides=("training.batch_size=8", *ONE[2:])) == 0
    for there, here in zip(epochs(alone), epochs(out), strict=True):
        assert here == pytest.approx(there, rel=1e-4, abs=1e-5)


def test_a_signal_to_one_process_stops_all_at_one_step(folder: Path, tmp_path: Path) -> None:
    alone, out = tmp_path / "alone", tmp_path / "run"
    few = ["training.steps_per_epoch=4"]
    Trained(folder, alone, few).well()
    told = Trained(folder, out, few, moments=[None, ("told", 2)])
    assert told.codes == [STOPPED, STOPPED], "\n".join(told.said)
    assert "stopped by a signal to another process, saved at step 2" in told.said[0]
    assert saved_step(out) == 2
    drawn = told.drawn + Trained(folder, out, few).well().drawn
    assert epochs(out) == epochs(alone)
    assert sorted(clip for own in drawn for clip in own) == list(range(2 * 4 * 8))


def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, requeued: int = 0) -> Path:
    """A job of Slurm, with a `scontrol` that writes down how it was called."""
    calls, bin_ = tmp_path / "calls", tmp_path / "bin"
    bin_.mkdir()
    shows = f'[ $1 = show ] && echo "JobId=7 JobState={state} Reason=None" && exit 0'
    script = f'#!/bin/sh\necho "$@" >> {calls}\n{shows}\necho no such job >&2\nexit {requeued}\n'
    (bin_ / "scontrol").write_text(script)
    (bin_ / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    job = {"JOB_ID": "7", "JOB_NAME": "train", "NTASKS": "1", "NNODES": "1", "PROCID": "0"}
    for key, value in {**job, "NODEID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    return calls


def requeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run does that is told to stop before it trains."""
    from visioncore.training.interruption import Interruption

    with pytest.raises(Stopped) as stopped, Interruption(RunFolder(tmp_path / "run")):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert stopped.value.code == STOPPED


def test_a_job_of_slurm_is_requeued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = slurm(tmp_path, monkeypatch, "RUNNING")
    requeue(tmp_path, monkeypatch)
    assert calls.read_text().splitlines()[-1] == "requeue 7"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "6")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    requeue(tmp_path, monkeypatch)
    assert calls.read_text().splitlines()[-1] == "requeue 6_3"


def test_a_job_that_the_user_has_cancelled_is_not_requeued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = slurm(tmp_path, monkeypatch, "CANCELLED by 1000")
    requeue(tmp_path, monkeypatch)
    assert "requeue" not in calls.read_text()
    assert "was cancelled: it is not requeued" in caplog.text


def test_where_slurm_refuses_the_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slurm(tmp_path, monkeypatch, "RUNNING", requeued=1)
    requeue(tmp_path, monkeypatch)
    assert "job 7 could not be requeued (no such job); submit it again" in caplog.text


def test_signals_mean_afterwards_what_they_meant_before(tmp_path: Path) -> None:
    from visioncore.training.interruption import SIGNALS, Interruption

    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption(RunFolder(tmp_path)):
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
