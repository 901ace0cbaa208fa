"""What an adapter is: the view of a session's raw video and behaviour that the core, and all else, is given."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from visioncore.config import ComponentConfig
from visioncore.errors import DataError
from visioncore.spec import SessionSpec


class BaseAdapterConfig(ComponentConfig):
    """Base of the adapters' configs. Must provide `build`, and `tiny` for the tests."""

    needs_behaviour: ClassVar[bool] = False
    """Whether its view depends on behaviour, so that there is no prediction without it."""

    @abstractmethod
    def build(self, sessions: Sequence[SessionSpec], behaviour_names: Sequence[str]) -> "Adapter":
        """The adapter of these sessions; see `Adapter`."""


class Adapter(nn.Module):
    """(x - mean) / std with the session's constants, so that mean grey is zero; then the view, `look`.

    This one looks straight. Another provides `look`, and may have parameters.

    Args:
        sessions: those of the twin, with their constants, which travel in the spec and not among the weights.
        behaviour_names: the signals that come out; one that a session lacks stands at its mean, which is zero. None
            where neither the view nor a modulator asks for behaviour.
    """

    def __init__(self, sessions: Sequence[SessionSpec], behaviour_names: Sequence[str] = ()) -> None:
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

    def forward(
        self,
        video: Shaped[Tensor, "batch channels time height width"],
        behaviour: Float[Tensor, "batch time behaviours"] | None,
        session: str,
    ) -> tuple[
        Float[Tensor, "batch channels time height width"], Float[Tensor, "batch time all_behaviours"] | None
    ]:
        """What is seen of raw video, and all of the twin's signals; None where it takes none.

        Raises:
            DataError: the session's signals are missing, or of another shape.
        """
        mean, std = (
            self._constant(name, session).view(1, -1, 1, 1, 1) for name in ("video_mean", "video_std")
        )
        signals = self._all_signals(behaviour, video, session) if self.behaviour_names else None
        return self.look((video.to(mean.dtype) - mean) / std, signals, session), signals

    def of_session(self, session: str) -> nn.Module | None:
        """What this session alone owns of the adapter, as of a head; None where that is nothing."""
        return None

    def look(
        self,
        video: Float[Tensor, "batch channels time height width"],
        behaviour: Float[Tensor, "batch time all_behaviours"] | None,
        session: str,
    ) -> Float[Tensor, "batch channels time height width"]:
        """The view of normalised video, of the same height and width.

        A frame may depend on its own sample of behaviour alone: the view has no memory.
        """
        return video

    def _all_signals(
        self,
        samples: Float[Tensor, "batch time behaviours"] | None,
        video: Shaped[Tensor, "batch channels time height width"],
        session: str,
    ) -> Float[Tensor, "batch time all_behaviours"]:
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

    def _constant(self, name: str, session: str) -> Tensor:
        constant = getattr(self, f"{name}_{self._place[session]}")
        assert isinstance(constant, Tensor)
        return constant
