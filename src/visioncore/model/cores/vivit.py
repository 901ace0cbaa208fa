"""ViViT: tubelet tokens, a spatial transformer within each time step, a causal temporal transformer at each place.

Source: Arnab et al. 2021, model 2 (factorised encoder), made causal in time and kept on its grid; register tokens
after Darcet et al. 2023.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from visioncore.config import ComponentConfig
from visioncore.errors import ConfigError
from visioncore.model.cores.base import Core
from visioncore.model.cores.tubelets import TubeletConfig
from visioncore.model.layers.block import (
    Block,
    BlockForm,
    FeedForward,
    KeyValueCache,
    ParallelBlock,
    SerialBlock,
)
from visioncore.model.layers.rope import axial_rotation, raster_rotation
from visioncore.model.layers.strided_conv import Padding, TubeletForm
from visioncore.model.layers.tokenizer import PatchDropout, UnfoldConv3d
from visioncore.shapes import VideoShape

R = TypeVar("R")
BLOCKS: dict[str, type[ParallelBlock | SerialBlock]] = {"parallel": ParallelBlock, "serial": SerialBlock}
ROTATIONS = {"axial": axial_rotation, "raster": raster_rotation}
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class ViViTConfig(TubeletConfig, ComponentConfig):
    """All hyper-parameters of the guide, under its names, and switches for what an ablation would ask."""

    type: Literal["vivit"] = "vivit"
    embedding_dim: PositiveInt
    num_spatial_blocks: NonNegativeInt
    num_temporal_blocks: NonNegativeInt
    num_heads: PositiveInt
    head_dim: PositiveInt
    ff_dim: PositiveInt | None = None
    """Feedforward width; 4 x embedding_dim when left out."""
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Tubelet: frames, pixels down, pixels across."""
    stride: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    """Step between tubelets; the patch size (no overlap) when left out."""
    padding: Padding = "none"
    """For sizes that do not tile: `same` pads with grey, `crop` leaves pixels out; `none` refuses them."""
    rectify: bool = False
    """Whether tokens are projected from the parts of each filter's response above and below zero, not from its norm."""
    num_filters: PositiveInt | None = None
    """Of the tokenizer's convolution; embedding_dim when left out."""
    temporal_window: PositiveInt = 128
    """Tokens that one temporal block sees, the newest included; bounds memory on long videos."""
    num_registers: NonNegativeInt = 0
    patch_dropout: Probability = 0.0
    mha_dropout: Probability = 0.0
    ff_dropout: Probability = 0.0
    drop_path: Probability = 0.0
    """Of the last block; the first has none, between them it grows linearly."""
    block: Literal["parallel", "serial"] = "parallel"
    """Attention and feedforward side by side behind one norm, or one after the other."""
    feedforward: FeedForward = "gelu"
    """`gated` has half as many weights again for the same ff_dim."""
    rope: Literal["axial", "raster"] = "axial"
    """How spatial attention knows places: by row and column, or by their number in raster order."""
    grad_checkpointing: bool = False
    flash_attention: bool = True

    @model_validator(mode="after")
    def _head_dim_fits_axial_rope(self) -> "ViViTConfig":
        if self.head_dim % 4:
            raise ValueError(
                f"head_dim {self.head_dim} is not a multiple of 4, which axial RoPE needs (row and column pairs)"
            )
        return self

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
    """Frames that unfinished tubelets need, and what each temporal block remembers."""

    frames: Float[Tensor, "batch channels kept height width"]
    caches: tuple[KeyValueCache | None, ...]


