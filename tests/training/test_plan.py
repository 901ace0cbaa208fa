"""How long a run is, and what its length is counted in."""

from itertools import chain, repeat

import pytest

from visioncore.training.plan import Plan, plan_for_minutes, plan_for_passes

PLAN = Plan(epochs=50, steps_per_epoch=100, batches_per_step=1, data_fingerprint="")


def planned(minutes: float, step_s: list[float], then: float, validation_s: float = 2.0) -> tuple[Plan, int]:
    """The plan on a machine whose steps take these seconds, and how many of them were timed."""
    taken: list[float] = []

    def time_step() -> float:
        taken.append(next(seconds))
        return taken[-1]

    seconds = chain(step_s, repeat(then))
    return plan_for_minutes(PLAN, minutes, time_step, lambda: validation_s), len(taken)


def test_a_run_fills_its_minutes() -> None:
    plan, _ = planned(10.0, [], then=0.1)
    assert plan.epochs * (plan.steps_per_epoch * 0.1 + 2.0) <= 600
    assert (plan.epochs + 1) * (plan.steps_per_epoch * 0.1 + 2.0) > 600
    assert plan.steps_per_epoch == 100


def test_a_budget_of_less_than_an_epoch_shortens_the_epoch() -> None:
    plan, _ = planned(0.1, [], then=0.1)
    assert (plan.epochs, plan.steps_per_epoch) == (1, 40)


def test_a_disturbance_at_the_start_does_not_shorten_the_run() -> None:
    disturbed, _ = planned(10.0, [5.0, *[0.5] * 20], then=0.1)
    assert disturbed == planned(10.0, [], then=0.1)[0]


@pytest.mark.parametrize(("minutes", "seconds"), [(1.0, 5.0), (60.0, 108.0)])
def test_timing_takes_a_small_share_of_the_budget(minutes: float, seconds: float) -> None:
    _, n_timed = planned(minutes, [], then=0.1)
    assert n_timed == pytest.approx(seconds / 0.1, abs=3)
    assert planned(minutes, [], then=200.0)[1] == 6


@pytest.mark.parametrize(
    ("passes", "steps_per_pass"), [(1.0, 37.4), (12.5, 37.4), (0.001, 3.0), (40.0, 1000.0)]
)
def test_passes_become_steps(passes: float, steps_per_pass: float) -> None:
    plan = plan_for_passes(PLAN, passes, steps_per_pass)
    assert plan.max_steps == pytest.approx(max(passes * steps_per_pass, 1), abs=1 + plan.epochs / 2)
    assert plan.steps_per_epoch <= 1.5 * PLAN.steps_per_epoch
