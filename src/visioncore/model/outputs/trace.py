"""The output of traces."""

import torch
from jaxtyping import Float
from torch import Tensor

from visioncore.model.outputs.base import RateOutput


class TraceOutput(RateOutput):
    """An affine map to the trace's own units, scaled by each unit's standard deviation."""

    @property
    def response_scale(self) -> Float[Tensor, " units"]:
        return self.scale

    def initialise(self, mean: Float[Tensor, " units"], std: Float[Tensor, " units"]) -> None:
        with torch.no_grad():
            self.scale.copy_(std)
            self.bias.copy_(mean / std)

    def forward(self, drive: Float[Tensor, "*batch units"]) -> Float[Tensor, "*batch units"]:
        return (drive + self.bias) * self.scale
