"""From video to tubelet tokens: a causal 3-D convolution, a norm or rectification, and a linear projection."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visioncore.model.layers.strided_conv import StridedConv3d, TubeletForm
from visioncore.shapes import VideoShape


class PatchDropout(nn.Module):
    """In training, drops whole tokens at random: all channels of a token become zero, none is rescaled."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(
        self, tokens: Float[Tensor, "batch tokens rows columns dim"]
    ) -> Float[Tensor, "batch tokens rows columns dim"]:
        if not self.training or self.probability == 0.0:
            return tokens
        kept = torch.rand(tokens.shape[:-1], device=tokens.device) >= self.probability
        return tokens * kept[..., None]


class UnfoldConv3d(StridedConv3d):
    """Tubelet tokens (B, T_p, rows, columns, D) of a video, causally in time.

    The projection takes every filter's response, normalised over filters; or, with `rectify`, its parts above and below
    zero, as they are. These are what simple cells of both polarities give to a motion-energy model (Adelson & Bergen
    1985), with the contrast that a norm takes away, and no later nonlinearity finds them: a projection mixes filters.
    """

    def __init__(self, form: TubeletForm, video: VideoShape, *, dim: int, rectify: bool) -> None:
        super().__init__(form, video)
        self.norm = None if rectify else nn.LayerNorm(form.filters)
        self.projection = nn.Linear(2 * form.filters if rectify else form.filters, dim)
        self.out_shape = replace(self.out_shape, channels=dim)

    def advance(
        self,
        recent: Float[Tensor, "batch channels recent height width"] | None,
        video: Float[Tensor, "batch channels time height width"],
    ) -> tuple[
        Float[Tensor, "batch tokens rows columns dim"], Float[Tensor, "batch channels kept height width"]
    ]:
        """Tokens whose newest frame lies in this chunk; the frames that later tokens still need are the state."""
        features, kept = self.convolve(recent, video)
        responses = features.permute(0, 2, 3, 4, 1)
        if self.norm is None:
            return self.projection(torch.cat((responses, -responses), dim=-1).relu()), kept
        return self.projection(self.norm(responses)), kept
