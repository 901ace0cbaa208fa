"""How long a run is: the slot `training.length`. Each choice turns a plan for one epoch into the plan of the run."""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from visioncore.config import ComponentConfig
from visioncore.training.plan import RunPlan, plan_for_passes, plan_for_steps


class BaseLengthConfig(ComponentConfig, ABC):
    """Base of the lengths. Must provide `planned`, or `minutes`, for which training is rehearsed first."""

    @property
    def minutes(self) -> float | None:
        """How long by the clock; None where the clock does not decide."""
        return None

    @abstractmethod
    def planned(self, plan: RunPlan, steps_per_pass: float) -> RunPlan:
        """`plan`, whose epochs have the wanted length, with as many as this says.

        Args:
            steps_per_pass: optimiser steps of one pass over the training bins.
        """


class EpochsConfig(BaseLengthConfig):
    """So many epochs of `steps_per_epoch` steps."""

    type: Literal["epochs"] = "epochs"
    number: PositiveInt = 50

    def planned(self, plan: RunPlan, steps_per_pass: float) -> RunPlan:
        return plan.model_copy(update={"epochs": self.number})


class PassesConfig(BaseLengthConfig):
    """So many passes over the training bins (clips · clip_frames = passes · bins)."""

    type: Literal["passes"] = "passes"
    number: PositiveFloat

    def planned(self, plan: RunPlan, steps_per_pass: float) -> RunPlan:
        return plan_for_passes(plan, self.number, steps_per_pass)


class StepsConfig(BaseLengthConfig):
    """So many optimiser steps; the last epoch is shorter where they do not divide."""

    type: Literal["steps"] = "steps"
    number: PositiveInt

    def planned(self, plan: RunPlan, steps_per_pass: float) -> RunPlan:
        return plan_for_steps(plan, self.number)


class MinutesConfig(BaseLengthConfig):
    """So many minutes of training and validation, planned from a rehearsal; `--max-minutes` decides before it."""

    type: Literal["minutes"] = "minutes"
    number: PositiveFloat

    @property
    def minutes(self) -> float:
        return self.number

    def planned(self, plan: RunPlan, steps_per_pass: float) -> RunPlan:
        raise AssertionError("the length in minutes is planned by `plan_for_minutes`, which knows the pace")


LengthConfig = Annotated[
    EpochsConfig | PassesConfig | StepsConfig | MinutesConfig, Field(discriminator="type")
]
