"""How long a run is, and what its length is counted in."""

from types import SimpleNamespace
from typing import Any

import pytest

from visioncore.training.plan import Pace, Plan, plan_for_minutes, plan_for_passes, rehearsal_s
from visioncore.training.rehearsal import Rehearsal

PLAN = Plan(epochs=50, steps_per_epoch=100, batches_per_step=1, data_fingerprint="")


@pytest.mark.parametrize(("minutes", "step_s"), [(10.0, 0.1), (10.0, 0.37), (3.0, 0.002), (0.1, 0.1)])
def test_a_run_fills_its_minutes(minutes: float, step_s: float) -> None:
    """To a step per epoch, however many epochs of the usual length that is."""
    plan = plan_for_minutes(PLAN, minutes, Pace(step_s=step_s, epoch_end_s=2.0))
    taken_s = plan.max_steps * step_s + plan.epochs * 2.0
    assert 60 * minutes - plan.epochs * step_s <= taken_s <= 60 * minutes
    assert plan.steps_per_epoch <= 1.5 * PLAN.steps_per_epoch


def test_there_is_a_step_even_where_there_is_no_time_for_one() -> None:
    assert plan_for_minutes(PLAN, 0.01, Pace(step_s=10.0, epoch_end_s=2.0)).max_steps == 1


def rehearsed(
    monkeypatch: pytest.MonkeyPatch,
    minutes: float,
    step_s: list[float],
    then: float,
    batches_per_step: int = 1,
) -> tuple[Pace, int]:
    """The pace on a machine whose steps take these seconds, and how many of them were made."""
    now, n_steps = 1000.0, 0
    monkeypatch.setattr("visioncore.training.rehearsal.time.perf_counter", lambda: now)
    trainer: Any = SimpleNamespace(should_stop=False, strategy=SimpleNamespace(broadcast=lambda value: value))
    module: Any = None
    rehearsal = Rehearsal(rehearsal_s(minutes), batches_per_step)
    while not trainer.should_stop:
        now += step_s[n_steps] if n_steps < len(step_s) else then
        for batch in range(batches_per_step):
            rehearsal.on_train_batch_end(trainer, module, None, None, n_steps * batches_per_step + batch)
        n_steps += 1
    now += 3.0
    rehearsal.on_train_end(trainer, module)
    assert rehearsal.pace is not None
    return rehearsal.pace, n_steps


@pytest.mark.parametrize("batches_per_step", [1, 4])
def test_a_rehearsal_finds_the_pace(monkeypatch: pytest.MonkeyPatch, batches_per_step: int) -> None:
    pace, _ = rehearsed(monkeypatch, 10.0, [], 0.1, batches_per_step)
    assert [pace.step_s, pace.epoch_end_s] == pytest.approx([0.1, 3.0])


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


@pytest.mark.parametrize(
    ("passes", "steps_per_pass"), [(1.0, 37.4), (12.5, 37.4), (0.001, 3.0), (40.0, 1000.0)]
)
def test_passes_become_steps(passes: float, steps_per_pass: float) -> None:
    plan = plan_for_passes(PLAN, passes, steps_per_pass)
    assert plan.max_steps == pytest.approx(max(passes * steps_per_pass, 1), abs=1 + plan.epochs / 2)
    assert plan.steps_per_epoch <= 1.5 * PLAN.steps_per_epoch
