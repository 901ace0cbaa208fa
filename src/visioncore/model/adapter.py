"""The view: a session's raw video and behaviour to normalised ones, then optionally a learned look at the frames."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Shaped
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from visioncore.config import ComponentConfig
from visioncore.errors import DataError
from visioncore.spec import SessionSpec


class NoAdapterConfig(ComponentConfig):
    """Normalise only."""

    type: Literal["none"] = "none"


class AffineAdapterConfig(ComponentConfig):
    """Normalise, then look through a learned scale and shift per axis (it starts as the identity)."""

    type: Literal["affine"] = "affine"


AdapterConfig = Annotated[NoAdapterConfig | AffineAdapterConfig, Field(discriminator="type")]


class Adapter(nn.Module):
    """(x - mean) / std with the session's constants, so that mean grey is zero; keeps height and width.

    The constants travel in the spec, not among the weights.

    Args:
        sessions: those of the twin, with their constants.
        behaviour_names: the signals that come out; one that a session lacks stands at its mean, which is zero.
    """

    def __init__(
        self, config: AdapterConfig, sessions: Sequence[SessionSpec], behaviour_names: Sequence[str]
    ) -> None:
        super().__init__()
        self._place = {session.id: i for i, session in enumerate(sessions)}
        self._names = {session.id: session.behaviour_names for session in sessions}
        self.behaviour_names = tuple(behaviour_names)
        for i, session in enumerate(sessions):
            constants = session.normalisation
            for name, values in (
                ("video_mean", constants.video_mean),
                ("video_std", constants.video_std),
                ("behaviour_mean", constants.behaviour_mean),
                ("behaviour_std", constants.behaviour_std),
            ):
                self.register_buffer(f"{name}_{i}", torch.tensor(values), persistent=False)
        learned = config.type == "affine"
        self.log_scale = nn.Parameter(torch.zeros(2)) if learned else None
        self.shift = nn.Parameter(torch.zeros(2)) if learned else None

    def forward(
        self, video: Shaped[Tensor, "batch channels time height width"], session: str
    ) -> Float[Tensor, "batch channels time height width"]:
        """Normalised video; outside of a learned view's field is mean grey."""
        mean, std = (
            self._constant(name, session).view(1, -1, 1, 1, 1) for name in ("video_mean", "video_std")
        )
        x = (video.to(mean.dtype) - mean) / std
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

    def behaviour(
        self,
        samples: Float[Tensor, "batch time behaviours"] | None,
        video: Shaped[Tensor, "batch channels time height width"],
        session: str,
    ) -> Float[Tensor, "batch time all_behaviours"]:
        """All of the twin's signals, normalised.

        Raises:
            DataError: the session's are missing, or of another shape.
        """
        names = self._names[session]
        expected = (len(video), video.shape[2], len(names))
        if samples is None and names:
            raise DataError(
                f"this twin was built with behaviour ({len(names)} signals) and does not predict without it; "
                "give it, or say behaviour='mean' to predict"
            )
        if samples is not None and tuple(samples.shape) != expected:
            raise DataError(f"behaviour has shape {tuple(samples.shape)}, expected {expected}")
        mean = self._constant("behaviour_mean", session)
        known = None if samples is None else (samples - mean) / self._constant("behaviour_std", session)
        if known is not None and names == self.behaviour_names:
            return known
        every = mean.new_zeros(*expected[:2], len(self.behaviour_names))
        if known is not None:
            every[..., [self.behaviour_names.index(name) for name in names]] = known
        return every

    @property
    def device(self) -> torch.device:
        """Where its constants are."""
        return self._constant("video_mean", next(iter(self._place))).device

    def _constant(self, name: str, session: str) -> Tensor:
        constant = getattr(self, f"{name}_{self._place[session]}")
        assert isinstance(constant, Tensor)
        return constant
