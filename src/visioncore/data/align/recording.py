"""A session on bins: spikes counted in [t, t+dt) of the frame that is shown then, everything else as it was at t.

Nothing is read before it is asked for, so a session may be larger than memory. Nothing looks ahead: behaviour is the
last sample taken at or before the start of a bin, never one interpolated with the next.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped

from visioncore.data.align.bins import Bins, make_bins
from visioncore.data.align.clocked import ClockedSession, Events, Intervals, Shown, Signal
from visioncore.data.align.plausible_times import require_plausible_spikes
from visioncore.data.align.sync import ClockMap
from visioncore.errors import DataError
from visioncore.recording import Alignment, ClockResiduals, Trial
from visioncore.recording import Signal as SignalName

LONGEST_HOLD_SAMPLES, LONGEST_HOLD_S = 3.0, 0.1
"""A sample of behaviour holds for the longer of these: samples of its own clock, and seconds. Then it is unknown."""
MOST_RESIDUALS = 400

_ROUNDING = 1e-3
"""Share of a bin by which ends of intervals and bins miss each other in files, and mean the same moment."""


def align(session: ClockedSession, rate_hz: float) -> "AlignedRecording":
    """A session on bins of 1/`rate_hz` seconds, cut by its frames (`make_bins`).

    Raises:
        DataError: no bins can be made, responses and frames do not overlap, or times are in another unit.
    """
    return AlignedRecording(
        session, make_bins(session.frames, session.shown, rate_hz, even=session.even_bins)
    )


class AlignedRecording:
    """A `SessionRecording` over signals that have clocks of their own."""

    def __init__(self, session: ClockedSession, bins: Bins) -> None:
        self.spec, self.bins, self.session = session.spec, bins, session
        self.missing = session.missing
        self.unit_truth: Mapping[str, Sequence[Any]] = session.unit_truth
        self.trials = tuple(
            _trial(session.shown[s.trial], s.start, s.stop, s.from_frame, s.whole) for s in bins.stretches
        )
        self.trial_columns = {
            name: tuple(values[stretch.trial] for stretch in bins.stretches)
            for name, values in session.trial_columns.items()
        }
        self._events: Events | None = None
        self._traces: tuple[_OnBins, ...] = ()
        if isinstance(session.responses, Events):
            self._events = session.responses.in_order()
            require_plausible_spikes(self._events, bins, len(self.spec.unit_ids))
        elif session.responses is not None:
            self._traces = tuple(_OnBins(signal, bins) for signal in session.responses)
            self._require_columns()
        self._held = tuple(_held_samples(signal, bins) for signal in session.behaviour)
        names = [name for signal in session.behaviour for name in signal.names]
        if tuple(names) != self.spec.behaviour_names:
            raise DataError(
                f"session '{self.spec.id}': behaviour has {', '.join(names) or 'nothing'}, and its spec names "
                f"{', '.join(self.spec.behaviour_names) or 'nothing'}"
            )
        self._counts, invalid_s = self._bins_that_count()
        self.alignment = _what_was_found(session, bins, invalid_s)

    @property
    def n_bins(self) -> int:
        """Length of the session in bins."""
        return len(self.bins)

    @property
    def signals(self) -> tuple[SignalName, ...]:
        """Which signals there are."""
        found: list[SignalName] = ["video", "valid"]
        if self.session.responses is not None:
            found.append("responses")
        if self.session.behaviour:
            found.append("behaviour")
        return tuple(found)

    def read(self, signal: SignalName, start: int, stop: int) -> Shaped[np.ndarray, "time ..."]:
        """Bins [start, stop) of a signal."""
        if signal == "video":
            return self._video(start, stop)
        if signal == "valid":
            return self._valid(start, stop)
        if signal == "behaviour":
            return self._behaviour(start, stop)
        if signal == "responses":
            return self._spike_counts(start, stop) if self._events is not None else self._trace(start, stop)
        raise KeyError(signal)

    def where(self, signal: SignalName) -> str:
        """The session, and the file and field that a signal is from."""
        session = self.session
        places = {
            "video": session.frames.where,
            "behaviour": ", ".join(s.where for s in session.behaviour),
            "responses": session.responses.where
            if isinstance(session.responses, Events)
            else ", ".join(dict.fromkeys(s.where for s in session.responses or ())),
        }
        place = places.get(signal)
        return (
            f"session '{self.spec.id}', {place}, {signal}" if place else f"session '{self.spec.id}', {signal}"
        )

    def close(self) -> None:
        """Nothing is held open: lazy values belong to their source."""

    def _video(self, start: int, stop: int) -> Shaped[np.ndarray, "time channels height width"]:
        frames = self.session.frames
        first, last = self.bins.first_frame[start:stop], self.bins.stop_frame[start:stop]
        if not len(first):
            return np.zeros((0, *frames.pictures.shape), frames.pictures.dtype)
        numbers = frames.picture[first]
        # One reading of each picture, however long it stays.
        wanted, at = np.unique(np.maximum(numbers, 0), return_inverse=True)
        video = frames.pictures.read(wanted)[at]
        for row in np.flatnonzero(self._shows_several(start, stop)):
            video[row] = self._mean_picture(start + int(row), first[row], last[row], video.dtype)
        unknown = numbers < 0
        if unknown.any():
            video[unknown] = 0 if video.dtype == np.uint8 else np.nan
        return video

    def _shows_several(self, start: int, stop: int) -> Bool[np.ndarray, " time"]:
        """Whether a bin has frames that show different pictures."""
        first, last = self.bins.first_frame[start:stop], self.bins.stop_frame[start:stop]
        picture = self.session.frames.picture
        changes = np.concatenate([[0], np.cumsum(picture[1:] != picture[:-1])])
        return changes[last - 1] != changes[first]

    def _mean_picture(
        self, row: int, first: int, stop: int, dtype: np.dtype
    ) -> Shaped[np.ndarray, "channels height width"]:
        frames, begin, end = self.session.frames, self.bins.start_s[row], self.bins.stop_s[row]
        onsets = np.maximum(frames.times_s[first:stop], begin)
        onsets[0] = begin
        share = np.diff(np.append(onsets, end)) / (end - begin)
        pictures = frames.pictures.read(np.maximum(frames.picture[first:stop], 0)).astype(np.float64)
        mean = np.tensordot(share, pictures, axes=1)
        return np.round(mean).astype(dtype) if dtype == np.uint8 else mean.astype(dtype)

    def _valid(self, start: int, stop: int) -> Bool[np.ndarray, "time valid_units"]:
        valid = self._counts[start:stop, None]
        if self._traces:
            return valid & ~np.isnan(self._trace(start, stop))
        if self._events is not None and self._events.held is not None:
            begin, end = self.bins.start_s[start:stop], self.bins.stop_s[start:stop]
            own = [_mostly_held(held, begin, end) for held in self._events.held]
            return valid & np.stack(own, axis=1)
        return valid

    def _behaviour(self, start: int, stop: int) -> Float32[np.ndarray, "time behaviours"]:
        columns = []
        for signal, held in zip(self.session.behaviour, self._held, strict=True):
            columns.append(_rows(signal.values, held[start:stop]))
        return np.concatenate(columns, axis=1).astype(np.float32)

    def _spike_counts(self, start: int, stop: int) -> Int64[np.ndarray, "time units"]:
        assert self._events is not None
        n_units, times = len(self.spec.unit_ids), self._events.times_s
        begin, end = self.bins.start_s[start:stop], self.bins.stop_s[start:stop]
        if not len(begin):
            return np.zeros((0, n_units), np.int64)
        first, last = np.searchsorted(times, begin), np.searchsorted(times, end)
        spike = _ranges(first, last)
        row = np.repeat(np.arange(len(begin)), last - first)
        cell = row * n_units + self._events.unit[spike]
        return np.bincount(cell, minlength=len(begin) * n_units).reshape(len(begin), n_units)

    def _trace(self, start: int, stop: int) -> Float32[np.ndarray, "time units"]:
        return np.concatenate([plane.read(start, stop) for plane in self._traces], axis=1)

    def _require_columns(self) -> None:
        n = sum(len(plane.signal.names) for plane in self._traces)
        if n != len(self.spec.unit_ids):
            raise DataError(
                f"session '{self.spec.id}': traces of {n} units for {len(self.spec.unit_ids)} unit ids"
            )
        if not any(plane.last.max(initial=0) > plane.first.min(initial=0) for plane in self._traces):
            raise DataError(
                f"{self.where('responses')}: no sample lies in the time of the frames "
                f"({self.bins.start_s[0]:.3f} to {self.bins.stop_s[-1]:.3f} s); are both on one clock?"
            )

    def _bins_that_count(self) -> tuple[Bool[np.ndarray, " time"], dict[str, float]]:
        """Bins of which picture and behaviour are known and that nothing marks as invalid; and why how much is not."""
        start_s, stop_s = self.bins.start_s, self.bins.stop_s
        wrong = {
            f"{self.session.frames.where}: no picture": self.session.frames.picture[self.bins.first_frame] < 0
        }
        for intervals in self.session.invalid:
            marked = intervals.overlap(start_s, stop_s) > (stop_s - start_s) * _ROUNDING
            wrong[intervals.where] = wrong.get(intervals.where, False) | marked
        for signal, held in zip(self.session.behaviour, self._held, strict=True):
            wrong[f"{signal.where}: unknown"] = (held < 0) | _unknown_rows(signal, held)
        counts = ~np.any(list(wrong.values()), axis=0)
        invalid_s = {why: float((stop_s - start_s)[bins].sum()) for why, bins in wrong.items() if bins.any()}
        if not counts.any():
            told = "; ".join(f"{why} in {seconds:.3g} s" for why, seconds in invalid_s.items())
            raise DataError(
                f"session '{self.spec.id}': no bin is left in which picture and behaviour are known and nothing is "
                f"marked as invalid ({told} of {(stop_s - start_s).sum():.3g} s); leave out the signal that is unknown"
            )
        return counts, invalid_s


class _OnBins:
    """A trace on bins: the mean of the samples that were taken in a bin; NaN where there is none."""

    def __init__(self, signal: Signal, bins: Bins) -> None:
        self.signal, self._bins = signal, bins
        early, late = (0.0, 0.0) if signal.shift_s is None else (signal.shift_s.min(), signal.shift_s.max())
        self.first = np.searchsorted(signal.times_s, bins.start_s - late)
        self.last = np.searchsorted(signal.times_s, bins.stop_s - early)

    def read(self, start: int, stop: int) -> Float32[np.ndarray, "time units"]:
        """Bins [start, stop)."""
        if self.signal.shift_s is not None:
            return self._of_shifted(start, stop)
        first, last = self.first[start:stop], self.last[start:stop]
        read = np.full((len(first), len(self.signal.names)), np.nan, np.float32)
        taken = np.flatnonzero(last > first)
        if not len(taken):
            return read
        read[taken] = _rows(self.signal.values, first[taken])
        for row in np.flatnonzero(last - first > 1):
            read[row] = np.asarray(self.signal.values[first[row] : last[row]], np.float64).mean(axis=0)
        return read

    def _of_shifted(self, start: int, stop: int) -> Float32[np.ndarray, "time units"]:
        """Each column at the times at which it was sampled."""
        shape = stop - start, len(self.signal.names)
        low, high = (
            (int(self.first[start:stop].min()), int(self.last[start:stop].max())) if stop > start else (0, 0)
        )
        if high <= low:
            return np.full(shape, np.nan, np.float32)
        values = np.asarray(self.signal.values[low:high], np.float64)
        first, last = (
            self._samples_before(edges[start:stop], low, high)
            for edges in (self._bins.start_s, self._bins.stop_s)
        )
        sums, n = np.zeros(shape), last - first
        for k in range(int(n.max(initial=0))):
            sample = np.take_along_axis(values, np.minimum(first + k, high - low - 1), axis=0)
            sums += np.where(k < n, sample, 0.0)
        return np.divide(sums, n, out=np.full(shape, np.nan), where=n > 0).astype(np.float32)

    def _samples_before(
        self, edges_s: Float64[np.ndarray, " time"], low: int, high: int
    ) -> Int64[np.ndarray, "time units"]:
        """How many of the samples [low, high) of each column were taken before each edge."""
        shift_s = self.signal.shift_s
        assert shift_s is not None
        times = np.append(self.signal.times_s[low:high], np.inf)
        surely = np.searchsorted(times, edges_s - shift_s.max())
        perhaps = np.searchsorted(times, edges_s - shift_s.min())
        before = np.repeat(surely[:, None], len(shift_s), axis=1)
        for k in range(int((perhaps - surely).max(initial=0))):
            times_s = times[np.minimum(surely + k, high - low)]
            before += times_s[:, None] + shift_s < edges_s[:, None]
        return before.astype(np.int64)


def _what_was_found(session: ClockedSession, bins: Bins, invalid_s: dict[str, float]) -> Alignment:
    length_s = bins.stop_s - bins.start_s
    in_trials = np.concatenate([np.arange(trial.start, trial.stop) for trial in session.shown])
    n_bins_of_frame = np.bincount(bins.first_frame, minlength=len(session.frames.times_s))
    seen = np.zeros(len(n_bins_of_frame) + 1, np.int64)
    np.add.at(seen, bins.first_frame, 1)
    np.add.at(seen, bins.stop_frame, -1)
    usual = max(int(np.median(n_bins_of_frame[in_trials])), 1)
    return Alignment(
        n_frames=len(in_trials),
        n_bins=len(bins),
        bin_hz=float(1 / np.mean(length_s)),
        held_frames=int((n_bins_of_frame[in_trials] > usual).sum()),
        unseen_frames=int((np.cumsum(seen[:-1])[in_trials] == 0).sum()),
        breaks=len(bins.stretches) - len({stretch.trial for stretch in bins.stretches}),
        invalid_s=invalid_s,
        clocks={clock.where: _thinned(clock) for clock in session.clocks},
    )


def _thinned(clock: ClockMap) -> ClockResiduals:
    shown = np.unique(np.linspace(0, len(clock.from_s) - 1, MOST_RESIDUALS).astype(int))
    return ClockResiduals(
        times_s=tuple(clock.to_s[shown].tolist()),
        residuals_ms=tuple((1e3 * clock.residuals_s[shown]).tolist()),
    )


def _trial(shown: Shown, start: int, stop: int, from_frame: int, whole: bool) -> Trial:
    """Of a part of a trial the stimulus is a part, and must not be taken for a repeat of the whole."""
    stimulus_id, group = shown.stimulus_id, shown.group
    if stimulus_id is not None and not whole:
        stimulus_id, group = f"{stimulus_id}, frames from {from_frame}", group or stimulus_id
    return Trial(start, stop, shown.split, stimulus_id, group, shown.kind)


def _held_samples(signal: Signal, bins: Bins) -> Int64[np.ndarray, " time"]:
    """The last sample at or before the start of each bin; −1 where it is too old, or there is none."""
    held = np.searchsorted(signal.times_s, bins.start_s + 1e-9, side="right") - 1
    usual = float(np.median(np.diff(signal.times_s))) if len(signal.times_s) > 1 else 0.0
    longest = max(LONGEST_HOLD_SAMPLES * usual, LONGEST_HOLD_S)
    age = bins.start_s - signal.times_s[np.maximum(held, 0)]
    return np.where((held >= 0) & (age <= longest), held, -1)


def _unknown_rows(signal: Signal, held: Int64[np.ndarray, " time"]) -> Bool[np.ndarray, " time"]:
    unknown = np.zeros(len(held), bool)
    at_once = 2**16
    for start in range(0, len(held), at_once):
        rows = _rows(signal.values, held[start : start + at_once])
        unknown[start : start + at_once] = ~np.isfinite(rows).all(axis=1)
    return unknown


def _rows(values: Any, numbers: Int64[np.ndarray, " some"]) -> Float64[np.ndarray, "some columns"]:
    """Rows of an array that may lie in a file, read as one slice; a row of −1 is NaN."""
    known = numbers[numbers >= 0]
    if not len(known):
        return np.full((len(numbers), values.shape[1]), np.nan)
    low, high = int(known.min()), int(known.max()) + 1
    rows = np.asarray(values[low:high], np.float64)[np.maximum(numbers - low, 0)]
    rows[numbers < 0] = np.nan
    return rows


def _mostly_held(
    held: Intervals | None, start_s: Float64[np.ndarray, " time"], stop_s: Float64[np.ndarray, " time"]
) -> Bool[np.ndarray, " time"]:
    """Bins in which a unit was observed from start to stop, up to rounding."""
    if held is None:
        return np.ones(len(start_s), bool)
    return held.overlap(start_s, stop_s) >= (stop_s - start_s) * (1 - _ROUNDING)


def _ranges(first: Int64[np.ndarray, " rows"], last: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " all"]:
    """All numbers of all ranges [first, last), one range after the other."""
    n = last - first
    begins = np.repeat(first - (np.cumsum(n) - n), n)
    return begins + np.arange(len(begins))
