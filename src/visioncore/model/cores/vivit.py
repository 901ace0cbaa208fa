"""ViViT: tubelet tokens, grid layers over them, a norm.

Source: Arnab et al. 2021. Written in the guide's keys it is their model 2 (factorised encoder), made causal in time and
kept on its grid: all attention over places first, then all attention over time.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any, Literal, NamedTuple, cast

from jaxtyping import Float
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    model_serializer,
    model_validator,
)
from torch import Tensor, nn

from visioncore.errors import ConfigError
from visioncore.model.cores.base import BaseCoreConfig, Core
from visioncore.model.cores.tubelets import TubeletConfig
from visioncore.model.extras import Extras, within
from visioncore.model.grid_layers import GridLayer, GridLayerConfig, SpaceLayerConfig, TimeLayerConfig
from visioncore.model.grid_layers.base import BaseGridLayerConfig
from visioncore.model.grid_layers.space import Rope
from visioncore.model.layers.attention import CausalWindow, recorded_weights
from visioncore.model.layers.block import Arrangement, BlockForm, FeedForward
from visioncore.model.layers.strided_conv import Padding, TubeletForm
from visioncore.model.layers.tokenizer import PatchDropout, UnfoldConv3d
from visioncore.model.stage import Stage, count, shape_text
from visioncore.shapes import VideoShape

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
SHORTHAND = ("num_spatial_blocks", "num_temporal_blocks", "temporal_window", "num_registers", "rope")
"""The guide's keys for two layers, one over space and one over time; `layers` says it for any."""


class ViViTConfig(TubeletConfig, BaseCoreConfig):
    """All hyper-parameters of the guide, under its names, and switches for what an ablation would ask."""

    type: Literal["vivit"] = "vivit"
    embedding_dim: PositiveInt
    num_spatial_blocks: NonNegativeInt | None = None
    """Blocks of a layer over space, which the tokens pass first."""
    num_temporal_blocks: NonNegativeInt | None = None
    """Blocks of a layer over time, which they pass after it."""
    temporal_window: PositiveInt = TimeLayerConfig().window
    """Tokens that one temporal block sees, the newest included; bounds memory on long videos."""
    num_registers: NonNegativeInt = SpaceLayerConfig().registers
    rope: Rope = SpaceLayerConfig().rope
    """How spatial attention knows places: by row and column, or by their number in raster order."""
    layers: tuple[GridLayerConfig, ...] | None = None
    """What the tokens pass, one after the other, in place of the guide's two (`SHORTHAND`)."""
    num_heads: PositiveInt
    head_dim: PositiveInt
    ff_dim: PositiveInt | None = None
    """Feedforward width; 4 x embedding_dim when left out."""
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Tubelet: frames, pixels down, pixels across."""
    stride: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    """From one tubelet to the next; the patch size (no overlap) when left out."""
    padding: Padding = "none"
    """For sizes that do not tile: `same` pads with grey, `crop` leaves pixels out; `none` refuses them."""
    rectify: bool = False
    """Whether tokens are projected from the parts of each filter's response above and below zero, not from its norm."""
    num_filters: PositiveInt | None = None
    """Of the tokenizer's convolution; embedding_dim when left out."""
    patch_dropout: Probability = 0.0
    mha_dropout: Probability = 0.0
    ff_dropout: Probability = 0.0
    drop_path: Probability = 0.0
    """Of the last block; the first has none, between them it grows linearly."""
    block: Arrangement = "parallel"
    """Attention and feedforward side by side behind one norm, or one after the other."""
    feedforward: FeedForward = "gelu"
    """`gated` has half as many weights again for the same ff_dim."""
    grad_checkpointing: bool = False
    flash_attention: bool = True

    @model_validator(mode="after")
    def _head_dim_fits_axial_rope(self) -> "ViViTConfig":
        if self.head_dim % 4:
            raise ValueError(
                f"head_dim {self.head_dim} is not a multiple of 4, which axial RoPE needs (row and column pairs)"
            )
        return self

    @model_validator(mode="after")
    def _layers_are_said_in_one_way(self) -> "ViViTConfig":
        both = [key for key in SHORTHAND if key in self.model_fields_set]
        if self.layers is not None and both:
            raise ValueError(
                f"'layers' stands beside {', '.join(both)}, which say the same in the guide's way; leave one or the "
                "other out"
            )
        if self.layers is None and (self.num_spatial_blocks is None or self.num_temporal_blocks is None):
            raise ValueError(
                "num_spatial_blocks and num_temporal_blocks are needed, or 'layers' in their place"
            )
        return self

    @model_serializer(mode="wrap")
    def _nest_params(self, flat: Any) -> dict[str, Any]:
        """In the way in which it was written, so that it reads back."""
        slot: dict[str, Any] = super()._nest_params(flat)
        for key in ("layers",) if self.layers is None else SHORTHAND:
            del slot["params"][key]
        return slot

    @classmethod
    def tiny(cls) -> "ViViTConfig":
        """The smallest member of the family that has every part; tests use it."""
        return cls(
            embedding_dim=16,
            num_spatial_blocks=1,
            num_temporal_blocks=2,
            num_heads=2,
            head_dim=8,
            ff_dim=32,
            patch_size=(3, 5, 5),
            stride=(2, 4, 4),
            padding="same",
            num_filters=12,
            rectify=True,
            temporal_window=4,
            num_registers=2,
        )

    def grid_layers(self) -> Sequence[BaseGridLayerConfig]:
        """What the tokens pass, in either way of writing it."""
        if self.layers is not None:
            return self.layers
        assert self.num_spatial_blocks is not None
        assert self.num_temporal_blocks is not None
        return (
            SpaceLayerConfig(blocks=self.num_spatial_blocks, registers=self.num_registers, rope=self.rope),
            TimeLayerConfig(blocks=self.num_temporal_blocks, window=self.temporal_window),
        )

    def for_counting(self) -> "ViViTConfig":
        return self.model_copy(update={"flash_attention": False, "grad_checkpointing": False})

    def tubelets(self) -> TubeletForm:
        return TubeletForm(
            kernel=self.patch_size,
            stride=self.stride or self.patch_size,
            filters=self.num_filters or self.embedding_dim,
            padding=self.padding,
            frames_per_tap=self.frames_per_tap,
            initial_filters=self.initial_filters,
            called="patch",
        )

    def build(self, video: VideoShape) -> "ViViT":
        """The core for videos of this shape.

        Raises:
            ConfigError: the frame does not tile and `padding` is `none`.
        """
        return ViViT(self, video)


