"""Spike times that cannot be seconds on the clock of the frames."""

import numpy as np

from visioncore.data.align.bins import Bins
from visioncore.data.align.clocked import Events
from visioncore.errors import DataError

_FEWEST = 20
"""So many whole numbers are no accident."""
_SLOWEST_HZ = 0.05
"""Mean rate of a unit below which times look stretched."""
_REMEDY = "give seconds, on the clock of the frames (or say how they map: `sync`)"


def require_plausible_spikes(events: Events, bins: Bins, n_units: int) -> None:
    """Refuse spikes that are numbered, or in milliseconds, or nowhere near the frames.

    Args:
        events: in order.

    Raises:
        DataError: naming the file and field, what was found and what to do.
    """
    times, where = events.times_s, events.where
    begin, end = bins.start_s[0], bins.stop_s[-1]
    if not len(times):
        raise DataError(f"{where}: no spike at all; leave the session out, or mend the choice of units")
    in_film = int(np.searchsorted(times, end) - np.searchsorted(times, begin))
    found = (
        f"{in_film} of {len(times)} spikes fall into the time of the frames ({begin:.3f} to {end:.3f} s; spikes from "
        f"{times[0]:.6g} to {times[-1]:.6g})"
    )
    if (
        len(times) >= _FEWEST
        and (times == np.round(times)).all()
        and times[-1] - times[0] > 2 * len(times) / n_units
    ):
        raise DataError(f"{where}: spike times are whole numbers, as sample numbers are; {found}; {_REMEDY}")
    span_s = times[-1] - times[0]
    rate_hz = len(times) / max(n_units, 1) / max(span_s, 1e-9)
    stretched = span_s > 20 * (end - begin) and rate_hz < _SLOWEST_HZ
    if stretched:
        raise DataError(
            f"{where}: {found}, and a unit has {rate_hz:.2g} spikes a second; are these milliseconds? {_REMEDY}"
        )
    if not in_film:
        raise DataError(f"{where}: {found}; {_REMEDY}")
