"""Attention over the places of one time step, with register tokens among them.

Source: Arnab et al. 2021, the spatial half of model 2 (factorised encoder); registers after Darcet et al. 2023.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import torch
from jaxtyping import Float
from pydantic import NonNegativeInt
from torch import Tensor, nn

from visioncore.model.grid_layers.base import BaseGridLayerConfig, GridLayer
from visioncore.model.layers.attention import Everywhere
from visioncore.model.layers.block import BlockForm, TransformerBlock
from visioncore.model.layers.rope import Rotation, axial_rotation, raster_rotation, rotate
from visioncore.model.stage import Stage, count
from visioncore.shapes import FeatureShape

Rope = Literal["axial", "raster"]
ROTATIONS = {"axial": axial_rotation, "raster": raster_rotation}


class SpaceLayerConfig(BaseGridLayerConfig):
    type: Literal["space"] = "space"
    blocks: NonNegativeInt = 1
    registers: NonNegativeInt = 0
    """Learnt tokens that every place sees and that are no place; they are put in before the blocks, and left behind."""
    rope: Rope = "axial"
    """How attention knows places: by row and column, or by their number in raster order."""

    @classmethod
    def tiny(cls) -> "SpaceLayerConfig":
        return cls(registers=2)

    def depth(self) -> int:
        return self.blocks

    def build(self, tokens: FeatureShape, form: BlockForm) -> "SpaceLayer":
        return SpaceLayer(self, tokens, form)


class SpaceLayer(GridLayer[None]):
    """Every place sees every place of its own step, and no other step."""

    never_decayed: ClassVar[frozenset[str]] = frozenset({"registers"})

    def __init__(self, config: SpaceLayerConfig, tokens: FeatureShape, form: BlockForm) -> None:
        super().__init__(tokens)
        self.form = form
        self.rotation = ROTATIONS[config.rope]
        self.registers = nn.Parameter(torch.randn(config.registers, form.dim) * 0.02)
        self.attention = form.attention(Everywhere())
        self.blocks = cast("Sequence[TransformerBlock]", nn.ModuleList(form.blocks()))

    def advance(
        self, state: None, tokens: Float[Tensor, "batch tokens rows columns dim"]
    ) -> tuple[Float[Tensor, "batch tokens rows columns dim"], None]:
        batch, n_tokens, rows, columns, _ = tokens.shape
        x = tokens.flatten(2, 3).flatten(0, 1)
        if len(self.registers):
            x = torch.cat((self.registers.to(x.dtype).expand(len(x), -1, -1), x), dim=1)
        rotation = self.rotation(rows, columns, self.form.head_dim, x.device)
        for block in self.blocks:
            x = self.form.run(self._step, block, x, rotation)
        places = x[:, len(self.registers) :]
        return places.unflatten(1, (rows, columns)).unflatten(0, (batch, n_tokens)), None

    def history_tokens(self) -> int:
        return 0

    def stage(self, n_tokens: int) -> Stage:
        places, registers = self.out_shape.rows * self.out_shape.columns, len(self.registers)
        extra = f" + {registers} registers" if registers else ""
        return Stage(
            f"spatial transformer, attention over {places}{extra}",
            f"(B·{n_tokens}, {places + registers}, {self.out_shape.channels})",
            count(self),
        )

    def _step(
        self, block: TransformerBlock, x: Float[Tensor, "sequences places dim"], rotation: Rotation
    ) -> Float[Tensor, "sequences places dim"]:
        query, key, value, hidden = block.project(x)
        query, key = (self._rotated(t.transpose(1, 2), rotation) for t in (query, key))
        return block.combine(x, self.attention(query, key, value.transpose(1, 2)), hidden)

    def _rotated(
        self, x: Float[Tensor, "sequences heads places head_dim"], rotation: Rotation
    ) -> Float[Tensor, "sequences heads places head_dim"]:
        """Registers come first and stay as they are: they have no place."""
        n = len(self.registers)
        if n == 0:
            return rotate(x, rotation)
        return torch.cat((x[:, :, :n], rotate(x[:, :, n:], rotation)), dim=2)
