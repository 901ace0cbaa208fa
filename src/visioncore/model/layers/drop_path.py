"""Stochastic depth."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DropPath(nn.Module):
    """In training, drops a residual branch for a whole sequence or clip (Huang et al. 2016)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Float[Tensor, "sequences ..."]) -> Float[Tensor, "sequences ..."]:
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        shape = (len(x), *(1,) * (x.ndim - 1))
        return x * torch.empty(shape, device=x.device, dtype=x.dtype).bernoulli_(keep) / keep
