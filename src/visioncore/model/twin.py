"""The twin: a trunk that all sessions share, and a head for each of them.

Trunk: adapter -> core -> modulator(behaviour). Head: readout, plus the linear path, -> output, to rates.

One way through: `advance(state, chunk)`. Training is one chunk (the clip), streaming one frame at a time, a long
video many chunks.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from visioncore.config import Config, dump_config
from visioncore.errors import ConfigError, DataError
from visioncore.model.adapters import AdapterConfig, NoAdapterConfig
from visioncore.model.arguments import (
    PixelScale,
    Rate,
    bins_per_rate,
    checked_behaviour,
    checked_video,
    chunks_of,
    require_rate,
)
from visioncore.model.cores import CoreConfig, NoCoreConfig
from visioncore.model.extras import Extras
from visioncore.model.heads import Heads, HeadState
from visioncore.model.linear import LinearConfig, LowRankLinearConfig, NoLinearConfig
from visioncore.model.modulators import ModulatorConfig, NoModulatorConfig
from visioncore.model.outputs import (
    AffineTraceConfig,
    OutputConfig,
    SoftplusOutputConfig,
    TraceOutputConfig,
    require_output_of,
)
from visioncore.model.readouts import GaussianReadoutConfig, PlacedReadout, ReadoutConfig
from visioncore.model.trunk import Seen, Trunk, TrunkState
from visioncore.provenance import Provenance
from visioncore.spec import DataSpec, SessionSpec


class TwinConfig(Config):
    """The model YAML, in the guide's spelling. Sizes that come from data are not in it."""

    model_type: Literal["v1multi"] = "v1multi"
    sampling_rate: PositiveFloat | None
    """Bins per second the model is made for; None for static images. Refused when the data disagree."""
    initial_input_channels: PositiveInt = 1
    behaviour_channels: bool = False
    """The core also sees each behavioural signal as a channel of the video, the same at every place."""
    adapter: AdapterConfig = NoAdapterConfig()
    convnet: CoreConfig
    modulator: ModulatorConfig = NoModulatorConfig()
    readout: ReadoutConfig = GaussianReadoutConfig()
    linear: LinearConfig = NoLinearConfig()
    output: OutputConfig = SoftplusOutputConfig()
    trace_output: TraceOutputConfig = AffineTraceConfig()
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

    @model_validator(mode="after")
    def _channels_have_a_core(self) -> "TwinConfig":
        if isinstance(self.convnet, NoCoreConfig) and self.behaviour_channels:
            raise ValueError("behaviour_channels are seen by a core: leave them out or choose a convnet")
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
        require_rate(self.sampling_rate, spec)
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
        if self.behaviour_channels and not spec.behaviour_names:
            raise ConfigError(
                "behaviour_channels needs behaviour, and the data have none; set 'model.behaviour_channels=false'"
            )
        if spec.sessions:
            require_output_of(spec.response_kind, self.output, self.trace_output)
        return Twin(self, spec)


class TwinState(NamedTuple):
    """Everything that the past leaves behind."""

    trunk: TrunkState
    head: HeadState


class InputClips(NamedTuple):
    """Clips of one session as a twin takes them: their video and behaviour, without what is to be predicted."""

    session: str
    video: Shaped[Tensor, "batch channels time height width"]
    behaviour: Float[Tensor, "batch time behaviours"] | None


