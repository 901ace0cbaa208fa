"""What a model config amounts to: the shape after each stage, its cost, and how stale its predictions are."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod

import torch
from torch.utils.flop_counter import FlopCounterMode

from visioncore.behaviour import eye_feature_names
from visioncore.config import AsWritten
from visioncore.model import InputClips, Twin, TwinConfig
from visioncore.model.stage import Stage, count, shape_text
from visioncore.spec import DataSpec, Normalisation, Sampling, SessionSpec
from visioncore.training.experiment import TrainingConfig
from visioncore.training.memory import MemoryEstimate, Recorded, estimate

STALE_MS = 20.0
GUIDE_UNITS = 100


@dataclass(frozen=True)
class Description:
    """Everything that `visioncore describe` prints."""

    stages: list[Stage]
    parameters: int
    training_flops_per_clip: int
    clip_frames: int
    temporal_span_ms: float | None
    """What one temporal block sees; a stack of blocks sees further."""
    staleness_ms: float
    notes: list[str]
    warnings: list[str]

    def to_json(self) -> AsWritten:
        """Plain values."""
        return asdict(self)


def guide_spec(config: TwinConfig) -> DataSpec:
    """The guide's data, for describing a model without any: 36 x 64 pixels, 42 behavioural features."""
    units = tuple(str(i) for i in range(GUIDE_UNITS))
    session = SessionSpec(
        id="session", subject="subject", unit_ids=units, behaviour_names=eye_feature_names()
    )
    return DataSpec(
        sampling=Sampling(
            channels=config.initial_input_channels, height=36, width=64, rate_hz=config.sampling_rate
        ),
        sessions=(session,),
    )


def describe(config: TwinConfig, spec: DataSpec, clip_frames: int) -> Description:
    """Build the twin without memory for its weights, and walk a clip through it.

    Raises:
        ConfigError: config and data disagree, or the frame does not tile.
    """
    spec = _with_constants(spec)
    counted = config.model_copy(update={"convnet": config.convnet.for_counting()})
    with torch.device("meta"):
        twin = config.build(spec)
        flops = _training_flops(counted.build(spec), clip_frames)
    # Images have no time, and each is seen by itself.
    timed = spec.sampling.rate_hz is not None
    staleness_ms = (twin.stride - 1) / spec.bins_per_s * 1000 if timed else 0.0
    notes = twin.trunk.core.notes() if twin.trunk.core else []
    warnings = []
    if staleness_ms > STALE_MS:
        warnings.append(
            f"predictions are up to {staleness_ms:.0f} ms old (stride {twin.stride} at {spec.rate_hz:g} Hz); "
            "use a smaller temporal stride, with overlap, for data this slow"
        )
    span_ms = None
    tokens = twin.trunk.core.span_tokens(clip_frames) if twin.trunk.core else None
    if tokens is not None and timed:
        span_ms = tokens * twin.stride / spec.bins_per_s * 1000
        notes.append(f"temporal attention sees {tokens} tokens of a clip, {span_ms:.0f} ms")
    warnings += twin.trunk.core.warnings(clip_frames) if twin.trunk.core else []
    return Description(
        stages=_stages(twin, clip_frames),
        parameters=count(twin),
        training_flops_per_clip=flops,
        clip_frames=clip_frames,
        temporal_span_ms=span_ms,
        staleness_ms=staleness_ms,
        notes=notes,
        warnings=warnings,
    )


def memory_of(
    config: TwinConfig,
    spec: DataSpec,
    training: TrainingConfig,
    cache_bytes: int = 0,
    recorded: Recorded | None = None,
) -> MemoryEstimate:
    """What training such a model takes on such data, whose constants need not be known.

    Args:
        cache_bytes: of the recording, where it is kept in memory.
        recorded: what there is to read; as much as the estimates before training read at most when left out.

    Raises:
        ConfigError: config and data disagree, or the optimiser has nothing to steer.
    """
    return estimate(config, training, _with_constants(spec), cache_bytes, recorded)


def _with_constants(spec: DataSpec) -> DataSpec:
    """Any constants, where none have been fitted: shapes do not depend on them."""
    sessions = [
        session.model_copy(
            update={
                "constants": Normalisation(
                    video_mean=(0.0,) * spec.sampling.channels,
                    video_std=(1.0,) * spec.sampling.channels,
                    behaviour_mean=(0.0,) * len(session.behaviour_names),
                    behaviour_std=(1.0,) * len(session.behaviour_names),
                )
            }
        )
        for session in spec.sessions
    ]
    return spec.model_copy(update={"sessions": tuple(sessions)})


def _training_flops(twin: Twin, clip_frames: int) -> int:
    """Forward and backward, of one clip."""
    spec = twin.spec
    sampling, session = spec.sampling, spec.sessions[0]
    video = torch.zeros(1, sampling.channels, clip_frames, sampling.height, sampling.width)
    n_behaviours = len(session.behaviour_names)
    behaviour = torch.zeros(1, clip_frames, n_behaviours) if n_behaviours else None
    counts = {torch.ops.aten.convolution_backward: _convolution_backward_flop}
    with FlopCounterMode(display=False, custom_mapping=counts) as counter:
        (rates,) = twin([InputClips(session.id, video, behaviour)])
        rates.sum().backward()
    return int(counter.get_total_flops())


def _stages(twin: Twin, clip_frames: int) -> list[Stage]:
    spec = twin.spec
    n_units, n_sessions = len(spec.sessions[0].unit_ids), len(spec.sessions)
    frames = shape_text(spec.sampling.channels, clip_frames, spec.sampling.height, spec.sampling.width)
    stages = [Stage("input", frames, 0), Stage("adapter", frames, count(twin.trunk.adapter))]
    if twin.trunk.core is not None:
        stages += twin.trunk.core.stages(clip_frames)
    if twin.trunk.core is not None and twin.trunk.modulator is not None:
        out = twin.trunk.core.out_shape
        modulated = shape_text(out.channels, clip_frames // out.stride, out.rows, out.columns)
        stages.append(
            Stage(f"modulator {twin.config.modulator.type}", modulated, count(twin.trunk.modulator))
        )
    heads, shared = list(twin.heads), twin.heads.shared
    linears = [head.linear for head in heads if head.linear is not None]
    if linears:
        stages.append(Stage("linear path", shape_text(clip_frames, n_units), sum(map(count, linears))))
    readouts, outputs = [head.readout for head in heads], [head.output for head in heads]
    readout = "readout" if n_sessions == 1 else f"readouts of {n_sessions} sessions"
    stages += [
        Stage(readout, "", sum(count(part) for part in (shared, *readouts, *outputs) if part is not None)),
        Stage("readout, last step", shape_text(n_units), 0),
        Stage("readout, dense", shape_text(clip_frames, n_units), 0),
    ]
    return stages


def _convolution_backward_flop(
    gradient: Sequence[int],
    _x: Sequence[int],
    weight: Sequence[int],
    _bias: object,
    _stride: object,
    _padding: object,
    _dilation: object,
    _transposed: bool,
    _output_padding: object,
    _groups: int,
    wanted: Sequence[bool],
    out_shape: object = None,
) -> int:
    """Each gradient costs what the convolution does. PyTorch's own count takes groups for full convolutions."""
    forward = 2 * gradient[0] * prod(gradient[2:]) * prod(weight)
    return forward * sum(wanted[:2])
