"""AdamW for all parameters."""

from typing import Literal

from torch.optim import AdamW, Optimizer

from visioncore.model import Twin
from visioncore.training.optimisers.base import BETAS, BaseOptimiserConfig


class AdamWConfig(BaseOptimiserConfig):
    """PyTorch's own."""

    type: Literal["adamw"] = "adamw"

    def build(self, twin: Twin) -> Optimizer:
        return AdamW(self.parameter_groups(twin), betas=BETAS)