class Twin(nn.Module):
    """See the module's docstring; built by `TwinConfig.build` or `load_twin`. It is a `Predictor`."""

    def __init__(self, config: TwinConfig, spec: DataSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.provenance = Provenance()
        self.trunk = Trunk(
            config.adapter,
            config.convnet,
            config.modulator,
            spec,
            behaviour_channels=config.behaviour_channels,
        )
        self.heads = Heads(
            config.readout,
            config.linear,
            config.output,
            config.trace_output,
            features=self.trunk.core.out_shape if self.trunk.core else None,
            spec=spec,
            gain=config.core_sets_gain,
        )

    @property
    def sessions(self) -> tuple[str, ...]:
        """Ids of the sessions whose units this twin predicts."""
        return tuple(session.id for session in self.spec.sessions)

    @property
    def stride(self) -> int:
        """Frames per token."""
        return self.trunk.stride

    @property
    def first_predicted_bin(self) -> int:
        """Of a video; those before are NaN, since the first token is not complete."""
        return self.stride - 1

    @property
    def uses_behaviour(self) -> bool:
        """Whether predictions need behaviour."""
        return self.trunk.uses_behaviour

    @property
    def device(self) -> torch.device:
        """Where its weights and constants are; the CPU, where it has none."""
        first = next(chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def digest(self) -> str:
        """A fingerprint of what the twin predicts: its weights, architecture and data facts, however it was saved."""
        digest = hashlib.sha256()
        for config in (self.config, self.spec):
            digest.update(json.dumps(dump_config(config), sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def unit_ids(self, session: str) -> tuple[str, ...]:
        """The units of a session, in the order of the predictions' columns.

        Raises:
            DataError: no such session.
        """
        self.heads[session]
        return self.spec.session(session).unit_ids

    def columns(self, session: str, unit_ids: Sequence[str]) -> Int[np.ndarray, " units"]:
        """Where these units stand in the predictions.

        Raises:
            DataError: no such session, or it has no such unit.
        """
        place = {unit: i for i, unit in enumerate(self.unit_ids(session))}
        if unknown := [unit for unit in unit_ids if unit not in place]:
            raise DataError(
                f"session {session!r}: this twin has no unit {', '.join(map(repr, unknown[:8]))}; it has {len(place)}"
            )
        return np.array([place[unit] for unit in unit_ids], dtype=np.int64)

    def placed_readout(self, session: str) -> PlacedReadout | None:
        """The session's readout, if its units look somewhere: not without a core, nor behind one that sees no video."""
        readout, core = self.heads[session].readout, self.trunk.core
        return readout if core and core.sees_video and isinstance(readout, PlacedReadout) else None

    def history_frames(self) -> int | None:
        """How many frames back a rate can depend on; None without bound."""
        trunk = self.trunk.history_frames()
        linears = [head.linear.lags for head in self.heads if head.linear is not None]
        return None if trunk is None else max([trunk, *linears])

    def with_sessions(self, *sessions: SessionSpec) -> "Twin":
        """A twin with the same trunk, the same heads, and new heads for these sessions, whose weights are fresh.

        Raises:
            DataError: the twin has a session of that id, or one cannot stand beside the others: it has traces where
                they have counts, or behaviour that the trunk was not built for.
        """
        every, names = list(self.spec.sessions), self.spec.behaviour_names
        for session in sessions:
            what = f"session {session.id!r}"
            if session.id in (own.id for own in every):
                raise DataError(f"{what} is there already; leave it out first, with without_sessions")
            if every and session.response_kind != every[0].response_kind:
                raise DataError(
                    f"{what} has {session.response_kind}, {every[0].id!r} has {every[0].response_kind}"
                )
            unknown = set(session.behaviour_names) - set(names)
            if self.uses_behaviour and unknown:
                raise DataError(
                    f"{what} has behaviour that the trunk was not built for: {', '.join(sorted(unknown))}; "
                    f"it takes {', '.join(names) or 'none'}. Leave it out of the session"
                )
            every.append(session)
        return self._of_sessions(every)

    def without_sessions(self, *ids: str) -> "Twin":
        """A twin with the same trunk, and the heads of the other sessions; without all of them, the trunk alone.

        Raises:
            DataError: there is no such session.
        """
        for session in ids:
            self.heads[session]
        return self._of_sessions([session for session in self.spec.sessions if session.id not in ids])

    def _of_sessions(self, sessions: Sequence[SessionSpec]) -> "Twin":
        names = self.spec.behaviour_names if self.uses_behaviour else ()
        spec = DataSpec(sampling=self.spec.sampling, sessions=tuple(sessions), trunk_behaviour_names=names)
        twin = self.config.build(spec).to(self.device).train(self.training)
        twin.provenance = self.provenance.model_copy(update={"made_from": self.digest})
        both = [session for session in twin.sessions if session in self.sessions]
        twin.trunk.take_over(self.trunk, both, self.sessions)
        if twin.heads.shared is not None and self.heads.shared is not None:
            twin.heads.shared.load_state_dict(self.heads.shared.state_dict())
        for session in both:
            twin.heads[session].load_state_dict(self.heads[session].state_dict())
        return twin

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
        head = self.heads[session]
        seen = self.trunk.look(video, behaviour, session)
        features, trunk_state = self.trunk.advance(state.trunk if state else None, seen)
        rates, head_state = head.advance(state.head if state else None, seen.video, features)
        return rates, TwinState(trunk_state, head_state)

    def walk(
        self, chunks: Iterable[tuple[Tensor, Tensor | None]], *, session: str
    ) -> Iterator[Float[Tensor, "batch time units"]]:
        """`advance` through a video that comes in chunks of any length. Every long video is walked so."""
        state = None
        for video, behaviour in chunks:
            rates, state = self.advance(state, video, behaviour, session=session)
            yield rates

    def forward(
        self, clips: Sequence[InputClips], moved_px: tuple[int, int] = (0, 0)
    ) -> list[Float[Tensor, "batch time units"]]:
        """Rates of whole clips of several sessions, from fresh states; the core sees them as one batch.

        Args:
            moved_px: rows down and columns right that the core sees the clips moved by, with mean grey behind them; its
                readouts look there.
        """
        return self.forward_with_extras(clips, moved_px)[0]

    def forward_with_extras(
        self, clips: Sequence[InputClips], moved_px: tuple[int, int] = (0, 0)
    ) -> tuple[list[Float[Tensor, "batch time units"]], Extras]:
        """`forward`, and what the trunk says beside it (`visioncore.model.extras`): what training calls."""
        heads = [self.heads[clip.session] for clip in clips]
        if not clips:
            return [], {}
        own = [self.trunk.look(clip.video, clip.behaviour, clip.session) for clip in clips]
        seen = Seen.together(own)
        if any(moved_px):
            down, right = moved_px
            seen = seen._replace(video=functional.pad(seen.video, (right, -right, down, -down)))
        features, _, extras = self.trunk.advance_with_extras(None, seen)
        each: Sequence[Tensor | None] = (
            [None] * len(clips) if features is None else features.split([len(clip.video) for clip in clips])
        )
        rates = [
            head.advance(None, part.video, mine, moved_px)[0]
            for head, part, mine in zip(heads, own, each, strict=True)
        ]
        return rates, extras

    def rates(
        self,
        video: Shaped[Tensor, "batch channels time height width"],
        behaviour: Float[Tensor, "batch time behaviours"] | None = None,
        *,
        session: str,
        rate: Rate = "per_bin",
    ) -> Float[Tensor, "batch time units"]:
        """What `predict` gives, as a tensor with gradient; the whole video is held in memory."""
        rates, _ = self.advance(None, video, behaviour, session=session)
        return rates * bins_per_rate(rate, self.spec)

    def predict(
        self,
        video: np.ndarray,
        behaviour: np.ndarray | Literal["mean"] | None = None,
        *,
        session: str,
        rate: Rate = "per_bin",
    ) -> Float[np.ndarray, "time units"]:
        """Predicted responses of every unit of `session` to a video of any length, in bounded memory.

        Args:
            video: (T, H, W) or (T, C, H, W), raw pixels on the scale of the training data.
            behaviour: (T, K), raw; "mean" stands for the training data's mean.
            rate: expected counts per bin, or spikes per second (counts only).

        Raises:
            DataError: video or behaviour do not fit the data the twin was trained on, are not finite, or behaviour
                is missing.

        Warns:
            UserWarning: the video cannot be on the scale of the training data.
        """
        per = bins_per_rate(rate, self.spec)
        n_units, own = len(self.unit_ids(session)), self.spec.session(session)
        frames = checked_video(video, self.spec)
        signals = checked_behaviour(behaviour, len(frames), own) if self.uses_behaviour else None
        scale = PixelScale(own.normalisation)
        parts = [np.zeros((0, n_units), np.float32)]
        with torch.no_grad(), evaluating(self):
            for rates in self.walk(chunks_of(frames, signals, scale, self.device), session=session):
                parts.append(rates[0].float().cpu().numpy() * np.float32(per))
        scale.warn(stacklevel=2)
        return np.concatenate(parts)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode. Afterwards, and after an error, each part has the mode that it had before."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, was_training in modes.items():
            part.training = was_training
