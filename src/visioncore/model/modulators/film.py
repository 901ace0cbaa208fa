"""A scale and a shift per channel, from behaviour."""

from typing import Literal

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from visioncore.model.modulators.base import BaseModulatorConfig, BehaviourEmbedding, Modulator
from visioncore.shapes import FeatureShape


class FiLMConfig(BaseModulatorConfig):
    """Scales and shifts each channel by what behaviour says, everywhere alike; starts without effect."""

    type: Literal["film"] = "film"
    behaviour_dim: PositiveInt = 16
    """Width of the behaviour's embedding."""

    @classmethod
    def tiny(cls) -> "FiLMConfig":
        return cls(behaviour_dim=4)

    def build(self, features: FeatureShape, n_behaviours: int) -> "FiLM":
        return FiLM(self, features, n_behaviours)


class FiLM(Modulator[Tensor]):
    """The state is the samples that wait for their token. Source: Perez et al. 2018, eq. 2."""

    def __init__(self, config: FiLMConfig, features: FeatureShape, n_behaviours: int) -> None:
        super().__init__()
        self.embedding = BehaviourEmbedding(features.stride, n_behaviours, config.behaviour_dim)
        self.to_scale_and_shift = nn.Linear(config.behaviour_dim, 2 * features.channels)
        nn.init.zeros_(self.to_scale_and_shift.weight)
        nn.init.zeros_(self.to_scale_and_shift.bias)

    def advance(
        self,
        state: Float[Tensor, "batch waiting behaviours"] | None,
        features: Float[Tensor, "batch dim tokens rows columns"],
        behaviour: Float[Tensor, "batch time behaviours"],
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"], Float[Tensor, "batch left behaviours"]]:
        embedded, waiting = self.embedding.advance(state, behaviour, features.shape[2])
        scale, shift = self.to_scale_and_shift(embedded).transpose(1, 2)[..., None, None].chunk(2, dim=1)
        return features * (1 + scale) + shift, waiting
