"""What a model config amounts to: the shape after each stage, its cost, and how stale its predictions are."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from visioncore.config import build_config, dump_config
from visioncore.data.behaviour import eye_feature_names
from visioncore.model import Clip, Twin, TwinConfig
from visioncore.model.cores.vivit import ViViT, ViViTConfig
from visioncore.spec import DataSpec, Normalisation, Sampling, SessionSpec

STALE_MS = 20.0
GUIDE_UNITS = 100


@dataclass(frozen=True)
class Stage:
    """One stage of the way through, with B for the batch."""

    stage: str
    shape: str
    parameters: int


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

    def as_json(self) -> dict[str, Any]:
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
    # The plain attention path has the same arithmetic, and the counter knows all of it.
    plain = dump_config(config)
    recomputes = isinstance(config.convnet, ViViTConfig) and config.convnet.grad_checkpointing
    if "flash_attention" in plain["convnet"].get("params", {}):
        plain["convnet"]["params"].update(flash_attention=False, grad_checkpointing=False)
    config = build_config(TwinConfig, plain, "describe")
    n_behaviours = len(spec.sessions[0].behaviour_names)
    with torch.device("meta"):
        twin = config.build(_with_constants(spec))
        video = torch.zeros(1, spec.sampling.channels, clip_frames, spec.sampling.height, spec.sampling.width)
        behaviour = torch.zeros(1, clip_frames, n_behaviours) if n_behaviours else None
    session = spec.sessions[0].id
    counts = {torch.ops.aten.convolution_backward: _convolution_backward_flop}
    with FlopCounterMode(display=False, custom_mapping=counts) as counter:
        (rates,) = twin([Clip(session, video, behaviour)])
        rates.sum().backward()
    stages = _stages(twin, video, session, len(spec.sessions))
    staleness_ms = (twin.stride - 1) / spec.rate_hz * 1000
    notes = twin.core.notes() if twin.core else []
    if recomputes:
        notes.append("gradient checkpointing runs the core forward twice; the count has it once")
    warnings = []
    if staleness_ms > STALE_MS:
        warnings.append(
            f"predictions are up to {staleness_ms:.0f} ms old (stride {twin.stride} at {spec.rate_hz:g} Hz); "
            "use a smaller temporal stride, with overlap, for data this slow"
        )
    span_ms = None
    if isinstance(twin.core, ViViT):
        tokens = min(clip_frames // twin.stride, twin.core.config.temporal_window)
        span_ms = tokens * twin.stride / spec.rate_hz * 1000
        notes.append(f"temporal attention sees {tokens} tokens of a clip, {span_ms:.0f} ms")
        if tokens <= 1:
            warnings.append(
                f"temporal attention sees {'a single' if tokens else 'no'} token: the clip is shorter than two of the "
                "tubelet's steps, or temporal_window is 1; use longer clips or smaller strides"
            )
    return Description(
        stages=stages,
        parameters=sum(p.numel() for p in twin.parameters()),
        training_flops_per_clip=int(counter.get_total_flops()),
        clip_frames=clip_frames,
        temporal_span_ms=span_ms,
        staleness_ms=staleness_ms,
        notes=notes,
        warnings=warnings,
    )


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


def _stages(twin: Twin, video: Tensor, session: str, n_sessions: int) -> list[Stage]:
    time, n_units = video.shape[2], len(twin.unit_ids(session))
    stages = [
        Stage("input", _shape(*video.shape[1:]), 0),
        Stage("adapter", _shape(*video.shape[1:]), _count(twin.adapter)),
    ]
    if isinstance(twin.core, ViViT):
        core = twin.core
        tokenizer = core.tokenizer
        tokens, rows, columns = time // twin.stride, tokenizer.rows.tokens, tokenizer.columns.tokens
        places, dim = rows * columns, core.config.embedding_dim
        patch = "x".join(str(n) for n in core.config.patch_size)
        registers = core.config.num_registers
        extra = f" + {registers} registers" if registers else ""
        stages += [
            Stage(f"tokens, patch {patch}", _shape(tokens, places, dim), _count(tokenizer)),
            Stage(
                f"spatial transformer, attention over {places}{extra}",
                f"(B·{tokens}, {places + registers}, {dim})",
                _count(core.spatial) + core.registers.numel(),
            ),
            Stage(
                f"temporal transformer, causal, attention over {min(tokens, core.config.temporal_window)}",
                f"(B·{places}, {tokens}, {dim})",
                _count(core.temporal),
            ),
            Stage("core output", _shape(dim, tokens, rows, columns), _count(core.norm)),
        ]
    elif twin.core is not None:
        shape = twin.core.out_shape
        stages.append(
            Stage(
                "core output",
                _shape(shape.channels, time // shape.stride, shape.rows, shape.columns),
                _count(twin.core),
            )
        )
    if twin.core is not None and twin.modulator is not None:
        out = twin.core.out_shape
        stages.append(
            Stage(
                f"modulator {twin.config.modulator.type}",
                _shape(out.channels, time // out.stride, out.rows, out.columns),
                _count(twin.modulator),
            )
        )
    if twin.linears:
        stages.append(Stage("linear path", _shape(time, n_units), _count(twin.linears)))
    if n_sessions > 1:
        stages.append(
            Stage(f"readouts of {n_sessions} sessions", "", _count(twin.readouts) + _count(twin.outputs))
        )
    else:
        stages.append(Stage("readout", "", _count(twin.readouts) + _count(twin.outputs)))
    stages += [
        Stage("readout, last step", _shape(n_units), 0),
        Stage("readout, dense", _shape(time, n_units), 0),
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


def _shape(*sizes: int) -> str:
    return f"(B, {', '.join(str(n) for n in sizes)})"


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
