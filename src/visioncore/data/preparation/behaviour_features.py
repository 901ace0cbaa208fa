"""Behaviour as a model may want it: speeds, derivatives, what was a while ago, what was on average. All causal."""

from abc import abstractmethod
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float32, Float64, Shaped
from pydantic import Field, PositiveFloat

from visioncore.config import ComponentConfig
from visioncore.data.preparation.base import BaseStepConfig, ChangedRecording, columns_of, with_spec
from visioncore.data.preparation.causal import (
    Trace,
    behaviour_of,
    bins_of,
    by_stretch,
    derivative,
    lagged,
    low_passed,
    rate_of,
    speed,
)
from visioncore.errors import DataError
from visioncore.recording import SessionRecording, Signal
from visioncore.spec import Sampling

_STEP = "behaviour_features"
Names = Annotated[tuple[str, ...], Field(min_length=1)]


class _Feature(ComponentConfig):
    """Base of the features. Must provide `names` and `compute`."""

    of: Names
    """Behavioural signals."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What the new signals are called."""

    @abstractmethod
    def compute(
        self, recording: SessionRecording, values: Float64[np.ndarray, "time signals"], rate_hz: float
    ) -> list[Trace]:
        """The new signals, from those of `of`."""


class SpeedConfig(_Feature):
    """The length of the vector of derivatives of all of `of`, per second: of two positions, the speed of the eye."""

    type: Literal["speed"] = "speed"

    def names(self) -> tuple[str, ...]:
        return (f"speed_of_{'_'.join(self.of)}",)

    def compute(
        self, recording: SessionRecording, values: Float64[np.ndarray, "time signals"], rate_hz: float
    ) -> list[Trace]:
        return [speed(recording, values, rate_hz)]


class DerivativeConfig(_Feature):
    """The change of each since the bin before, per second."""

    type: Literal["derivative"] = "derivative"

    def names(self) -> tuple[str, ...]:
        return tuple(f"{name}_per_s" for name in self.of)

    def compute(
        self, recording: SessionRecording, values: Float64[np.ndarray, "time signals"], rate_hz: float
    ) -> list[Trace]:
        return [by_stretch(recording, own, lambda x: derivative(x, rate_hz)) for own in values.T]


class LaggedConfig(_Feature):
    """What each was `lag_s` ago."""

    type: Literal["lagged"] = "lagged"
    lag_s: PositiveFloat

    def names(self) -> tuple[str, ...]:
        return tuple(f"{name}_{1000 * self.lag_s:g}ms_ago" for name in self.of)

    def compute(
        self, recording: SessionRecording, values: Float64[np.ndarray, "time signals"], rate_hz: float
    ) -> list[Trace]:
        n_bins = bins_of(self.lag_s, rate_hz)
        if not n_bins:
            raise DataError(
                f"step {_STEP}: a lag of {self.lag_s:g} s is less than half a bin of {1 / rate_hz:g} s; make it longer"
            )
        return [by_stretch(recording, own, lambda x: lagged(x, n_bins)) for own in values.T]


class LowPassedConfig(_Feature):
    """Each, smoothed over its past by an exponential with this time constant."""

    type: Literal["low_passed"] = "low_passed"
    time_constant_s: PositiveFloat

    def names(self) -> tuple[str, ...]:
        return tuple(f"{name}_over_{1000 * self.time_constant_s:g}ms" for name in self.of)

    def compute(
        self, recording: SessionRecording, values: Float64[np.ndarray, "time signals"], rate_hz: float
    ) -> list[Trace]:
        return [
            by_stretch(recording, own, lambda x: low_passed(x, self.time_constant_s * rate_hz))
            for own in values.T
        ]


FeatureConfig = Annotated[
    SpeedConfig | DerivativeConfig | LaggedConfig | LowPassedConfig, Field(discriminator="type")
]


class BehaviourFeaturesConfig(BaseStepConfig):
    """`type: behaviour_features`: signals computed from those that are there, each from its past alone.

    Their history starts afresh with every trial.
    """

    type: Literal["behaviour_features"] = "behaviour_features"
    features: Annotated[tuple[FeatureConfig, ...], Field(min_length=1)]
    keep: tuple[str, ...] | None = None
    """Signals of before that stay, `[]`: none. All, when left out."""

    @classmethod
    def tiny(cls) -> "BehaviourFeaturesConfig":
        return cls(
            features=(
                SpeedConfig(of=("x", "y")),
                DerivativeConfig(of=("x",)),
                LaggedConfig(of=("y",), lag_s=0.1),
                LowPassedConfig(of=("x", "y"), time_constant_s=0.2),
            ),
            keep=("y",),
        )

    def apply(self, recording: SessionRecording, sampling: Sampling) -> "WithFeatures":
        return WithFeatures(recording, self, rate_of(sampling, _STEP))


class WithFeatures(ChangedRecording):
    """Behaviour with features; computed once, when it is first read."""

    def __init__(self, before: SessionRecording, config: BehaviourFeaturesConfig, rate_hz: float) -> None:
        super().__init__(before)
        self._config, self._rate_hz = config, rate_hz
        for feature in config.features:
            columns_of(before, feature.of, _STEP)
        kept = before.spec.behaviour_names if config.keep is None else config.keep
        self._kept = columns_of(before, kept, _STEP)
        names = (*kept, *(name for feature in config.features for name in feature.names()))
        for twice in sorted({name for name in names if names.count(name) > 1}):
            raise DataError(
                f"session '{self.spec.id}', step {_STEP}: there would be two signals '{twice}'; name it once"
            )
        self.spec = with_spec(before.spec, behaviour_names=names)

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal."""
        if signal != "behaviour":
            return self.before.read(signal, start, stop)
        return self._behaviour[start:stop].copy()

    @cached_property
    def _behaviour(self) -> Float32[np.ndarray, "time behaviours"]:
        before = self.before
        made = [
            trace
            for feature in self._config.features
            for trace in feature.compute(before, behaviour_of(before, feature.of, _STEP), self._rate_hz)
        ]
        kept = before.read("behaviour", 0, before.n_bins)[:, self._kept]
        return np.concatenate([kept, np.stack(made, axis=1)], axis=1).astype(np.float32)
