"""Modulators: how behaviour enters, after the core and before the readout.

Behaviour reaches token j through a learned projection of the `stride` samples up to its newest frame, so all of them
count; older samples act through the recurrent state.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from visioncore.config import ComponentConfig
from visioncore.shapes import FeatureShape


class NoModulatorConfig(ComponentConfig):
    """Behaviour is not used."""

    type: Literal["none"] = "none"

    @classmethod
    def tiny(cls) -> "NoModulatorConfig":
        return cls()


class ConvGRUConfig(ComponentConfig):
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


ModulatorConfig = Annotated[NoModulatorConfig | ConvGRUConfig, Field(discriminator="type")]


class ModulatorState(NamedTuple):
    """Samples that wait for their token, and the recurrent map."""

    samples: Float[Tensor, "batch waiting behaviours"]
    hidden: Float[Tensor, "batch hidden rows columns"]


class Modulator(nn.Module, ABC):
    """Base of all modulators. Must provide `advance`; keeps the shape of the features."""

    @abstractmethod
    def advance(
        self,
        state: ModulatorState | None,
        features: Float[Tensor, "batch dim tokens rows columns"],
        behaviour: Float[Tensor, "batch time behaviours"],
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"], ModulatorState]:
        """Modulated features of this chunk's tokens; `behaviour` has the samples of this chunk's frames."""


class ConvGRU(Modulator):
    """Source: Cho et al. 2014 (GRU), with convolutions as in Ballas et al. 2016."""

    def __init__(self, config: ConvGRUConfig, features: FeatureShape, n_behaviours: int) -> None:
        super().__init__()
        self.stride = features.stride
        self.hidden_dim = hidden = config.hidden_dim
        self.embedding = nn.Sequential(
            nn.Linear(features.stride * n_behaviours, config.behaviour_dim), nn.GELU()
        )
        self.from_input = nn.Conv2d(
            features.channels + config.behaviour_dim, 3 * hidden, config.kernel_size, padding="same"
        )
        self.from_hidden = nn.Conv2d(hidden, 3 * hidden, config.kernel_size, padding="same", bias=False)
        self.to_features = nn.Conv2d(hidden, features.channels, 1)

    def advance(
        self,
        state: ModulatorState | None,
        features: Float[Tensor, "batch dim tokens rows columns"],
        behaviour: Float[Tensor, "batch time behaviours"],
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"], ModulatorState]:
        batch, _, n_tokens, rows, columns = features.shape
        if state is None:
            hidden = features.new_zeros(batch, self.hidden_dim, rows, columns)
            samples = behaviour
        else:
            hidden = state.hidden
            samples = torch.cat((state.samples, behaviour), dim=1)
        used, waiting = samples[:, : n_tokens * self.stride], samples[:, n_tokens * self.stride :]
        if n_tokens == 0:
            return features, ModulatorState(waiting, hidden)

        embedded = self.embedding(used.unflatten(1, (n_tokens, self.stride)).flatten(2))
        everywhere = embedded.transpose(1, 2)[..., None, None].expand(-1, -1, -1, rows, columns)
        joined = torch.cat((features, everywhere), dim=1).transpose(1, 2)
        inputs = self.from_input(joined.flatten(0, 1)).unflatten(0, (batch, n_tokens))
        steps = []
        for step in inputs.unbind(1):
            hidden = self._step(step, hidden)
            steps.append(hidden)
        modulation = self.to_features(torch.stack(steps, dim=1).flatten(0, 1)).unflatten(0, (batch, n_tokens))
        return features + modulation.transpose(1, 2), ModulatorState(waiting, hidden)

    def _step(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        reset_in, update_in, new_in = inputs.chunk(3, dim=1)
        reset_h, update_h, new_h = self.from_hidden(hidden).chunk(3, dim=1)
        reset = torch.sigmoid(reset_in + reset_h)
        update = torch.sigmoid(update_in + update_h)
        # Not torch.lerp, which refuses the mixed dtypes of autocast on a GPU.
        return update * hidden + (1 - update) * torch.tanh(new_in + reset * new_h)
