"""How many steps a run takes: decided once, written down, and followed by schedule and resumption alike."""

import copy
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from pydantic import PositiveInt

from visioncore.checkpoint import replace_durably
from visioncore.config import Config, build_config, dump_config
from visioncore.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)

FEWEST_TIMED_STEPS = 5
SHORTEST_TIMING_S = 5.0
TIMED_SHARE = 0.03
"""Of the budget; a few steps alone would plan by whatever else the machine was doing just then."""


class Plan(Config):
    """Epochs are stretches of `steps_per_epoch` optimiser steps, each followed by a validation and a checkpoint."""

    epochs: PositiveInt
    steps_per_epoch: PositiveInt
    batches_per_step: PositiveInt
    data_fingerprint: str
    """Of the data the run began on; it goes on with no other."""

    @property
    def max_steps(self) -> int:
        """Optimiser steps in all."""
        return self.epochs * self.steps_per_epoch

    @property
    def batches_per_epoch(self) -> int:
        """Forward passes per epoch on each device."""
        return self.steps_per_epoch * self.batches_per_step


def plan_for_passes(plan: Plan, passes: float, steps_per_pass: float) -> Plan:
    """The plan, with the steps of `passes` passes over the training bins; epochs change in length to divide them."""
    steps = max(round(passes * steps_per_pass), 1)
    epochs = max(round(steps / plan.steps_per_epoch), 1)
    return plan.model_copy(update={"epochs": epochs, "steps_per_epoch": max(round(steps / epochs), 1)})


def plan_for_minutes(
    plan: Plan,
    minutes: float,
    time_step: Callable[[], float],
    time_validation: Callable[[], float],
) -> Plan:
    """The plan, with as many epochs as fit into `minutes`, going by the median of timed steps.

    Steps are timed for `TIMED_SHARE` of the budget, which is spent beside it.
    """
    budget_s = minutes * 60
    time_step()  # the first step pays for lazy initialisation
    timed: list[float] = []
    while len(timed) < FEWEST_TIMED_STEPS or sum(timed) < max(TIMED_SHARE * budget_s, SHORTEST_TIMING_S):
        timed.append(time_step())
    step_s = median(timed)
    validation_s = time_validation()
    epochs = int(budget_s / (plan.steps_per_epoch * step_s + validation_s))
    steps_per_epoch = plan.steps_per_epoch
    if epochs < 1:
        epochs, steps_per_epoch = 1, max(int((budget_s - validation_s) / step_s), 1)
    logger.info(
        "%.2f s a step, %.1f s a validation: %d steps fit into %g minutes",
        step_s,
        validation_s,
        epochs * steps_per_epoch,
        minutes,
    )
    return plan.model_copy(update={"epochs": epochs, "steps_per_epoch": steps_per_epoch})


def stopwatch(action: Callable[[], object]) -> Callable[[], float]:
    """A function that runs `action` and returns how many seconds it took."""

    def timed() -> float:
        start = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return timed


def untouched_copy(module: torch.nn.Module) -> torch.nn.Module:
    """A copy to try things on, so that timing leaves no trace in the run."""
    return copy.deepcopy(module)


def write_record(path: Path, record: dict) -> None:
    """Write a small JSON file atomically."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    replace_durably(partial, path)


def read_plan(path: Path) -> Plan | None:
    """The plan that a run folder recorded, or None before it did."""
    if not path.exists():
        return None
    try:
        return build_config(Plan, json.loads(path.read_text(encoding="utf-8")), str(path))
    except (json.JSONDecodeError, UnicodeDecodeError, ConfigError) as error:
        raise CheckpointError(
            f"{path}: is damaged ({error}); delete the run folder and train again"
        ) from None


def write_plan(path: Path, plan: Plan) -> None:
    """Record the plan for every later start in the same run folder."""
    write_record(path, dump_config(plan))
