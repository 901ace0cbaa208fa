"""A core that sees no video: with a modulator the twin is the behaviour-only model that reviewers ask for."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from visioncore.model.cores.base import BaseCoreConfig, Core
from visioncore.shapes import FeatureShape, VideoShape


class BlindConfig(BaseCoreConfig):
    type: Literal["blind"] = "blind"
    channels: PositiveInt = 64
    stride: PositiveInt = 4
    """Frames per token; that of the models it is compared with."""

    @classmethod
    def tiny(cls) -> "BlindConfig":
        return cls(channels=4, stride=2)

    def build(self, video: VideoShape) -> "Blind":
        """The core for videos of this shape."""
        return Blind(self, video)


class Blind(Core[Tensor]):
    """The same learned features in every token, at one place that covers the whole field."""

    sees_video = False

    def __init__(self, config: BlindConfig, video: VideoShape) -> None:
        super().__init__()
        self.features = nn.Parameter(torch.randn(config.channels))
        self.out_shape = FeatureShape(
            channels=config.channels,
            rows=1,
            columns=1,
            stride=config.stride,
            row_edges_px=(0.0, float(video.height)),
            column_edges_px=(0.0, float(video.width)),
        )

    def advance(
        self,
        state: Float[Tensor, "batch waiting"] | None,
        video: Float[Tensor, "batch channels time height width"],
    ) -> tuple[Float[Tensor, "batch dim tokens 1 1"], Float[Tensor, "batch left"]]:
        """The state counts, by its length, the frames that wait for their token; what is in them is not kept."""
        batch, waiting = len(video), 0 if state is None else state.shape[1]
        n_tokens, left = divmod(waiting + video.shape[2], self.out_shape.stride)
        features = self.features[:, None, None, None].expand(batch, -1, n_tokens, 1, 1)
        return features, video.new_zeros(batch, left)

    def stride_setting(self, frames: int) -> str:
        return f"model.convnet.params.stride={frames}"

    def history_frames(self) -> int:
        return 0

    def notes(self) -> list[str]:
        return [
            "this core sees no video: what differs between bins comes from behaviour (and a linear path) alone"
        ]
