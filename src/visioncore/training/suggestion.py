"""A model and its training made for given data: the shipped recipe, in the data's own frames, pixels and units.

What the recipe has in milliseconds stays in milliseconds, what it has in shares of the picture stays so; the window of
the linear path is found from the data, and the pace from a rehearsal on this machine. Every choice has its reason
beside it. Nothing here knows a recording by name.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from visioncore.config import build_config, dump_config
from visioncore.data import DataConfig, RecordingStore
from visioncore.errors import ConfigError
from visioncore.model import TwinConfig
from visioncore.model.linear import LowRankLinearConfig
from visioncore.spec import ResponseKind
from visioncore.training.experiment import Experiment, InitialiseConfig
from visioncore.training.pace import rehearsed
from visioncore.training.plan import Pace, plan_for_minutes
from visioncore.training.planning import first_plan, length_in_words, steps_per_pass, train_bins
from visioncore.training.window import with_window_from_data

CoreName = Literal["vivit", "resnet", "x3d", "ln"]
CORES: tuple[CoreName, ...] = ("vivit", "resnet", "x3d", "ln")

_TUBELET_S, _LONGEST_TUBELET_S, _TRACE_TUBELET_S = 0.2, 0.4, 0.267
_STRIDE_S = 1 / 30
_TAP_S = 1 / 60
_PLACES = 144
"""Places of the grid of tubelets; three tubelets overlap each way."""
_SMALLEST_STRIDE_PX = 2
_CLIP_S: dict[str, float] = {"counts": 2.0, "trace": 5.0}
_SHARPNESS_S = 24.0
"""The bend of the output lies at the rate of a unit with so many spikes per second; it is learnt from there."""
_TRACE_WINDOW_S, _TRACE_ATTENTION_S = 1.0, 4.0
_REHEARSAL_S = 10.0
_STEPS_PER_EPOCH, _IMAGES_PER_STEP = 200, 32
_VALIDATED_SHARE, _LEAST_VALIDATION_MINUTES = 0.225, 0.5
"""Of what an epoch trains on, as much is validated after it: without gradients, some tenth of its time."""
_FEW_PASSES = 0.5


@dataclass(frozen=True)
class Suggested:
    """A YAML's content, and a comment for each choice by its dotted key."""

    content: Mapping[str, Any]
    comments: Mapping[str, str]


@dataclass(frozen=True)
class Suggestion:
    """What to train, how, and what to expect of it on this machine."""

    model: Suggested
    training: Suggested
    notes: tuple[str, ...]

    @property
    def window_s(self) -> float:
        """Of the linear path."""
        return float(self.model.content["linear"]["params"]["window_s"])


def suggest(
    store: RecordingStore,
    data: DataConfig,
    data_dir: Path,
    minutes: float,
    core: CoreName = "vivit",
    *,
    rehearse: bool = True,
    window_s: float | None = None,
) -> Suggestion:
    """A model and a training for a prepared recording.

    Args:
        minutes: how long training may take.
        rehearse: whether to train for some seconds, to say how far the minutes go.
        window_s: of the linear path, where it was found before.

    Raises:
        ConfigError: the frames are too small for tubelets.
    """
    facts = Facts.of(store)
    training = training_for(facts, minutes, core)
    model = _with_window(store, model_for(facts, core), facts, window_s)
    notes = [f"{facts.train_length} to train on, {facts.n_units} units in {facts.n_sessions} sessions"]
    if rehearse and core != "ln":
        raw = {"model": dict(model.content), "data": dump_config(data), "training": dict(training.content)}
        experiment = Experiment(raw, "the suggestion", data_dir)
        told, comment = _expected(experiment, store, minutes)
        notes.append(told)
        training = Suggested(training.content, {**training.comments, "length": comment})
    return Suggestion(model, training, tuple(notes))


