"""A lower rate: several bins become one, and nothing is thrown away by skipping."""

import logging
from typing import Literal

import numpy as np
from jaxtyping import Int64, Shaped
from pydantic import Field

from visioncore.data.preparation.base import (
    BaseStepConfig,
    ChangedRecording,
    frame_bytes,
    in_pieces,
    like,
    shifted,
)
from visioncore.errors import DataError
from visioncore.recording import SessionRecording, Signal, Trial
from visioncore.spec import Sampling

_logger = logging.getLogger(__name__)


class ResampleConfig(BaseStepConfig):
    """`type: resample`: `factor` bins of before become one.

    Video is the mean over them (what a slower camera would see), counts and true rates of counts are their sums, traces
    their means. Behaviour is as it was when the bin began, so that a model never looks ahead. A response counts where
    it counted in all of them. Bins start with their trial: repeats stay repeats, and what is left over at the end of a
    trial is left out.
    """

    type: Literal["resample"] = "resample"
    factor: int = Field(ge=2)

    @classmethod
    def tiny(cls) -> "ResampleConfig":
        return cls(factor=3)

    def sampling(self, before: Sampling) -> Sampling:
        if before.rate_hz is None:
            raise DataError("step resample: these are static images, which have no rate; leave the step out")
        return before.model_copy(update={"rate_hz": before.rate_hz / self.factor})

    def apply(self, recording: SessionRecording, sampling: Sampling) -> "Resampled":
        return Resampled(recording, sampling, self.factor)


class Resampled(ChangedRecording):
    """Longer bins. Those of before that lie between trials are left out."""

    def __init__(self, before: SessionRecording, sampling: Sampling, factor: int) -> None:
        super().__init__(before)
        self._factor = factor
        self._row_bytes = {
            "video": frame_bytes(sampling) * factor,
            "behaviour": 8,
            **dict.fromkeys(("responses", "valid", "rates"), max(len(before.spec.unit_ids), 1) * 8 * factor),
        }
        starts: list[Int64[np.ndarray, " bins"]] = []
        kept: dict[int, Trial] = {}
        n = 0
        in_time = sorted(enumerate(before.trials), key=lambda numbered: numbered[1].start)
        for number, trial in in_time:
            n_bins = (trial.stop - trial.start) // factor
            if n_bins:
                starts.append(trial.start + factor * np.arange(n_bins))
                kept[number] = shifted(trial, n, n + n_bins)
                n += n_bins
        self.keep_trials(sorted(kept.items()), "resample")
        self._starts = np.concatenate(starts)
        lost = len(before.trials) - len(kept)
        if lost:
            _logger.warning(
                "session '%s', step resample: %d of %d trials are shorter than a bin and are left out",
                self.spec.id,
                lost,
                len(before.trials),
            )

    @property
    def n_bins(self) -> int:
        """Length of the session in bins."""
        return len(self._starts)

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal."""
        return in_pieces(
            start, stop, self._row_bytes[signal], lambda begin, end: self._part(signal, begin, end)
        )

    def _part(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        starts, factor = self._starts[start:stop], self._factor
        if not len(starts):
            return self.before.read(signal, 0, 0)
        # Stretches in which bin follows bin.
        cuts = np.flatnonzero(np.diff(starts) != factor) + 1
        parts = [
            self.before.read(signal, int(run[0]), int(run[-1]) + factor) for run in np.split(starts, cuts)
        ]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        together = values.reshape(len(starts), factor, *values.shape[1:])
        if signal == "behaviour":
            return together[:, 0]
        if signal == "valid":
            return np.asarray(together.all(axis=1))
        if signal == "video":
            return like(together.mean(axis=1, dtype=np.float64), values.dtype)
        if self.spec.response_kind == "counts":
            # Sums of small integers are wide ones.
            return together.sum(axis=1)
        return together.mean(axis=1, dtype=np.float64)
