"""Modulators: how behaviour enters, after the core and before the readout.

Behaviour reaches token j through a learned projection of the `stride` samples up to its newest frame, so all of them
count. Older samples act through the recurrent state of `convgru`; `film` and `concat` forget them.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Generic, Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from visioncore.config import ComponentConfig
from visioncore.model.layers.causal_conv import Pointwise
from visioncore.shapes import FeatureShape

S = TypeVar("S")


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


class FiLMConfig(ComponentConfig):
    """Scales and shifts each channel by what behaviour says, everywhere alike; starts without effect."""

    type: Literal["film"] = "film"
    behaviour_dim: PositiveInt = 16
    """Width of the behaviour's embedding."""

    @classmethod
    def tiny(cls) -> "FiLMConfig":
        return cls(behaviour_dim=4)

    def build(self, features: FeatureShape, n_behaviours: int) -> "FiLM":
        return FiLM(self, features, n_behaviours)


class ConcatConfig(ComponentConfig):
    """Joins behaviour to the features at every place and mixes both, linearly, into as many channels as before."""

    type: Literal["concat"] = "concat"
    behaviour_dim: PositiveInt = 16
    """Width of the behaviour's embedding."""

    @classmethod
    def tiny(cls) -> "ConcatConfig":
        return cls(behaviour_dim=4)

    def build(self, features: FeatureShape, n_behaviours: int) -> "Concat":
        return Concat(self, features, n_behaviours)


ModulatorConfig = Annotated[
    NoModulatorConfig | ConvGRUConfig | FiLMConfig | ConcatConfig, Field(discriminator="type")
]


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
        joined = torch.cat((features, _everywhere(embedded, rows, columns)), dim=1).transpose(1, 2)
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
        return self.mix(torch.cat((features, _everywhere(embedded, rows, columns)), dim=1)), waiting


def _everywhere(
    embedded: Float[Tensor, "batch tokens embedded"], rows: int, columns: int
) -> Float[Tensor, "batch embedded tokens rows columns"]:
    return embedded.transpose(1, 2)[..., None, None].expand(-1, -1, -1, rows, columns)
