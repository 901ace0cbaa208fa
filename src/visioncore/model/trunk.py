"""The trunk: what all sessions share, from raw video and behaviour to features: adapter -> core -> modulator."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from visioncore.model.adapters import BaseAdapterConfig
from visioncore.model.cores import BaseCoreConfig
from visioncore.model.extras import Extras, within
from visioncore.model.modulators import BaseModulatorConfig
from visioncore.shapes import VideoShape
from visioncore.spec import DataSpec


class TrunkState(NamedTuple):
    """What the past leaves behind in the core and in the modulator."""

    core: Any
    modulator: Any


class Seen(NamedTuple):
    """Video and behaviour as the adapter sees them, which is what core, modulator and linear path take."""

    video: Float[Tensor, "batch channels time height width"]
    behaviour: Float[Tensor, "batch time all_behaviours"] | None

    @staticmethod
    def together(parts: list["Seen"]) -> "Seen":
        """As one batch."""
        behaviours = [part.behaviour for part in parts if part.behaviour is not None]
        return Seen(torch.cat([part.video for part in parts]), torch.cat(behaviours) if behaviours else None)


class Trunk(nn.Module):
    """`look`, which is a session's own, and then `advance`, which takes clips of all sessions as one batch.

    Args:
        behaviour_channels: whether the core sees each signal as a channel of the video.
    """

    def __init__(
        self,
        adapter: BaseAdapterConfig,
        core: BaseCoreConfig,
        modulator: BaseModulatorConfig,
        spec: DataSpec,
        *,
        behaviour_channels: bool = False,
    ) -> None:
        super().__init__()
        names = spec.behaviour_names
        self.behaviour_channels = behaviour_channels
        channels = spec.sampling.channels + behaviour_channels * len(names)
        seen = core.build(VideoShape(channels, spec.sampling.height, spec.sampling.width))
        modulated = modulator.build(seen.out_shape, len(names)) if seen else None
        self.uses_behaviour = modulated is not None or adapter.needs_behaviour or behaviour_channels
        self.adapter = adapter.build(spec.sessions, names if self.uses_behaviour else ())
        self.core, self.modulator = seen, modulated

    @property
    def stride(self) -> int:
        """Frames per token; 1 where there is no core."""
        return self.core.out_shape.stride if self.core else 1

    def look(
        self,
        video: Shaped[Tensor, "batch channels time height width"],
        behaviour: Float[Tensor, "batch time behaviours"] | None,
        session: str,
    ) -> Seen:
        """A session's raw video and behaviour as they are seen; behaviour that nothing uses is left out."""
        return Seen(*self.adapter(video, behaviour if self.uses_behaviour else None, session))

    def advance(
        self, state: TrunkState | None, seen: Seen
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"] | None, TrunkState]:
        """Features of the tokens that this chunk completes; None where there is no core."""
        if self.core is None:
            return None, TrunkState(None, None)
        video = self._core_input(seen)
        return self._modulated(state, seen, *self.core.advance(state.core if state else None, video))

    def advance_with_extras(
        self, state: TrunkState | None, seen: Seen
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"] | None, TrunkState, Extras]:
        """`advance`, and what the core says beside it: what training calls."""
        if self.core is None:
            return None, TrunkState(None, None), {}
        features, core, said = self.core.advance_with_extras(
            state.core if state else None, self._core_input(seen)
        )
        return (*self._modulated(state, seen, features, core), within("core", said))

    def _core_input(self, seen: Seen) -> Float[Tensor, "batch all_channels time height width"]:
        """The video; and with `behaviour_channels` each signal as a channel, the same at every place."""
        if not self.behaviour_channels:
            return seen.video
        assert seen.behaviour is not None
        signals = seen.behaviour.transpose(1, 2)[..., None, None].to(seen.video.dtype)
        return torch.cat((seen.video, signals.expand(-1, -1, -1, *seen.video.shape[-2:])), dim=1)

    def _modulated(
        self, state: TrunkState | None, seen: Seen, features: Tensor, core: Any
    ) -> tuple[Tensor, TrunkState]:
        if self.modulator is None:
            return features, TrunkState(core, None)
        assert seen.behaviour is not None
        before = state.modulator if state else None
        features, modulator = self.modulator.advance(before, features, seen.behaviour)
        return features, TrunkState(core, modulator)

    def of_session(self, session: str) -> nn.Module | None:
        """What this session alone owns of the trunk; None where that is nothing."""
        return self.adapter.of_session(session)

    def take_over(self, other: "Trunk", sessions: Iterable[str], others: Iterable[str]) -> None:
        """Give it the weights of another: all that sessions share, and what each of `sessions`, which both have, owns.

        Args:
            others: all sessions of the other.
        """
        owned = {id(weight) for session in others for weight in _weights(other.of_session(session))}
        shared = {name: w for name, w in other.state_dict(keep_vars=True).items() if id(w) not in owned}
        lacking, left_over = self.load_state_dict(shared, strict=False)
        assert not left_over
        assert len(lacking) == len(self.state_dict()) - len(shared)
        for session in sessions:
            own, theirs = self.of_session(session), other.of_session(session)
            if own is not None and theirs is not None:
                own.load_state_dict(theirs.state_dict())

    def history_frames(self) -> int | None:
        """How many frames back the features can depend on; None without bound."""
        if self.modulator is not None:
            return None
        if self.core is None:
            return 1
        core = self.core.history_frames()
        return None if core is None else core + self.stride - 1


def _weights(module: nn.Module | None) -> Iterable[Any]:
    return () if module is None else module.state_dict(keep_vars=True).values()
