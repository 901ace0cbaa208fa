"""Behaviour as further channels of the features."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor

from visioncore.model.layers.causal_conv import Pointwise
from visioncore.model.modulators.base import BaseModulatorConfig, BehaviourEmbedding, Modulator, everywhere
from visioncore.shapes import FeatureShape


class ConcatConfig(BaseModulatorConfig):
    """Joins behaviour to the features at every place and mixes both, linearly, into as many channels as before."""

    type: Literal["concat"] = "concat"
    behaviour_dim: PositiveInt = 16
    """Width of the behaviour's embedding."""

    @classmethod
    def tiny(cls) -> "ConcatConfig":
        return cls(behaviour_dim=4)

    def build(self, features: FeatureShape, n_behaviours: int) -> "Concat":
        return Concat(self, features, n_behaviours)


class Concat(Modulator[Tensor]):
    """The state is the samples that wait for their token."""

    def __init__(self, config: ConcatConfig, features: FeatureShape, n_behaviours: int) -> None:
        super().__init__()
        self.embedding = BehaviourEmbedding(features.stride, n_behaviours, config.behaviour_dim)
        self.mix = Pointwise(features.channels + config.behaviour_dim, features.channels)

    def advance(
        self,
        state: Float[Tensor, "batch waiting behaviours"] | None,
        features: Float[Tensor, "batch dim tokens rows columns"],
        behaviour: Float[Tensor, "batch time behaviours"],
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"], Float[Tensor, "batch left behaviours"]]:
        _, _, n_tokens, rows, columns = features.shape
        embedded, waiting = self.embedding.advance(state, behaviour, n_tokens)
        if n_tokens == 0:
            return features, waiting
        return self.mix(torch.cat((features, everywhere(embedded, rows, columns)), dim=1)), waiting
