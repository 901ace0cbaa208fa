"""What a core is: video in, a feature map per token out, causally, through `advance`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from visioncore.config import ComponentConfig
from visioncore.model.extras import Extras
from visioncore.model.stage import Stage, count, shape_text
from visioncore.shapes import FeatureShape, VideoShape

S = TypeVar("S")


class BaseCoreConfig(ComponentConfig):
    """Base of the cores' configs. Must provide `build`, and `tiny` for the tests."""

    @abstractmethod
    def build(self, video: VideoShape) -> "Core[Any] | None":
        """The core for such frames."""

    def for_counting(self) -> "BaseCoreConfig":
        """The same core, made of operations that a counter of FLOPs knows, each of them run once."""
        return self


class Core(nn.Module, ABC, Generic[S]):
    """Base of all cores.

    Must provide: `out_shape`, `advance`. Token j's features may depend on frames up to j·stride + stride - 1 and no
    later; before the video stands mean grey (zero). A chunk shorter than a stride may yield no token.
    """

    out_shape: FeatureShape
    sees_video: ClassVar[bool] = True
    """Whether frames reach the features. Where they do not, readouts have nowhere to look."""

    @abstractmethod
    def advance(
        self, state: S | None, video: Float[Tensor, "batch channels time height width"]
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"], S]:
        """Features of the tokens that this chunk completes, and the state for the next chunk."""

    def advance_with_extras(
        self, state: S | None, video: Float[Tensor, "batch channels time height width"]
    ) -> tuple[Float[Tensor, "batch dim tokens rows columns"], S, Extras]:
        """`advance`, and what the core says beside it (`visioncore.model.extras`): what training calls.

        A core with losses or statistics of its own provides this one, and `advance` by leaving its extras out.
        """
        return (*self.advance(state, video), {})

    def stride_setting(self, frames: int) -> str:
        """The override, as `--set` spells it, that sets the stride in frames."""
        return f"the core's temporal stride to {frames}"

    def last_blocks(self) -> Sequence[nn.Module]:
        """What stands nearest the readouts, and can be trained with the rest left as it is; nothing where it is one
        whole.
        """
        return ()

    def history_frames(self) -> int | None:
        """How many frames back a token's features can depend on; None without bound."""
        return None

    def stages(self, clip_frames: int) -> list[Stage]:
        """What `describe` shows of the core's stages, for a clip of `clip_frames` frames."""
        out = self.out_shape
        shape = shape_text(out.channels, clip_frames // out.stride, out.rows, out.columns)
        return [Stage("core output", shape, count(self))]

    def span_tokens(self, clip_frames: int) -> int | None:
        """How many tokens of a clip one attention over time sees at most; None where there is none."""
        return None

    def notes(self) -> list[str]:
        """What `describe` should say of this core beyond its shapes (padding, cropping)."""
        return []

    def warnings(self, clip_frames: int) -> list[str]:
        """What `describe` should warn of, for a clip of `clip_frames` frames."""
        return []
