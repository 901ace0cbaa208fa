"""How long a run is, and what its length is counted in."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from visioncore.provenance import Epoch
from visioncore.training.clock import Clock
from visioncore.training.lit_twin import LitTwin
from visioncore.training.plan import (
    Pace,
    RunPlan,
    corrected,
    plan_for_minutes,
    plan_for_passes,
    plan_for_steps,
    read_plan,
    rehearsal_s,
)
from visioncore.training.rehearsal import Rehearsal
from visioncore.training.schedule import learning_rate_factor

PLAN = RunPlan(epochs=50, steps_per_epoch=100, batches_per_step=1, data_fingerprint="")


@pytest.mark.parametrize(("minutes", "step_s"), [(10.0, 0.1), (10.0, 0.37), (3.0, 0.002), (0.1, 0.1)])
def test_a_run_fills_its_minutes(minutes: float, step_s: float) -> None:
    """To a step per epoch, however many epochs of the usual length that is."""
    plan = plan_for_minutes(PLAN, minutes, Pace(step_s=step_s, epoch_end_s=2.0))
    taken_s = plan.max_steps * step_s + plan.epochs * 2.0
    assert 60 * minutes - plan.epochs * step_s <= taken_s <= 60 * minutes
    assert plan.steps_per_epoch <= 1.5 * PLAN.steps_per_epoch


def test_there_is_a_step_even_where_there_is_no_time_for_one() -> None:
    assert plan_for_minutes(PLAN, 0.01, Pace(step_s=10.0, epoch_end_s=2.0)).max_steps == 1


class Machine:
    """A clock that only moves as steps, validations and checkpoints take their scripted seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in ("rehearsal", "clock", "lit_twin"):
            monkeypatch.setattr(f"visioncore.training.{module}.time.perf_counter", lambda: self.now)


def rehearsed(
    monkeypatch: pytest.MonkeyPatch,
    minutes: float,
    step_s: list[float],
    then: float,
    batches_per_step: int = 1,
    validations: Sequence[float] = (2.5, 2.5, 2.5),
) -> tuple[Pace, int]:
    """The pace on a machine whose steps and validations take these seconds, and how many steps were made."""
    machine, n_steps = Machine(monkeypatch), 0
    left = list(validations)

    def validate(*_: Any, **__: Any) -> None:
        rehearsal.on_validation_start()
        machine.now += left.pop(0)
        rehearsal.on_validation_end()

    trainer: Any = SimpleNamespace(
        should_stop=False, strategy=SimpleNamespace(broadcast=lambda value: value), validate=validate
    )
    module: Any = None
    rehearsal = Rehearsal(rehearsal_s(minutes), batches_per_step)
    # The first of all validations is slow, and counts for nothing.
    rehearsal.on_validation_start()
    machine.now += 30.0
    rehearsal.on_validation_end()
    while not trainer.should_stop:
        machine.now += step_s[n_steps] if n_steps < len(step_s) else then
        for batch in range(batches_per_step):
            rehearsal.on_train_batch_end(trainer, module, None, None, n_steps * batches_per_step + batch)
        n_steps += 1
    validate()
    machine.now += 0.5
    rehearsal.on_train_end()
    return rehearsal.pace_of(trainer, module), n_steps


@pytest.mark.parametrize("batches_per_step", [1, 4])
def test_a_rehearsal_finds_the_pace(monkeypatch: pytest.MonkeyPatch, batches_per_step: int) -> None:
    pace, _ = rehearsed(monkeypatch, 10.0, [], 0.1, batches_per_step)
    assert [pace.step_s, pace.epoch_end_s] == pytest.approx([0.1, 3.0])


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_one_validation_among_others_decides_nothing(monkeypatch: pytest.MonkeyPatch, odd: int) -> None:
    times = [2.5, 2.5, 2.5]
    times[odd] = 15.5
    pace, _ = rehearsed(monkeypatch, 10.0, [], 0.1, validations=times)
    assert pace.epoch_end_s == pytest.approx(3.0)


def test_validations_that_take_long_are_timed_no_longer_than_steps_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pace, _ = rehearsed(monkeypatch, 10.0, [], 0.1, validations=[100.0])
    assert pace.epoch_end_s == pytest.approx(100.5)


def test_a_disturbance_at_the_start_does_not_change_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, _ = rehearsed(monkeypatch, 10.0, [5.0, *[0.5] * 20], 0.1)
    assert pace.step_s == pytest.approx(0.1)


