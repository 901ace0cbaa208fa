"""The twin: adapter -> core -> modulator(behaviour) -> readout[session], plus the linear path -> output, to rates.

One way through: `advance(state, chunk)`. Training is one chunk (the clip), streaming one frame at a time, a long
video many chunks.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from visioncore.config import Config
from visioncore.errors import ConfigError, DataError
from visioncore.model.adapter import Adapter, AdapterConfig, NoAdapterConfig
from visioncore.model.arguments import (
    PixelScale,
    bins_per_rate,
    checked_behaviour,
    checked_video,
    raw_pixels,
)
from visioncore.model.cores import CoreConfig, NoCoreConfig
from visioncore.model.linear import LinearConfig, LinearPath, LowRankLinearConfig, NoLinearConfig, gain
from visioncore.model.modulators import ModulatorConfig, NoModulatorConfig
from visioncore.model.outputs import OutputConfig, RateOutput, SoftplusOutputConfig, TraceOutput
from visioncore.model.readouts import GaussianReadoutConfig, PlacedReadout, Readout, ReadoutConfig
from visioncore.shapes import VideoShape
from visioncore.spec import DataSpec, same_rate

FRAMES_AT_ONCE = 480
"""Length of the chunks in which `predict` walks through a video."""


class TwinConfig(Config):
    """The model YAML, in the guide's spelling. Sizes that come from data are not in it."""

    model_type: Literal["v1multi"] = "v1multi"
    sampling_rate: PositiveFloat
    """Bins per second the model is made for; refused when the data disagree."""
    initial_input_channels: PositiveInt = 1
    adapter: AdapterConfig = NoAdapterConfig()
    convnet: CoreConfig
    modulator: ModulatorConfig = NoModulatorConfig()
    readout: ReadoutConfig = GaussianReadoutConfig()
    linear: LinearConfig = NoLinearConfig()
    output: OutputConfig = SoftplusOutputConfig()
    """From drive to expected counts; traces take an affine map instead."""

    @model_validator(mode="after")
    def _modulator_has_features(self) -> "TwinConfig":
        if isinstance(self.convnet, NoCoreConfig) and not isinstance(self.modulator, NoModulatorConfig):
            raise ValueError("a modulator needs a core: set 'modulator: {type: none}' or choose a convnet")
        return self

    @model_validator(mode="after")
    def _gain_has_features(self) -> "TwinConfig":
        if isinstance(self.convnet, NoCoreConfig) and self.core_sets_gain:
            raise ValueError("the linear path's gain needs a core: leave 'gain' out or choose a convnet")
        return self

    @property
    def core_sets_gain(self) -> bool:
        """Whether the core scales the linear path."""
        return isinstance(self.linear, LowRankLinearConfig) and self.linear.gain

    def with_window(self, window_s: float) -> "TwinConfig":
        """This model with a linear path that sees as far back."""
        return self.model_copy(update={"linear": self.linear.model_copy(update={"window_s": window_s})})

    def build(self, spec: DataSpec) -> "Twin":
        """The twin for these data, with fresh weights.

        Raises:
            ConfigError: sampling rate, channels or behaviour of config and data disagree, or the frame does not tile.
        """
        if not same_rate(self.sampling_rate, spec.rate_hz):
            raise ConfigError(
                f"the model is made for sampling_rate {self.sampling_rate:.10g}, the data have "
                f"{spec.rate_hz:.10g} Hz; set model.sampling_rate={spec.rate_hz:.10g} (and look at "
                "the tubelet's length in ms with 'visioncore describe')"
            )
        if self.initial_input_channels != spec.sampling.channels:
            raise ConfigError(
                f"the model is made for {self.initial_input_channels} video channel(s), the data have "
                f"{spec.sampling.channels}; set model.initial_input_channels={spec.sampling.channels}"
            )
        if not isinstance(self.modulator, NoModulatorConfig) and not spec.behaviour_names:
            raise ConfigError(
                f"modulator '{self.modulator.type}' needs behaviour, and the data have none; "
                "set 'model.modulator={type: none}'"
            )
        if spec.response_kind == "trace" and self.output != SoftplusOutputConfig():
            raise ConfigError(
                f"output '{self.output.type}' is a nonlinearity for counts, and the data are traces, whose output is "
                "an affine map; leave model.output out of the YAML, or set 'model.output={type: softplus}', which is "
                "the same"
            )
        return Twin(self, spec)


class TwinState(NamedTuple):
    """Everything that the past leaves behind; `pending` are what the readout says of bins that are not yet due."""

    core: Any
    modulator: Any
    linear: Tensor | None
    pending: Float[Tensor, "batch ahead signals units"]


class Clip(NamedTuple):
    """A chunk of one session's video and behaviour, as the model takes it."""

    session: str
    video: Shaped[Tensor, "batch channels time height width"]
    behaviour: Float[Tensor, "batch time behaviours"] | None


