"""A convolutional GRU over features and behaviour."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from visioncore.model.modulators.base import BaseModulatorConfig, BehaviourEmbedding, Modulator, everywhere
from visioncore.shapes import FeatureShape


class ConvGRUConfig(BaseModulatorConfig):
    """A convolutional GRU over features and behaviour; its state, mapped back, is added to the features."""

    type: Literal["convgru"] = "convgru"
    behaviour_dim: PositiveInt = 16
    """Width of the behaviour's embedding, broadcast over space."""
    hidden_dim: PositiveInt = 64
    """Channels of the recurrent state; the cost grows with its square."""
    kernel_size: PositiveInt = 3

    @classmethod
    def tiny(cls) -> "ConvGRUConfig":
        return cls(behaviour_dim=4, hidden_dim=8)

    def build(self, features: FeatureShape, n_behaviours: int) -> "ConvGRU":
        return ConvGRU(self, features, n_behaviours)


class ConvGRUState(NamedTuple):
    """Samples that wait for their token, and the recurrent map."""

    samples: Float[Tensor, "batch waiting behaviours"]
    hidden: Float[Tensor, "batch hidden rows columns"]


class ConvGRU(Modulator[ConvGRUState]):
    """Source: Cho et al. 2014 (GRU), with convolutions as in Ballas et al. 2016."""

    def __init__(self, config: ConvGRUConfig, features: FeatureShape, n_behaviours: int) -> None:
        super().__init__()
        self.hidden_dim = hidden = config.hidden_dim
        self.embedding = BehaviourEmbedding(features.stride, n_behaviours, config.behaviour_dim)
        self.from_input = nn.Conv2d(
            features.channels + config.behaviour_dim, 3 * hidden, config.kernel_size, padding="same"
        )
        self.from_hidden = nn.Conv2d(hidden, 3 * hidden, config.kernel_size, padding="same", bias=False)
        self.to_features = nn.Conv2d(hidden, features.channels, 1)

    def advance(
        self,
        state: ConvGRUState | None,
        features: Float[Tensor, "batch dim tokens rows columns"],
        behaviour: Float[Tensor, "batch time behaviours"],
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"], ConvGRUState]:
        batch, _, n_tokens, rows, columns = features.shape
        hidden = state.hidden if state else features.new_zeros(batch, self.hidden_dim, rows, columns)
        embedded, waiting = self.embedding.advance(state.samples if state else None, behaviour, n_tokens)
        if n_tokens == 0:
            return features, ConvGRUState(waiting, hidden)
        joined = torch.cat((features, everywhere(embedded, rows, columns)), dim=1).transpose(1, 2)
        inputs = self.from_input(joined.flatten(0, 1)).unflatten(0, (batch, n_tokens))
        steps = []
        for step in inputs.unbind(1):
            hidden = self._step(step, hidden)
            steps.append(hidden)
        modulation = self.to_features(torch.stack(steps, dim=1).flatten(0, 1)).unflatten(0, (batch, n_tokens))
        return features + modulation.transpose(1, 2), ConvGRUState(waiting, hidden)

    def _step(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        reset_in, update_in, new_in = inputs.chunk(3, dim=1)
        reset_h, update_h, new_h = self.from_hidden(hidden).chunk(3, dim=1)
        reset = torch.sigmoid(reset_in + reset_h)
        update = torch.sigmoid(update_in + update_h)
        # Not torch.lerp, which refuses the mixed dtypes of autocast on a GPU.
        return update * hidden + (1 - update) * torch.tanh(new_in + reset * new_h)
