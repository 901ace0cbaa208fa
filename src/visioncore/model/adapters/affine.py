"""A learned look at the frames: one scale and one shift per axis."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from visioncore.model.adapters.base import Adapter, BaseAdapterConfig
from visioncore.spec import SessionSpec


class AffineAdapterConfig(BaseAdapterConfig):
    """Normalise, then look through a learned scale and shift per axis (it starts as the identity)."""

    type: Literal["affine"] = "affine"

    @classmethod
    def tiny(cls) -> "AffineAdapterConfig":
        return cls()

    def build(self, sessions: Sequence[SessionSpec], behaviour_names: Sequence[str]) -> "AffineAdapter":
        return AffineAdapter(sessions, behaviour_names)


class AffineAdapter(Adapter):
    """Outside of its field is mean grey."""

    never_decayed: ClassVar[frozenset[str]] = frozenset({"log_scale", "shift"})

    def __init__(self, sessions: Sequence[SessionSpec], behaviour_names: Sequence[str] = ()) -> None:
        super().__init__(sessions, behaviour_names)
        self.log_scale = nn.Parameter(torch.zeros(2))
        self.shift = nn.Parameter(torch.zeros(2))

    def look(
        self,
        video: Float[Tensor, "batch channels time height width"],
        behaviour: Float[Tensor, "batch time all_behaviours"] | None,
        session: str,
    ) -> Float[Tensor, "batch channels time height width"]:
        theta = torch.cat((torch.diag(self.log_scale.exp()), self.shift[:, None]), dim=1)
        batch, channels, time, height, width = video.shape
        frames = video.transpose(1, 2).flatten(0, 1)
        grid = functional.affine_grid(
            theta.expand(len(frames), -1, -1), [len(frames), channels, height, width], align_corners=False
        )
        seen = functional.grid_sample(frames, grid, align_corners=False)
        return seen.view(batch, time, channels, height, width).transpose(1, 2)
