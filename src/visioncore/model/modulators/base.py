"""What a modulator is: how behaviour enters, after the core and before the readout.

Behaviour reaches token j through a learned projection of the `stride` samples up to its newest frame, so all of them
count. Older samples act through the recurrent state of `convgru`; `film` and `concat` forget them.
"""

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visioncore.config import ComponentConfig
from visioncore.shapes import FeatureShape

S = TypeVar("S")


class BaseModulatorConfig(ComponentConfig):
    """Base of the modulators' configs. Must provide `build`, and `tiny` for the tests."""

    @abstractmethod
    def build(self, features: FeatureShape, n_behaviours: int) -> "Modulator[Any] | None":
        """The modulator of such features by `n_behaviours` signals."""


class Modulator(nn.Module, ABC, Generic[S]):
    """Base of all modulators. Must provide `advance`; keeps the shape of the features."""

    @abstractmethod
    def advance(
        self,
        state: S | None,
        features: Float[Tensor, "batch dim tokens rows columns"],
        behaviour: Float[Tensor, "batch time behaviours"],
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"], S]:
        """Modulated features of this chunk's tokens; `behaviour` has the samples of this chunk's frames."""


class BehaviourEmbedding(nn.Sequential):
    """What the `stride` samples up to each token's newest frame say."""

    def __init__(self, stride: int, n_behaviours: int, dim: int) -> None:
        super().__init__(nn.Linear(stride * n_behaviours, dim), nn.GELU())
        self.stride = stride

    def advance(
        self,
        waiting: Float[Tensor, "batch waiting behaviours"] | None,
        behaviour: Float[Tensor, "batch time behaviours"],
        n_tokens: int,
    ) -> tuple[Float[Tensor, "batch tokens embedded"], Float[Tensor, "batch left behaviours"]]:
        """One embedding for each of this chunk's tokens, and the samples that wait for the next one."""
        samples = behaviour if waiting is None else torch.cat((waiting, behaviour), dim=1)
        n_used = n_tokens * self.stride
        used = samples[:, :n_used].unflatten(1, (n_tokens, self.stride)).flatten(2)
        return self(used), samples[:, n_used:]


def everywhere(
    embedded: Float[Tensor, "batch tokens embedded"], rows: int, columns: int
) -> Float[Tensor, "batch embedded tokens rows columns"]:
    """The embedding at every place of the grid."""
    return embedded.transpose(1, 2)[..., None, None].expand(-1, -1, -1, rows, columns)