@dataclass(frozen=True)
class Facts:
    """What the choices rest on."""

    rate_hz: float | None
    """None for static images: then seconds are images below, and minutes sixty of them."""
    channels: int
    height: int
    width: int
    kind: ResponseKind
    has_behaviour: bool
    n_units: int
    n_sessions: int
    train_minutes: float
    validation_minutes: float
    block_s: float
    burn_in_s: float

    @classmethod
    def of(cls, store: RecordingStore) -> "Facts":
        """From a prepared recording."""
        sampling = store.spec.sampling
        rate_hz = store.spec.bins_per_s
        blocks = {
            split: [b.n_bins / rate_hz for s in store.sessions.values() for b in s.blocks_in(split)]
            for split in ("train", "validation")
        }
        return cls(
            rate_hz=sampling.rate_hz,
            channels=sampling.channels,
            height=sampling.height,
            width=sampling.width,
            kind=store.spec.response_kind,
            has_behaviour=bool(store.spec.behaviour_names),
            n_units=sum(len(session.unit_ids) for session in store.spec.sessions),
            n_sessions=len(store.sessions),
            train_minutes=train_bins(store) / rate_hz / 60,
            validation_minutes=sum(blocks["validation"]) / 60 / len(store.sessions),
            block_s=median(blocks["train"]),
            burn_in_s=store.burn_in_bins / rate_hz,
        )

    @property
    def train_length(self) -> str:
        """How much there is to train on, in words."""
        return length_in_words(round(60 * self.train_minutes * self.bins_per_s), self.rate_hz)

    @property
    def bins_per_s(self) -> float:
        """As `DataSpec` has it: static images have 1."""
        return self.rate_hz or 1.0

    @property
    def stride_px(self) -> int:
        """Pixels from one tubelet to the next."""
        wanted = max(_SMALLEST_STRIDE_PX, round(math.sqrt(self.height * self.width / _PLACES)))
        return max(1, min(wanted, self.height // 3, self.width // 3))

    def tubelet(self, window_s: float | None) -> tuple[int, int, int]:
        """Frames of a tubelet, frames from one to the next, frames per tap."""
        if self.rate_hz is None:
            return 1, 1, 1
        per_tap = max(1, round(_TAP_S * self.rate_hz))
        stride = max(1, round(_STRIDE_S * self.rate_hz / per_tap)) * per_tap
        length_s = _TRACE_TUBELET_S if self.kind == "trace" else _TUBELET_S
        if window_s is not None and window_s > 0.3:
            length_s = min(window_s, _LONGEST_TUBELET_S)
        frames = max(2, stride // per_tap, round(length_s * self.rate_hz / per_tap)) * per_tap
        return frames, stride, per_tap


def model_for(facts: Facts, core: CoreName) -> Suggested:
    """The model before the window is known; the recording is not looked at.

    Raises:
        ConfigError: the frames are too small for tubelets.
    """
    if min(facts.height, facts.width) < 3 and core != "ln":
        raise ConfigError(
            f"frames are {facts.height} x {facts.width} pixels, too small for tubelets; `--model ln` has none"
        )
    counts = facts.kind == "counts"
    content: dict[str, Any] = {
        "model_type": "v1multi",
        "sampling_rate": facts.rate_hz,
        "initial_input_channels": facts.channels,
    }
    comments = {
        "sampling_rate": "images have no time" if facts.rate_hz is None else "of these data",
        "initial_input_channels": "of these data",
    }
    content["convnet"], told = _core(facts, core, None)
    comments |= {f"convnet.{key}": reason for key, reason in told.items()}
    if core != "ln":
        if facts.has_behaviour:
            content["modulator"] = {
                "type": "convgru",
                "params": {"behaviour_dim": 16, "hidden_dim": 16, "kernel_size": 1},
            }
        else:
            content["modulator"] = {"type": "none"}
        comments["modulator.type"] = (
            "behaviour is recorded" if facts.has_behaviour else "no behaviour is recorded"
        )
        content["readout"] = {"type": "gaussian", "params": {"initial_width": 0.08}}
    if facts.rate_hz is None:
        linear: dict[str, Any] = {"rank": 1, "window_s": 1.0}
        comments["linear.params.window_s"] = "an image has no past: one weight per pixel"
    elif counts:
        linear = {"rank": 2, "window_s": "auto"}
    else:
        linear = {"window_s": _TRACE_WINDOW_S}
        comments["linear.params.window_s"] = "traces remember what their units did for about as long"
    if core == "ln":
        if counts:
            linear["knots"] = 12
            comments["linear.params.knots"] = "a nonlinearity of each unit's own, where its data support one"
    else:
        linear["gain"] = True
        comments["linear.params.gain"] = "the core scales the filters too"
        if counts and not facts.has_behaviour:
            linear["knots"] = 12
            comments["linear.params.knots"] = "a nonlinearity of each unit's own, where its data support one"
    content["linear"] = {"type": "low_rank", "params": linear}
    if counts:
        sharpness = 1.0 if facts.rate_hz is None else round(facts.rate_hz / _SHARPNESS_S, 3)
        content["output"] = {"type": "softplus", "params": {"sharpness": sharpness, "learn_sharpness": True}}
        comments["output.params.sharpness"] = (
            "the bend is where a unit has a spike or two per image"
            if facts.rate_hz is None
            else f"per bin of {1e3 / facts.rate_hz:.3g} ms; the bend is where a unit has {_SHARPNESS_S:g} spikes per "
            "second"
        )
    return Suggested(content, comments)


def _core(facts: Facts, core: CoreName, window_s: float | None) -> tuple[dict[str, Any], dict[str, str]]:
    if core == "ln":
        return {"type": "none"}, {"type": "no core: the linear path alone"}
    frames, stride, per_tap = facts.tubelet(window_s)
    step_px = facts.stride_px
    side = 3 * step_px
    kernel, strides = [frames, side, side], [stride, step_px, step_px]
    rows, columns = -(-facts.height // step_px), -(-facts.width // step_px)
    places = f"{rows} x {columns} places of {facts.height} x {facts.width} pixels"
    if facts.rate_hz is None:
        told_kernel = f"an image, {side} pixels both ways; three overlap along each side"
        told_stride, told_tap = f"tokens at {places}", "an image has no time"
    else:
        told_kernel = (
            f"{1e3 * frames / facts.rate_hz:.0f} ms, {side} pixels both ways; three overlap along each side"
        )
        told_stride = f"a token every {1e3 * stride / facts.rate_hz:.0f} ms, at {places}"
        told_tap = "kernels change at some 60 Hz"
    if core == "vivit":
        params: dict[str, Any] = {
            "embedding_dim": 64,
            "num_spatial_blocks": 1,
            "num_temporal_blocks": 1,
            "num_heads": 2,
            "head_dim": 32,
            "ff_dim": 128,
            "patch_size": kernel,
            "stride": strides,
            "frames_per_tap": per_tap,
            "num_filters": 128,
            "padding": "same",
            "initial_filters": "gabor",
            "rectify": True,
        }
        told = {
            "params.patch_size": told_kernel,
            "params.stride": told_stride,
            "params.frames_per_tap": told_tap,
        }
        if facts.rate_hz is None:
            params["num_temporal_blocks"] = 0
            told["params.num_temporal_blocks"] = "an image has no past"
        elif facts.kind == "trace":
            params["temporal_window"] = max(2, round(_TRACE_ATTENTION_S * facts.bins_per_s / stride))
            told["params.temporal_window"] = f"{_TRACE_ATTENTION_S:g} s: an indicator remembers for long"
        return {"type": "vivit", "params": params}, told
    stem = {
        "channels": 64,
        "kernel": kernel,
        "stride": strides,
        "frames_per_tap": per_tap,
        "initial_filters": "gabor",
    }
    told = {
        "params.stem.kernel": told_kernel,
        "params.stem.stride": told_stride,
        "params.stem.frames_per_tap": told_tap,
    }
    stages = (
        [{"channels": 64, "blocks": 2}]
        if core == "x3d"
        else [{"channels": 64, "blocks": 1, "kernel": [3, 3, 3]}]
    )
    return {"type": core, "params": {"stem": stem, "stages": stages}}, told


def _with_window(
    store: RecordingStore, suggested: Suggested, facts: Facts, window_s: float | None
) -> Suggested:
    """With the linear path's window as a number, and tubelets as long as slow units ask for."""
    config = build_config(TwinConfig, suggested.content, "the suggested model")
    linear = config.linear
    if not isinstance(linear, LowRankLinearConfig) or linear.window_s != "auto":
        return suggested
    if window_s is None:
        found = with_window_from_data(config, store, InitialiseConfig()).linear
        assert isinstance(found, LowRankLinearConfig)
        assert not isinstance(found.window_s, str)
        window_s = found.window_s
    content = dict(suggested.content)
    content["linear"] = {**content["linear"], "params": {**content["linear"]["params"], "window_s": window_s}}
    told = "found from these data: longer ones predict held-out responses no better"
    comments = {**suggested.comments, "linear.params.window_s": told}
    core = content["convnet"]["type"]
    if core != "none":
        content["convnet"], own = _core(facts, core, window_s)
        comments |= {f"convnet.{key}": reason for key, reason in own.items()}
    return Suggested(content, comments)


def training_for(facts: Facts, minutes: float, core: CoreName) -> Suggested:
    """The training; the recording is not looked at."""
    clip_s = min(_CLIP_S[facts.kind], max(facts.block_s, 3 * facts.burn_in_s))
    content: dict[str, Any] = {
        "batch_size": 1,
        "clip_frames": max(2, round(clip_s * facts.bins_per_s)),
        "steps_per_epoch": _STEPS_PER_EPOCH,
    }
    comments = {
        "batch_size": "many small steps: minutes have room for one or two thousand",
        "clip_frames": f"{clip_s:.3g} s, of which the burn-in takes {facts.burn_in_s:g}",
    }
    if facts.rate_hz is None:
        content |= {"batch_size": _IMAGES_PER_STEP, "clip_frames": 1}
        comments = {"batch_size": "images a step", "clip_frames": "an image is a clip of its own"}
        clip_s = float(_IMAGES_PER_STEP)
    if core == "ln":
        content["optimiser"] = {"type": "adamw", "params": {"learning_rate": 5.0e-4, "weight_decay": 0.3}}
        content["early_stopping_patience"] = 4
        comments["optimiser"] = "the filters begin near their end: small steps, and an early stop"
    else:
        params = {"learning_rate": 2.0e-3, "muon_learning_rate": 2.0e-3, "weight_decay": 0.3}
        content["optimiser"] = {"type": "muon", "params": params}
        content["patience_passes"] = 3
        comments["patience_passes"] = "ends where more would not help"
    content |= {"warmup_steps": 50, "ema_decay": 0.995}
    if core != "ln":
        content["shift_px"] = max(facts.stride_px - 1, 0)
        comments["shift_px"] = (
            "just below the tubelets' step, so that what is learnt holds at any place of their grid"
        )
    content["fixed_filters"] = True
    comments["fixed_filters"] = "the linear path's filters are set from the data before training"
    affordable = _VALIDATED_SHARE * _STEPS_PER_EPOCH * clip_s / 60 / facts.n_sessions
    if facts.validation_minutes > 1.5 * affordable:
        content["validation_minutes"] = max(round(affordable, 2), _LEAST_VALIDATION_MINUTES)
        comments["validation_minutes"] = (
            f"of {facts.validation_minutes:.2g} per session: some tenth of the time, and enough to select by"
        )
    content["length"] = {"type": "minutes", "params": {"number": minutes}}
    if torch.cuda.is_available() and torch.cuda.is_bf16_supported():
        content["machine"] = {"precision": "bf16-mixed"}
        comments["machine"] = "this machine's GPU computes in bf16"
    return Suggested(content, comments)


def _expected(experiment: Experiment, store: RecordingStore, minutes: float) -> tuple[str, str]:
    """What a rehearsal says of the minutes: a note, and a comment."""
    torch.manual_seed(experiment.training.seed)
    twin = experiment.model.build(store.spec)
    plan = first_plan(experiment, store, experiment.model)
    pace: Pace = rehearsed(twin, experiment, store, plan, _REHEARSAL_S)
    steps = plan_for_minutes(plan, minutes, pace).max_steps
    passes = steps / steps_per_pass(experiment.training, store)
    comment = f"a step takes {pace.step_s:.2g} s on this machine: {steps} steps, {passes:.2g} passes over the recording"
    told = f"in {minutes:g} minutes, {comment}"
    if passes < _FEW_PASSES:
        told += "; that is little: with more minutes, or on a faster machine, it scores better"
    return told, comment