class ViViT(Core[ViViTState]):
    """See the module's docstring; built by `ViViTConfig.build`."""

    def __init__(self, config: ViViTConfig, video: VideoShape) -> None:
        super().__init__()
        self.config = config
        dim = config.embedding_dim
        self.tokenizer = UnfoldConv3d(config.tubelets(), video, dim=dim, rectify=config.rectify)
        self.patch_dropout = PatchDropout(config.patch_dropout)
        self.registers = nn.Parameter(torch.randn(config.num_registers, dim) * 0.02)

        n_blocks = config.num_spatial_blocks + config.num_temporal_blocks
        form = BlockForm(
            dim=dim,
            num_heads=config.num_heads,
            head_dim=config.head_dim,
            ff_dim=config.ff_dim or 4 * dim,
            feedforward=config.feedforward,
            mha_dropout=config.mha_dropout,
            ff_dropout=config.ff_dropout,
            flash_attention=config.flash_attention,
        )
        block = BLOCKS[config.block]
        blocks = [block(form, config.drop_path * depth / max(n_blocks - 1, 1)) for depth in range(n_blocks)]
        self.spatial = nn.ModuleList(blocks[: config.num_spatial_blocks])
        self.temporal = nn.ModuleList(blocks[config.num_spatial_blocks :])
        self.norm = nn.LayerNorm(dim)
        self.out_shape = self.tokenizer.out_shape

    def advance(
        self,
        state: ViViTState | None,
        video: Float[Tensor, "batch channels time height width"],
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"], ViViTState]:
        features, state, _ = self._advance(state, video, record=False)
        return features, state

    def attention_weights(
        self, video: Float[Tensor, "batch channels time height width"]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Weights of the spatial blocks, (batch·tokens, heads, places, places), and of the temporal blocks,
        (batch·rows·columns, heads, tokens, tokens), for a video seen from its start.

        Raises:
            ConfigError: the core was built with `flash_attention: true`, whose kernels never form the weights.
        """
        if self.config.flash_attention:
            raise ConfigError(
                "attention weights need the plain path, 'flash_attention: false': "
                "load_twin(path, overrides=['model.convnet.params.flash_attention=false']) has it (and the same rates)"
            )
        _, _, maps = self._advance(None, video, record=True)
        n_spatial = len(self.spatial)
        return maps[:n_spatial], maps[n_spatial:]

    def stride_setting(self, frames: int) -> str:
        down, across = self.tokenizer.rows.stride, self.tokenizer.columns.stride
        return f"model.convnet.params.stride=[{frames},{down},{across}]"

    def history_frames(self) -> int:
        stride, patch = self.tokenizer.stride_frames, self.tokenizer.kernel_frames
        tokens = len(self.temporal) * (self.config.temporal_window - 1) + 1
        return (tokens - 1) * stride + patch

    def notes(self) -> list[str]:
        return self.tokenizer.notes()

    def _advance(
        self, state: ViViTState | None, video: Tensor, *, record: bool
    ) -> tuple[Tensor, ViViTState, list[Tensor]]:
        maps: list[Tensor] = []
        weights = maps if record else None
        old_caches = state.caches if state else (None,) * len(self.temporal)
        tokens, frames = self.tokenizer.advance(state.frames if state else None, video)
        batch, n_tokens, rows, columns, dim = tokens.shape
        if n_tokens == 0:
            return tokens.permute(0, 4, 1, 2, 3), ViViTState(frames, old_caches), maps
        tokens = self.patch_dropout(tokens)

        x = tokens.reshape(batch * n_tokens, rows * columns, dim)
        if len(self.registers):
            x = torch.cat((self.registers.to(x.dtype).expand(len(x), -1, -1), x), dim=1)
        rotation = ROTATIONS[self.config.rope](rows, columns, self.config.head_dim, x.device)
        for block in _blocks(self.spatial):
            x = self._run(block.over_places, x, rotation, weights)
        x = x[:, len(self.registers) :]

        x = x.view(batch, n_tokens, rows * columns, dim).transpose(1, 2).flatten(0, 1)
        caches: list[KeyValueCache | None] = []
        for block, cache in zip(_blocks(self.temporal), old_caches, strict=True):
            x, cache = self._run(block.over_time, cache, x, self.config.temporal_window, weights)
            caches.append(cache)
        x = self.norm(x).view(batch, rows, columns, n_tokens, dim)
        return x.permute(0, 4, 3, 1, 2), ViViTState(frames, tuple(caches)), maps

    def _run(self, step: Callable[..., R], *arguments: Any) -> R:
        if self.config.grad_checkpointing and torch.is_grad_enabled():
            return checkpoint(step, *arguments, use_reentrant=False)
        return step(*arguments)


def _blocks(modules: nn.ModuleList) -> list[Block]:
    return [block for block in modules if isinstance(block, Block)]