@pytest.mark.parametrize(("minutes", "seconds"), [(1.0, 5.0), (60.0, 180.0)])
def test_a_rehearsal_takes_a_small_share_of_the_budget(
    monkeypatch: pytest.MonkeyPatch, minutes: float, seconds: float
) -> None:
    _, n_steps = rehearsed(monkeypatch, minutes, [], 0.1)
    assert n_steps == pytest.approx(seconds / 0.1, abs=3)
    assert rehearsed(monkeypatch, minutes, [], 200.0)[1] == 6


# --- The clock ----------------------------------------------------------------------------------------------------


class Run:
    """A run on a machine with scripted seconds: what Lightning calls, in its order."""

    def __init__(
        self,
        machine: Machine,
        folder: Path,
        plan: RunPlan,
        step_s: Callable[[float], float],
        epoch_end_s: float,
    ) -> None:
        self.machine, self.step_s, self.epoch_end_s = machine, step_s, epoch_end_s
        self.module = LitTwin.__new__(LitTwin)
        # No network is needed to count time.
        torch.nn.Module.__init__(self.module)
        self.module.plan, self.module.history, self.module.first_epoch = plan, [], 0
        self.module._resumed_at_s, self.module._started = 0.0, machine.now
        self.steps = 0
        self.path = folder / "plan.json"
        self.trainer: Any = SimpleNamespace(
            should_stop=False,
            current_epoch=0,
            global_step=0,
            is_global_zero=True,
            strategy=SimpleNamespace(broadcast=lambda value: value),
            fit_loop=SimpleNamespace(max_epochs=plan.epochs),
        )
        self.clock = Clock(self.path)

    def to_the_end(self, monkeypatch: pytest.MonkeyPatch) -> float:
        """Trains; gives the minutes it took."""
        monkeypatch.setattr(LitTwin, "global_step", property(lambda _: self.steps))
        began = self.machine.now
        module, trainer = self.module, self.trainer
        self.clock.on_train_start(trainer, module)
        while trainer.current_epoch < trainer.fit_loop.max_epochs and not trainer.should_stop:
            for _ in range(module.plan.steps_per_epoch):
                self.machine.now += self.step_s((self.machine.now - began) / 60)
                self.steps += 1
                self.clock.on_train_batch_end(trainer, module)
                if trainer.should_stop:
                    break
            self.machine.now += self.epoch_end_s
            self.clock.on_train_epoch_end(trainer, module)
            module.history.append(Epoch(step=0, wall_s=module.wall_s()))
            trainer.current_epoch += 1
        self.clock.on_train_end(trainer, module)
        assert self.steps == module.plan.max_steps
        return (self.machine.now - began) / 60


@pytest.mark.parametrize("minutes", [2.0, 8.0, 20.0])
@pytest.mark.parametrize(
    ("step_s", "epoch_end_s"), [(0.2, 3.0), (0.1, 3.0), (0.05, 3.0), (0.1, 35.0), (0.1, 0.3), (1.0, 5.0)]
)
def test_what_was_planned_is_met_however_wrong_the_rehearsal_was(
    minutes: float, step_s: float, epoch_end_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch)
    plan = plan_for_minutes(PLAN, minutes, Pace(step_s=0.1, epoch_end_s=3.0))
    run = Run(machine, tmp_path, plan, lambda _: step_s, epoch_end_s)
    took = run.to_the_end(monkeypatch)
    # Half an epoch, where so few fit that the first one is most of the run.
    epoch = (plan.steps_per_epoch * step_s + epoch_end_s) / 60
    assert abs(took - minutes) <= max(0.1 * minutes, epoch / 2, took - minutes if epoch > minutes else 0)
    recorded = read_plan(run.path)
    assert recorded is None or recorded == run.module.plan


@pytest.mark.parametrize("minutes", [0.5, 2.0, 8.0])
@pytest.mark.parametrize("step_s", [0.05, 0.2, 0.3])
def test_it_is_met_too_where_a_pass_is_longer_than_the_minutes(
    minutes: float, step_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch)
    long = PLAN.model_copy(update={"steps_per_epoch": 100_000})
    plan = plan_for_minutes(long, minutes, Pace(step_s=0.1, epoch_end_s=1.0))
    took = Run(machine, tmp_path, plan, lambda _: step_s, 1.0).to_the_end(monkeypatch)
    assert took == pytest.approx(minutes, rel=0.1)


