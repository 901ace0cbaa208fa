"""What a readout is: features in, a drive for every unit of one session out, at every bin."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from visioncore.config import ComponentConfig
from visioncore.shapes import FeatureShape, VideoShape
from visioncore.spec import SessionSpec


class BaseReadoutConfig(ComponentConfig):
    """Base of the readouts' configs. Must provide `build`, and `tiny` for the tests."""

    @abstractmethod
    def build(
        self,
        features: FeatureShape,
        video: VideoShape,
        session: SessionSpec,
        *,
        gain: bool = False,
        shared: nn.Module | None = None,
    ) -> "Readout":
        """The readout of one session's units.

        Args:
            gain: whether it also says what scales their linear path.
            shared: of `build_shared`.
        """

    def build_shared(
        self, features: FeatureShape, video: VideoShape, sessions: Sequence[SessionSpec]
    ) -> nn.Module | None:
        """What the readouts of these sessions have in common; None where that is nothing."""
        return None


class Readout(nn.Module, ABC):
    """Base of all readouts. Must provide `signals`; a readout whose units look somewhere is a `PlacedReadout`.

    Args:
        shared: what it has in common with those of other sessions, kept as `self.shared`.
    """

    shared: nn.Module | None

    def __init__(self, shared: nn.Module | None = None) -> None:
        super().__init__()
        # Past PyTorch's register: its parameters stand once, in the heads, however many readouts use them.
        object.__setattr__(self, "shared", shared)

    @abstractmethod
    def signals(
        self, features: Float[Tensor, "batch dim tokens rows columns"], moved_px: tuple[int, int] = (0, 0)
    ) -> Float[Tensor, "batch bins signals units"]:
        """The drive of every bin under every token, and after it the gain signal where there is one.

        Token j's phases 0 … stride-1 are consecutive bins, the first that of its newest frame. The drive comes before
        the nonlinearity; a gain signal of 0 changes nothing.

        Args:
            moved_px: rows down and columns right that the video was moved by, and what each unit sees with it.
        """

    def feature_weights(self) -> Float[Tensor, "units dim"] | None:
        """How each unit weighs the core's features; None where that is not one vector per unit."""
        return None

    def dense(
        self, features: Float[Tensor, "batch dim tokens rows columns"]
    ) -> Float[Tensor, "batch bins units"]:
        """Drive of every bin under every token."""
        return self.signals(features)[:, :, 0]

    def forward(
        self,
        features: Float[Tensor, "batch dim tokens rows columns"] | Float[Tensor, "batch dim rows columns"],
    ) -> Float[Tensor, "batch units"]:
        """Drive at the newest frame of the last token."""
        newest = features[:, :, None] if features.ndim == 4 else features[:, :, -1:]
        return self.dense(newest)[:, 0]


class PlacedReadout(Readout):
    """Base of the readouts whose units each look at one place of the stimulus.

    Must also provide `masks`, `place`, `centres_px`, `widths_px` and `angles`.
    """

    @abstractmethod
    def masks(self, moved_px: tuple[int, int] = (0, 0)) -> Float[Tensor, "units places"]:
        """How much each unit weighs each place of the features' grid; sums to one over places.

        Args:
            moved_px: rows down and columns right that the video was moved by, and every unit with it.
        """

    @abstractmethod
    def place(self, centres_px: Float[Tensor, "units 2"]) -> None:
        """Put the units' centres at these rows and columns of the stimulus."""

    @abstractmethod
    def centres_px(self) -> Float[Tensor, "units 2"]:
        """Row and column of each unit's centre in pixels of the stimulus (0 to height, 0 to width)."""

    @abstractmethod
    def widths_px(self) -> Float[Tensor, "units 2"]:
        """Standard deviations along each unit's own two axes, in pixels."""

    @abstractmethod
    def angles(self) -> Float[Tensor, " units"]:
        """By which each unit's own axes are turned from down and right, in radians."""
