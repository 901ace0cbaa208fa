"""The adapter: raw video to normalised frames of the same size, then optionally a learned view of them."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float, Shaped
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from visioncore.config import ComponentConfig
from visioncore.shapes import Normalisation


class NoAdapterConfig(ComponentConfig):
    """Normalise only."""

    type: Literal["none"] = "none"


class AffineAdapterConfig(ComponentConfig):
    """Normalise, then look through a learned scale and shift per axis (it starts as the identity)."""

    type: Literal["affine"] = "affine"


AdapterConfig = Annotated[NoAdapterConfig | AffineAdapterConfig, Field(discriminator="type")]


class Adapter(nn.Module):
    """(x - mean) / std with constants of the training split, so that mean grey is zero; keeps height and width.

    The constants travel in the checkpoint's header, not among the weights.
    """

    def __init__(self, config: AdapterConfig, normalisation: Normalisation) -> None:
        super().__init__()
        self.video_mean: Tensor
        self.video_std: Tensor
        shape = (1, -1, 1, 1, 1)
        self.register_buffer(
            "video_mean", torch.tensor(normalisation.video_mean).view(shape), persistent=False
        )
        self.register_buffer("video_std", torch.tensor(normalisation.video_std).view(shape), persistent=False)
        learned = config.type == "affine"
        self.log_scale = nn.Parameter(torch.zeros(2)) if learned else None
        self.shift = nn.Parameter(torch.zeros(2)) if learned else None

    def forward(
        self, video: Shaped[Tensor, "batch channels time height width"]
    ) -> Float[Tensor, "batch channels time height width"]:
        """Normalised video; outside of a learned view's field is mean grey."""
        x = (video.to(self.video_mean.dtype) - self.video_mean) / self.video_std
        if self.log_scale is None or self.shift is None:
            return x
        theta = torch.cat((torch.diag(self.log_scale.exp()), self.shift[:, None]), dim=1)
        batch, channels, time, height, width = x.shape
        frames = x.transpose(1, 2).flatten(0, 1)
        grid = functional.affine_grid(
            theta.expand(len(frames), -1, -1), [len(frames), channels, height, width], align_corners=False
        )
        seen = functional.grid_sample(frames, grid, align_corners=False)
        return seen.view(batch, time, channels, height, width).transpose(1, 2)