class ViViTState(NamedTuple):
    """Frames that unfinished tubelets need, and what each grid layer remembers."""

    frames: Float[Tensor, "batch channels kept height width"]
    layers: tuple[Any, ...]


class ViViT(Core[ViViTState]):
    """See the module's docstring; built by `ViViTConfig.build`."""

    def __init__(self, config: ViViTConfig, video: VideoShape) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = UnfoldConv3d(
            config.tubelets(), video, dim=config.embedding_dim, rectify=config.rectify
        )
        self.patch_dropout = PatchDropout(config.patch_dropout)
        self.out_shape = self.tokenizer.out_shape
        entries = config.grid_layers()
        n_blocks = sum(entry.depth() for entry in entries)
        drop_path = iter([config.drop_path * depth / max(n_blocks - 1, 1) for depth in range(n_blocks)])
        layers = []
        for entry in entries:
            form = BlockForm(
                arrangement=config.block,
                dim=self.out_shape.channels,
                num_heads=config.num_heads,
                head_dim=config.head_dim,
                ff_dim=config.ff_dim or 4 * config.embedding_dim,
                feedforward=config.feedforward,
                mha_dropout=config.mha_dropout,
                ff_dropout=config.ff_dropout,
                drop_path=tuple(islice(drop_path, entry.depth())),
                kernel="fused" if config.flash_attention else "plain",
                grad_checkpointing=config.grad_checkpointing,
            )
            layers.append(entry.build(self.out_shape, form))
            self.out_shape = layers[-1].out_shape
        self.layers = cast("Sequence[GridLayer[Any]]", nn.ModuleList(layers))
        self.norm = nn.LayerNorm(self.out_shape.channels)

    def advance(
        self,
        state: ViViTState | None,
        video: Float[Tensor, "batch channels time height width"],
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"], ViViTState]:
        features, state, _ = self.advance_with_extras(state, video)
        return features, state

    def advance_with_extras(
        self, state: ViViTState | None, video: Float[Tensor, "batch channels time height width"]
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"], ViViTState, Extras]:
        """The extras are those of the grid layers, under `layers.0` and so on."""
        old = state.layers if state else (None,) * len(self.layers)
        tokens, frames = self.tokenizer.advance(state.frames if state else None, video)
        if tokens.shape[1] == 0:
            out = self.out_shape
            nothing = tokens.new_zeros(len(tokens), out.channels, 0, out.rows, out.columns)
            return nothing, ViViTState(frames, old), {}
        tokens = self.patch_dropout(tokens)
        new: list[Any] = []
        extras: Extras = {}
        for i, (layer, remembered) in enumerate(zip(self.layers, old, strict=True)):
            tokens, kept, said = layer.advance_with_extras(remembered, tokens)
            new.append(kept)
            extras |= within(f"layers.{i}", said)
        # Each place's tokens in a row, as attention over time leaves them: nothing is copied.
        features = self.norm(tokens.permute(0, 2, 3, 1, 4))
        return features.permute(0, 4, 3, 1, 2), ViViTState(frames, tuple(new)), extras

    def attention_weights(
        self, video: Float[Tensor, "batch channels time height width"]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Weights of attention over places, (batch·tokens, heads, places, places), and of attention over time,
        (batch·rows·columns, heads, tokens, tokens), block by block, for a video seen from its start.

        Raises:
            ConfigError: the core was built with `flash_attention: true`, whose kernels never form the weights.
        """
        if self.config.flash_attention:
            raise ConfigError(
                "attention weights need the plain path, 'flash_attention: false': "
                "load_twin(path, overrides=['model.convnet.params.flash_attention=false']) has it (and the same rates)"
            )
        with recorded_weights(self) as recorded:
            self.advance(None, video)
        over_places = [w for attention, w in recorded if not isinstance(attention.pattern, CausalWindow)]
        over_time = [w for attention, w in recorded if isinstance(attention.pattern, CausalWindow)]
        return over_places, over_time

    def stride_setting(self, frames: int) -> str:
        down, across = self.tokenizer.rows.stride, self.tokenizer.columns.stride
        return f"model.convnet.params.stride=[{frames},{down},{across}]"

    def last_blocks(self) -> Sequence[nn.Module]:
        return (*(cast(nn.Module, layer) for layer in self.layers[-1:]), self.norm)

    def history_frames(self) -> int | None:
        tokens = 0
        for layer in self.layers:
            history = layer.history_tokens()
            if history is None:
                return None
            tokens += history
        return tokens * self.tokenizer.stride_frames + self.tokenizer.kernel_frames

    def stages(self, clip_frames: int) -> list[Stage]:
        first, out = self.tokenizer.out_shape, self.out_shape
        tokens = clip_frames // out.stride
        patch = "x".join(str(n) for n in self.config.patch_size)
        of_tokens = shape_text(tokens, first.rows * first.columns, first.channels)
        of_output = shape_text(out.channels, tokens, out.rows, out.columns)
        return [
            Stage(f"tokens, patch {patch}", of_tokens, count(self.tokenizer)),
            *(layer.stage(tokens) for layer in self.layers),
            Stage("core output", of_output, count(self.norm)),
        ]

    def span_tokens(self, clip_frames: int) -> int | None:
        tokens = clip_frames // self.out_shape.stride
        spans = [layer.span_tokens(tokens) for layer in self.layers]
        return max((span for span in spans if span is not None), default=None)

    def notes(self) -> list[str]:
        notes = self.tokenizer.notes()
        if self.config.grad_checkpointing:
            notes.append("gradient checkpointing runs the core forward twice; the count has it once")
        return notes

    def warnings(self, clip_frames: int) -> list[str]:
        tokens = self.span_tokens(clip_frames)
        if tokens is None or tokens > 1:
            return []
        return [
            f"temporal attention sees {'a single' if tokens else 'no'} token: the clip is shorter than two of the "
            "tubelet's steps, or temporal_window is 1; use longer clips or smaller strides"
        ]
