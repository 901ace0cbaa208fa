"""How many steps a run takes: decided once, written down, and followed by schedule and resumption alike."""

import json
import logging
from pathlib import Path

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from visioncore.config import Config, build_config, dump_config
from visioncore.errors import CheckpointError, ConfigError
from visioncore.files import write_record

logger = logging.getLogger(__name__)

PLAN_VERSION = 4
"""Raised when runs of before cannot go on: recordings are fingerprinted, tensors are named, or clips are drawn and
weighed otherwise."""
REHEARSED_SHARE = 0.05
"""Of the budget, and spent beside it; a few steps alone would plan by whatever else the machine was doing just then."""
SHORTEST_REHEARSAL_S = 5.0
FEWEST_EPOCHS = 4
"""Where the clock decides: the first of them is what corrects the plan."""
MOST_SPENT_ON_EPOCH_ENDS = 0.25
"""Of the minutes, to have as many epochs."""


class RunPlan(Config):
    """Epochs are stretches of `steps_per_epoch` optimiser steps, each followed by a validation and a checkpoint."""

    version: PositiveInt = 1
    """Of the run; 1 where it was not yet written down."""
    epochs: PositiveInt
    steps_per_epoch: PositiveInt
    batches_per_step: PositiveInt
    data_fingerprint: str
    """Of the data the run began on; it goes on with no other."""
    made_from: str | None = None
    """The digest of the twin that a transfer began from."""
    taught_by: str | None = None
    """The digest of what a distillation learns from."""
    window_s: PositiveFloat | None = None
    """Of the linear path, where it was found from the data."""
    last_epoch_steps: PositiveInt | None = None
    """Of the last epoch, where it is shorter than the others."""
    minutes: PositiveFloat | None = None
    """How long the run was to take, where the clock decided."""
    corrected_at: PositiveInt | None = None
    """The step at which the length was put right by what had really gone by, where it was."""
    max_steps_before: PositiveInt | None = None
    """How many steps there were to be until then."""

    @property
    def max_steps(self) -> int:
        """Optimiser steps in all."""
        return (self.epochs - 1) * self.steps_per_epoch + (self.last_epoch_steps or self.steps_per_epoch)

    @property
    def batches_per_epoch(self) -> int:
        """Forward passes per epoch on each device."""
        return self.steps_per_epoch * self.batches_per_step

    @property
    def scheduled_steps(self) -> int:
        """The length that the learning rate's schedule is drawn for: the one first planned."""
        return self.max_steps_before or self.max_steps

    def scheduled_step(self, step: int) -> float:
        """Where on that schedule a step is: what is left of it is stretched over the steps that are left.

        So the rate goes on from where it was when the plan was corrected, without a jump.
        """
        if self.corrected_at is None or self.max_steps_before is None or step <= self.corrected_at:
            return step
        left = max(self.max_steps - self.corrected_at, 1)
        return self.corrected_at + (step - self.corrected_at) * (
            (self.max_steps_before - self.corrected_at) / left
        )


def corrected(plan: RunPlan, *, step: int, taken_s: float, epochs: int, epoch_end_s: float) -> RunPlan:
    """The plan with as many steps after `step` as fill what is left of its minutes.

    Args:
        taken_s: what the first `epochs` epochs took, from the first step to the end of the last validation.
        epoch_end_s: what follows the steps of an epoch, of this.
    """
    assert plan.minutes is not None
    epoch_s = taken_s / epochs
    step_s = max((epoch_s - epoch_end_s) / plan.steps_per_epoch, 1e-9)
    left_s = plan.minutes * 60 - taken_s
    whole = max(int(left_s / epoch_s), 0)
    rest_s = left_s - whole * epoch_s
    part = min(max(int((rest_s - epoch_end_s) / step_s), 0), plan.steps_per_epoch)
    if part == 0 and rest_s > (epoch_end_s + step_s) / 2:
        # One step and what follows it overshoots by less than stopping falls short.
        part = 1
    return plan.model_copy(
        update={
            "epochs": epochs + whole + (part > 0),
            "last_epoch_steps": part or None,
            "corrected_at": step,
            "max_steps_before": plan.max_steps,
        }
    )


def plan_for_passes(plan: RunPlan, passes: float, steps_per_pass: float) -> RunPlan:
    """The plan, with the steps of `passes` passes over the training bins; epochs change in length to divide them."""
    steps = max(round(passes * steps_per_pass), 1)
    epochs = max(round(steps / plan.steps_per_epoch), 1)
    return plan.model_copy(update={"epochs": epochs, "steps_per_epoch": max(round(steps / epochs), 1)})


def plan_for_steps(plan: RunPlan, steps: int) -> RunPlan:
    """The plan, with exactly `steps` steps; the last epoch is shorter where they do not divide."""
    whole, rest = divmod(steps, plan.steps_per_epoch)
    return plan.model_copy(update={"epochs": whole + (rest > 0), "last_epoch_steps": rest or None})


class Pace(Config):
    """How fast a run goes on this machine, in seconds."""

    step_s: PositiveFloat
    """An optimiser step."""
    epoch_end_s: NonNegativeFloat
    """What follows the steps of an epoch: validation and checkpoint."""


def rehearsal_s(minutes: float) -> float:
    """How many seconds a run of this length is rehearsed for, to find its pace."""
    return max(REHEARSED_SHARE * 60 * minutes, SHORTEST_REHEARSAL_S)


def plan_for_minutes(plan: RunPlan, minutes: float, pace: Pace) -> RunPlan:
    """The plan, with the steps that fill `minutes` at this pace; epochs change in length to divide them."""
    budget_s = minutes * 60
    usual = round(budget_s / (plan.steps_per_epoch * pace.step_s + pace.epoch_end_s))
    affordable = int(MOST_SPENT_ON_EPOCH_ENDS * budget_s / max(pace.epoch_end_s, pace.step_s))
    epochs = max(usual, min(FEWEST_EPOCHS, affordable), 1)
    steps_per_epoch = max(int((budget_s / epochs - pace.epoch_end_s) / pace.step_s), 1)
    logger.info(
        "%.3f s a step, %.1f s for validation and checkpoint: %d steps fit into %g minutes",
        pace.step_s,
        pace.epoch_end_s,
        epochs * steps_per_epoch,
        minutes,
    )
    return plan.model_copy(update={"epochs": epochs, "steps_per_epoch": steps_per_epoch, "minutes": minutes})


def read_plan(path: Path) -> RunPlan | None:
    """The plan that a run folder recorded, or None before it did.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return build_config(RunPlan, json.loads(path.read_text(encoding="utf-8")), str(path))
    except (json.JSONDecodeError, UnicodeDecodeError, ConfigError) as error:
        raise CheckpointError(
            f"{path}: is damaged ({error}); delete the run folder and train again"
        ) from None


def write_plan(path: Path, plan: RunPlan) -> None:
    """Record the plan for every later start in the same run folder."""
    write_record(path, dump_config(plan))
