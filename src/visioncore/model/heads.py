"""The heads: what each session owns, from features to rates: readout, plus the linear path, then output."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visioncore.errors import DataError
from visioncore.model.linear import BaseLinearConfig, LinearPath, gain_factor
from visioncore.model.outputs import BaseOutputConfig, BaseTraceOutputConfig, RateOutput
from visioncore.model.readouts import BaseReadoutConfig, Readout
from visioncore.shapes import FeatureShape, VideoShape
from visioncore.spec import DataSpec


class HeadState(NamedTuple):
    """What the linear path keeps; and, in `pending`, what the readout says of bins that are not yet due."""

    linear: Tensor | None
    pending: Float[Tensor, "batch ahead signals units"]


class Head(nn.Module):
    """One session's way from features to rates.

    Args:
        readout: none where there is no core.
        linear: none where the model has no linear path.
        gain: whether the readout scales the linear path.
        stride: frames per token.
    """

    def __init__(
        self,
        readout: Readout | None,
        linear: LinearPath | None,
        output: RateOutput,
        *,
        stride: int,
        gain: bool,
    ) -> None:
        super().__init__()
        self.readout, self.linear, self.output = readout, linear, output
        self.stride, self.gain = stride, gain

    def advance(
        self,
        state: HeadState | None,
        video: Float[Tensor, "batch channels time height width"],
        features: Float[Tensor, "batch dim tokens rows columns"] | None,
        moved_px: tuple[int, int] = (0, 0),
    ) -> tuple[Float[Tensor, "batch time units"], HeadState]:
        """Rates of this chunk's bins; NaN before the first token of a video is complete.

        Args:
            video: as the adapter sees it.
            moved_px: rows down and columns right that the core saw it moved by.
        """
        batch, n_bins, n_units = len(video), video.shape[2], len(self.output.bias)
        if state is None:
            pending = video.new_zeros(batch, self.stride - 1, 1 + self.gain, n_units)
            pending[:, :, 0] = float("nan")
        else:
            pending = state.pending
        if self.readout is None or features is None:
            drive = video.new_zeros(batch, n_bins, n_units)
        else:
            found = self.readout.signals(features, moved_px)
            signals = torch.cat((pending, found.to(video.dtype)), dim=1)
            due, pending = signals[:, :n_bins], signals[:, n_bins:]
            drive = due[:, :, 0]
        linear_state = None
        if self.linear is not None:
            direct, linear_state = self.linear.advance(state.linear if state else None, video)
            drive = drive + self.linear.bent(direct * gain_factor(due[:, :, 1]) if self.gain else direct)
        # Not softplus(NaN): its gradient would be NaN too, even where the loss masks it out.
        unpredicted = drive.isnan()
        rates = self.output(drive.masked_fill(unpredicted, 0.0)).masked_fill(unpredicted, float("nan"))
        return rates, HeadState(linear_state, pending)


class Heads(nn.Module):
    """The heads of all sessions, by id, and the parameters that readouts of several sessions share.

    Args:
        features: what the trunk gives; None where there is no core.
        gain: whether readouts scale their linear paths.
    """

    def __init__(
        self,
        readout: BaseReadoutConfig,
        linear: BaseLinearConfig,
        output: BaseOutputConfig,
        trace_output: BaseTraceOutputConfig,
        *,
        features: FeatureShape | None,
        spec: DataSpec,
        gain: bool,
    ) -> None:
        super().__init__()
        video = VideoShape(spec.sampling.channels, spec.sampling.height, spec.sampling.width)
        sessions = spec.sessions
        self.shared = None if features is None else readout.build_shared(features, video, sessions)
        # Part by part: the weights that a seed draws do not depend on how parts are held.
        readouts: Sequence[Readout | None] = (
            [None] * len(sessions)
            if features is None
            else [readout.build(features, video, own, gain=gain, shared=self.shared) for own in sessions]
        )
        linears = [linear.build(video, len(own.unit_ids), spec.bins_per_s) for own in sessions]
        outputs = [
            trace_output.build(len(own.unit_ids))
            if own.response_kind == "trace"
            else output.build(len(own.unit_ids), own.normalisation.count_scale)
            for own in sessions
        ]
        stride = features.stride if features else 1
        # By position, since session ids may hold any character; the twin's spec has the ids.
        self.sessions = nn.ModuleList(
            Head(*parts, stride=stride, gain=gain) for parts in zip(readouts, linears, outputs, strict=True)
        )
        self._place = {session.id: i for i, session in enumerate(sessions)}

    def __getitem__(self, session: str) -> Head:
        """The head of a session.

        Raises:
            DataError: there is none.
        """
        if session not in self._place:
            raise DataError(f"no session {session!r} in this twin; it has {', '.join(self._place) or 'none'}")
        head = self.sessions[self._place[session]]
        assert isinstance(head, Head)
        return head

    def __iter__(self) -> Iterator[Head]:
        """In the order of the spec."""
        return (self[session] for session in self._place)