class Twin(nn.Module):
    """See the module's docstring; built by `TwinConfig.build` or `load_twin`."""

    def __init__(self, config: TwinConfig, spec: DataSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.provenance: dict[str, Any] = {}
        video = VideoShape(spec.sampling.channels, spec.sampling.height, spec.sampling.width)
        self.adapter = Adapter(config.adapter, spec.sessions, spec.behaviour_names)
        self.core = None if isinstance(config.convnet, NoCoreConfig) else config.convnet.build(video)
        self.stride = self.core.out_shape.stride if self.core else 1
        self.modulator = (
            None
            if self.core is None or isinstance(config.modulator, NoModulatorConfig)
            else config.modulator.build(self.core.out_shape, len(spec.behaviour_names))
        )
        # Keyed by position, since session ids may hold any character; the header names the ids.
        self._index = {session.id: str(i) for i, session in enumerate(spec.sessions)}
        sizes = {self._index[session.id]: len(session.unit_ids) for session in spec.sessions}
        self.readouts = nn.ModuleDict(
            {
                key: config.readout.build(self.core.out_shape, video, n, gain=config.core_sets_gain)
                for key, n in sizes.items()
            }
            if self.core
            else {}
        )
        self.linears = nn.ModuleDict(
            {}
            if isinstance(config.linear, NoLinearConfig)
            else {key: config.linear.build(video, n, spec.rate_hz) for key, n in sizes.items()}
        )
        self.outputs = nn.ModuleDict(
            {
                key: TraceOutput(n)
                if spec.response_kind == "trace"
                else config.output.build(n, session.normalisation.count_scale)
                for (key, n), session in zip(sizes.items(), spec.sessions, strict=True)
            }
        )

    @property
    def sessions(self) -> tuple[str, ...]:
        """Ids of the sessions whose units this twin predicts."""
        return tuple(self._index)

    @property
    def uses_behaviour(self) -> bool:
        """Whether predictions need behaviour."""
        return self.modulator is not None

    def unit_ids(self, session: str) -> tuple[str, ...]:
        """The units of a session, in the order of the predictions' columns."""
        self._key(session)
        return self.spec.session(session).unit_ids

    def readout(self, session: str) -> Readout:
        """The session's readout.

        Raises:
            ConfigError: the twin has no core, so nothing reads out features.
        """
        if self.core is None:
            raise ConfigError("this twin has no core (convnet type 'none'), so it has no readout positions")
        readout = self.readouts[self._key(session)]
        assert isinstance(readout, Readout)
        return readout

    def placed_readout(self, session: str) -> PlacedReadout | None:
        """The session's readout, if its units look somewhere: not without a core, nor behind one that sees no video."""
        readout = self.readout(session) if self.core is not None and self.core.sees_video else None
        return readout if isinstance(readout, PlacedReadout) else None

    def linear(self, session: str) -> LinearPath | None:
        """The session's linear path, where the twin has one."""
        linear = self.linears[self._key(session)] if self.linears else None
        assert linear is None or isinstance(linear, LinearPath)
        return linear

    def output(self, session: str) -> RateOutput:
        """The session's last stage, drive to rate."""
        output = self.outputs[self._key(session)]
        assert isinstance(output, RateOutput)
        return output

    def advance(
        self,
        state: TwinState | None,
        video: Shaped[Tensor, "batch channels time height width"],
        behaviour: Float[Tensor, "batch time behaviours"] | None = None,
        *,
        session: str,
    ) -> tuple[Float[Tensor, "batch time units"], TwinState]:
        """Rates per bin for the next stretch of a video, and the state after it.

        The first stride-1 bins of a video are not predicted: NaN. Video is raw (the twin normalises), behaviour too.
        """
        self._key(session)
        x = self.adapter(video, session)
        signals = self._behaviour(behaviour, video, session)
        features, core_state, modulator_state = self._features(state, x, signals)
        return self._rates(state, x, features, core_state, modulator_state, session)

    def forward(
        self, clips: Sequence[Clip], moved_px: tuple[int, int] = (0, 0)
    ) -> list[Float[Tensor, "batch time units"]]:
        """Rates of whole clips of several sessions, from fresh states; the core sees them as one batch.

        Args:
            moved_px: rows down and columns right that the core sees the clips moved by, with mean grey behind them; its
                readouts look there.
        """
        for clip in clips:
            self._key(clip.session)
        if not clips:
            return []
        x = torch.cat([self.adapter(clip.video, clip.session) for clip in clips])
        signals = [self._behaviour(clip.behaviour, clip.video, clip.session) for clip in clips]
        known = [own for own in signals if own is not None]
        behaviour = torch.cat(known) if known else None
        down, right = moved_px
        seen = functional.pad(x, (right, -right, down, -down)) if any(moved_px) else x
        features, core_state, modulator_state = self._features(None, seen, behaviour)
        rates, start = [], 0
        for clip in clips:
            part = slice(start, start + len(clip.video))
            start = part.stop
            mine = None if features is None else features[part]
            rates.append(
                self._rates(None, x[part], mine, core_state, modulator_state, clip.session, moved_px)[0]
            )
        return rates

    def rates(
        self,
        video: Shaped[Tensor, "batch channels time height width"],
        behaviour: Float[Tensor, "batch time behaviours"] | None = None,
        *,
        session: str,
        unit: Literal["count", "hz"] = "count",
    ) -> Float[Tensor, "batch time units"]:
        """What `predict` gives, as a tensor with gradient; the whole video is held in memory."""
        rates, _ = self.advance(None, video, behaviour, session=session)
        return rates * bins_per_rate(unit, self.spec)

    def predict(
        self,
        video: np.ndarray,
        behaviour: np.ndarray | Literal["mean"] | None = None,
        *,
        session: str,
        unit: Literal["count", "hz"] = "count",
    ) -> Float[np.ndarray, "time units"]:
        """Predicted responses of every unit of `session` to a video of any length, in bounded memory.

        Args:
            video: (T, H, W) or (T, C, H, W), raw pixels on the scale of the training data.
            behaviour: (T, K), raw; "mean" stands for the training data's mean.
            unit: expected counts per bin, or spikes per second (counts only).

        Raises:
            DataError: video or behaviour do not fit the data the twin was trained on, are not finite, or behaviour
                is missing.

        Warns:
            UserWarning: the video cannot be on the scale of the training data.
        """
        per = bins_per_rate(unit, self.spec)
        self._key(session)
        own = self.spec.session(session)
        frames = checked_video(video, self.spec)
        signals = None
        if self.uses_behaviour:
            signals = checked_behaviour(behaviour, len(frames), own)
        device = self.adapter.device
        scale = PixelScale(own.normalisation)
        state, chunks = None, [np.zeros((0, len(self.unit_ids(session))), np.float32)]
        with torch.no_grad(), _evaluating(self):
            for start in range(0, len(frames), FRAMES_AT_ONCE):
                pixels = raw_pixels(frames[start : start + FRAMES_AT_ONCE], start)
                scale.add(pixels)
                chunk = torch.from_numpy(pixels).to(device)
                samples = None
                if signals is not None:
                    piece = np.ascontiguousarray(signals[start : start + FRAMES_AT_ONCE], dtype=np.float32)
                    samples = torch.from_numpy(piece).to(device)[None]
                rates, state = self.advance(state, chunk.transpose(0, 1)[None], samples, session=session)
                chunks.append(rates[0].float().cpu().numpy() * np.float32(per))
        scale.warn(stacklevel=2)
        return np.concatenate(chunks)

    def _key(self, session: str) -> str:
        if session not in self._index:
            raise DataError(f"no session {session!r} in this twin; it has {', '.join(self._index)}")
        return self._index[session]

    def _behaviour(self, behaviour: Tensor | None, video: Tensor, session: str) -> Tensor | None:
        return self.adapter.behaviour(behaviour, video, session) if self.uses_behaviour else None

    def _features(
        self, state: TwinState | None, x: Tensor, behaviour: Tensor | None
    ) -> tuple[Tensor | None, Any, Any]:
        if self.core is None:
            return None, None, None
        features, core_state = self.core.advance(state.core if state else None, x)
        modulator_state: Any = None
        if self.modulator is not None:
            assert behaviour is not None
            features, modulator_state = self.modulator.advance(
                state.modulator if state else None, features, behaviour
            )
        return features, core_state, modulator_state

    def _rates(
        self,
        state: TwinState | None,
        x: Tensor,
        features: Tensor | None,
        core_state: Any,
        modulator_state: Any,
        session: str,
        moved_px: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, TwinState]:
        output = self.output(session)
        batch, n_bins = len(x), x.shape[2]
        if state is None:
            n_signals = 1 + self.config.core_sets_gain
            pending = x.new_zeros(batch, self.stride - 1, n_signals, len(output.bias))
            pending[:, :, 0] = float("nan")
        else:
            pending = state.pending
        if features is None:
            drive = x.new_zeros(batch, n_bins, len(output.bias))
        else:
            found = self.readout(session).signals(features, moved_px)
            signals = torch.cat((pending, found.to(x.dtype)), dim=1)
            due, pending = signals[:, :n_bins], signals[:, n_bins:]
            drive = due[:, :, 0]
        linear_state = None
        linear = self.linear(session)
        if linear is not None:
            direct, linear_state = linear.advance(state.linear if state else None, x)
            drive = drive + linear.bent(direct * gain(due[:, :, 1]) if self.config.core_sets_gain else direct)
        # Not softplus(NaN): its gradient would be NaN too, even where the loss masks it out.
        unpredicted = drive.isnan()
        rates = output(drive.masked_fill(unpredicted, 0.0)).masked_fill(unpredicted, float("nan"))
        return rates, TwinState(core_state, modulator_state, linear_state, pending)


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode; each of its parts then has the mode again that it had, whatever happens."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, was_training in modes.items():
            part.training = was_training
