"""Bins that do not count, of no unit: what all masks have in common."""

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Shaped

from visioncore.data.preparation.base import ChangedRecording
from visioncore.errors import DataError
from visioncore.recording import SessionRecording, Signal

_logger = logging.getLogger(__name__)


class Masked(ChangedRecording):
    """A session in which some bins do not count.

    Args:
        masked: the bins; what counted in none of them before changes nothing.
        held: columns of the behaviour that are not known in these bins, and hold their last value there.

    Raises:
        DataError: no bin of a trial is left.
    """

    def __init__(
        self,
        before: SessionRecording,
        masked: Bool[np.ndarray, " time"],
        step: str,
        held: Sequence[int] = (),
    ) -> None:
        super().__init__(before)
        self._masked, self._held = masked, list(held)
        in_trials = np.concatenate([masked[trial.start : trial.stop] for trial in before.trials])
        if in_trials.all():
            raise DataError(
                f"session '{self.spec.id}', step {step}: masks every bin of every trial; look at its thresholds, and "
                "at the units of its signals"
            )
        _logger.info(
            "session '%s', step %s: masks %.1f %% of the bins", self.spec.id, step, 100 * in_trials.mean()
        )

    def read(self, signal: Signal, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal."""
        values = self.before.read(signal, start, stop)
        masked = self._masked[start:stop]
        if signal == "valid":
            return values & ~masked[:, None]
        if signal == "behaviour" and self._held:
            values = values.astype(np.float32)
            for column in self._held:
                values[masked, column] = np.nan
        return values


def widened(masked: Bool[np.ndarray, " time"], n_bins: int) -> Bool[np.ndarray, " time"]:
    """Each masked bin with so many on either side."""
    if not n_bins:
        return masked
    so_far = np.concatenate([[0], np.cumsum(masked)])
    bins = np.arange(len(masked))
    first, stop = np.maximum(bins - n_bins, 0), np.minimum(bins + n_bins + 1, len(masked))
    return np.asarray(so_far[stop] > so_far[first])