def test_validations_take_no_more_than_a_quarter_for_that() -> None:
    long = PLAN.model_copy(update={"steps_per_epoch": 100_000})
    plans = [plan_for_minutes(long, 2.0, Pace(step_s=0.1, epoch_end_s=s)) for s in (1.0, 7.0, 12.0, 50.0)]
    assert [plan.epochs for plan in plans] == [4, 4, 2, 1]


def test_a_pace_that_no_epoch_could_correct_is_blamed_on_the_rehearsal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(monkeypatch)
    long = PLAN.model_copy(update={"steps_per_epoch": 100_000})
    plan = plan_for_minutes(long, 1.0, Pace(step_s=0.1, epoch_end_s=40.0))
    Run(machine, tmp_path, plan, lambda _: 0.2, 40.0).to_the_end(monkeypatch)
    assert "the machine was slower than in the rehearsal" in caplog.text


def test_a_load_that_changes_afterwards_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(monkeypatch)
    plan = plan_for_minutes(PLAN, 8.0, Pace(step_s=0.1, epoch_end_s=3.0))
    run = Run(machine, tmp_path, plan, lambda minute: 0.1 if minute < 4 else 0.2, 3.0)
    took = run.to_the_end(monkeypatch)
    assert took == pytest.approx(11, abs=1)
    assert f"training took {took:.1f} minutes, and 8 were planned" in caplog.text
    assert "the machine was slower than in the first epochs" in caplog.text


def test_the_plan_is_put_right_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    plan = plan_for_minutes(PLAN, 8.0, Pace(step_s=0.1, epoch_end_s=3.0))
    writes: list[RunPlan] = []
    monkeypatch.setattr("visioncore.training.clock.write_plan", lambda _, plan: writes.append(plan))
    Run(machine, tmp_path, plan, lambda _: 0.2, 3.0).to_the_end(monkeypatch)
    assert len(writes) == 1
    assert writes[0].corrected_at is not None
    assert writes[0].corrected_at < writes[0].max_steps


@pytest.mark.parametrize("step_s", [0.05, 0.2])
def test_the_learning_rate_goes_on_from_where_it_was_and_ends_where_it_was_to_end(step_s: float) -> None:
    first = plan_for_minutes(PLAN, 8.0, Pace(step_s=0.1, epoch_end_s=3.0))
    at = 2 * first.steps_per_epoch
    new = corrected(
        first, step=at, taken_s=2 * (first.steps_per_epoch * step_s + 3.0), epochs=2, epoch_end_s=3.0
    )
    factor = learning_rate_factor("cosine", 50, first.max_steps, 0.01)
    rates = [factor(new.scheduled_step(step)) for step in range(new.max_steps + 1)]
    before = learning_rate_factor("cosine", 50, first.max_steps, 0.01)
    assert rates[: at + 1] == [before(step) for step in range(at + 1)]
    assert all(later <= earlier for earlier, later in pairwise(rates[50:]))
    assert rates[-1] == pytest.approx(0.01)


def test_a_plan_of_before_there_was_a_clock_is_read_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(
        '{"epochs": 4, "steps_per_epoch": 5, "batches_per_step": 2, "data_fingerprint": "f"}'
    )
    plan = read_plan(tmp_path / "plan.json")
    assert plan is not None
    assert (plan.max_steps, plan.minutes, plan.scheduled_step(7)) == (20, None, 7)


# --- Passes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passes", "steps_per_pass"), [(1.0, 37.4), (12.5, 37.4), (0.001, 3.0), (40.0, 1000.0)]
)
def test_passes_become_steps(passes: float, steps_per_pass: float) -> None:
    plan = plan_for_passes(PLAN, passes, steps_per_pass)
    assert plan.max_steps == pytest.approx(max(passes * steps_per_pass, 1), abs=1 + plan.epochs / 2)
    assert plan.steps_per_epoch <= 1.5 * PLAN.steps_per_epoch


# --- Steps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 7, 99, 100, 101, 200, 2650])
def test_steps_are_taken_to_the_step_in_epochs_of_the_usual_length(steps: int) -> None:
    plan = plan_for_steps(PLAN, steps)
    assert plan.max_steps == steps
    assert plan.steps_per_epoch == PLAN.steps_per_epoch
    assert 1 <= (plan.last_epoch_steps or plan.steps_per_epoch) <= plan.steps_per_epoch
