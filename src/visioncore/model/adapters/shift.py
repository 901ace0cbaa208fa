"""A learned look to the side, per session: what is left of a wrong calibration of the eye tracker."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from visioncore.errors import ConfigError
from visioncore.model.adapters.base import Adapter, BaseAdapterConfig
from visioncore.spec import SessionSpec


class ShiftAdapterConfig(BaseAdapterConfig):
    """Normalise, then look further down and right by a shift that is linear in some signals; it starts at zero."""

    needs_behaviour: ClassVar[bool] = True
    type: Literal["shift"] = "shift"
    signals: tuple[str, ...] = ()
    """Names of the signals, such as gaze or pupil position; all of them when left out."""
    largest: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25
    """Towards which shifts level off, as a share of the frame's height."""

    @classmethod
    def tiny(cls) -> "ShiftAdapterConfig":
        return cls()

    def build(self, sessions: Sequence[SessionSpec], behaviour_names: Sequence[str]) -> "ShiftAdapter":
        if lacking := [name for name in self.signals if name not in behaviour_names]:
            raise ConfigError(
                f"adapter 'shift' looks at the signal {lacking[0]!r}, and the data have "
                f"{', '.join(behaviour_names) or 'none'}; name some of these in model.adapter.params.signals"
            )
        if not behaviour_names:
            raise ConfigError(
                "adapter 'shift' needs behaviour, and the data have none; set 'adapter: {type: none}'"
            )
        return ShiftAdapter(self, sessions, behaviour_names)


class View(nn.Module):
    """How far one session's signals move its view: heights of the frame, down and right, per standard deviation."""

    never_decayed: ClassVar[frozenset[str]] = frozenset({"per_signal"})

    def __init__(self, n_signals: int) -> None:
        super().__init__()
        self.per_signal = nn.Parameter(torch.zeros(2, n_signals))


class ShiftAdapter(Adapter):
    """There is no constant shift: positions of the readouts and filters have that already. Outside is mean grey.

    Source: the shifter of Sinz et al. 2018, "Stimulus domain transfer in recurrent models for large scale cortical
    population prediction on video".
    """

    def __init__(
        self, config: ShiftAdapterConfig, sessions: Sequence[SessionSpec], behaviour_names: Sequence[str]
    ) -> None:
        super().__init__(sessions, behaviour_names)
        self.signals = config.signals or tuple(behaviour_names)
        self._columns = [self.behaviour_names.index(name) for name in self.signals]
        self._largest = config.largest
        self.views = nn.ModuleList(View(len(self.signals)) for _ in sessions)

    def of_session(self, session: str) -> View:
        view = self.views[self._place[session]]
        assert isinstance(view, View)
        return view

    def shift(
        self, behaviour: Float[Tensor, "batch time all_behaviours"], session: str
    ) -> Float[Tensor, "batch time 2"]:
        """Heights of the frame, down and right, of normalised signals."""
        moved = behaviour[..., self._columns] @ self.of_session(session).per_signal.T
        return self._largest * torch.tanh(moved / self._largest)

    def look(
        self,
        video: Float[Tensor, "batch channels time height width"],
        behaviour: Float[Tensor, "batch time all_behaviours"] | None,
        session: str,
    ) -> Float[Tensor, "batch channels time height width"]:
        assert behaviour is not None
        batch, _, time, height, width = video.shape
        down, right = self.shift(behaviour, session).flatten(0, 1).unbind(-1)
        # A frame spans two of `affine_grid`'s units along both axes, whatever its shape.
        shift = torch.stack((2 * right * height / width, 2 * down), dim=-1)
        straight = torch.eye(2).to(shift).expand(len(shift), -1, -1)
        frames = video.transpose(1, 2).flatten(0, 1)
        grid = functional.affine_grid(
            torch.cat((straight, shift[:, :, None]), dim=2), list(frames.shape), align_corners=False
        )
        seen = functional.grid_sample(frames, grid, align_corners=False)
        return seen.unflatten(0, (batch, time)).transpose(1, 2)
