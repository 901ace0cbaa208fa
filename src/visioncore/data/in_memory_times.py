"""Signals in memory that have times of their own, as `align` takes them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, get_args

import numpy as np
from jaxtyping import Float64

from visioncore.data.align import ClockedSession, Events, Frames, Intervals, PicturesInMemory, Shown, Signal
from visioncore.errors import DataError
from visioncore.recording import Split
from visioncore.spec import Columns, Geometry, ResponseKind, SessionSpec


class Given(NamedTuple):
    """What was handed in, as it is."""

    video: Any
    responses: Any
    frame_times_s: Any
    behaviour: Any
    behaviour_names: Sequence[str] | None
    valid: Any
    trials: Any
    unit_ids: Sequence[Any] | None
    units: Mapping[str, Sequence[Any]] | None
    stimulus_id: Sequence[Any] | None
    split: Sequence[str] | None
    sampling_rate_hz: float | None

    @property
    def has_times(self) -> bool:
        """Whether frames have times.

        Raises:
            DataError: they have none, and something else has.
        """
        if self.frame_times_s is not None or _is_timed(self.video):
            return True
        timed = {
            "responses": _is_timed(self.responses) or _is_group(self.responses),
            "behaviour": any(_is_timed(own) for own in _each(self.behaviour)),
            "valid": _is_stretches(self.valid),
            "trials": _is_stretches(self.trials),
        }
        for name in (name for name, has_times in timed.items() if has_times):
            raise DataError(
                f"{name} has times of its own ({type(getattr(self, name)).__name__}), and the frames have none: give "
                "frame_times_s"
            )
        return False


def clocked(given: Given, session: str, subject: str, kind: ResponseKind) -> tuple[ClockedSession, float]:
    """The session on its clocks, and bins per second.

    Raises:
        DataError: naming the argument, what was found and what to do.
    """
    times_s, video = _frames(given)
    interval_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    if interval_s <= 0:
        raise DataError(
            f"frame_times_s: {len(times_s)} times, which do not increase; expected seconds that do"
        )
    unit_ids, units = _unit_ids(given)
    responses = _responses(given, times_s, interval_s, unit_ids)
    behaviour = _behaviour(given, times_s)
    shown, columns = _shown(given, times_s)
    recorded = ClockedSession(
        spec=SessionSpec(
            id=session,
            subject=subject,
            unit_ids=unit_ids,
            units=units,
            response_kind=kind,
            behaviour_names=tuple(name for signal in behaviour for name in signal.names),
            geometry=Geometry(),
        ),
        frames=Frames(times_s, np.arange(len(times_s)), PicturesInMemory(video), "frame_times_s"),
        shown=shown,
        responses=responses,
        behaviour=behaviour,
        invalid=_invalid(given.valid, times_s, interval_s),
        trial_columns=columns,
    )
    return recorded, float(given.sampling_rate_hz or float(f"{1 / interval_s:.6g}"))


def _frames(given: Given) -> tuple[Float64[np.ndarray, " frames"], np.ndarray]:
    times = given.frame_times_s if given.frame_times_s is not None else given.video.t
    times_s = np.asarray(times.t if hasattr(times, "t") else times, np.float64)
    video = np.asarray(given.video.values if _is_timed(given.video) else given.video)
    if video.ndim not in (3, 4):
        raise DataError(f"video: has shape {video.shape}; expected (T,H,W) or (T,C,H,W)")
    if times_s.shape != (len(video),):
        raise DataError(
            f"frame_times_s: has shape {times_s.shape} for {len(video)} frames; expected one for each"
        )
    return times_s, video[:, None] if video.ndim == 3 else video


def _unit_ids(given: Given) -> tuple[tuple[str, ...], Columns]:
    responses, units = given.responses, dict(given.units or {})
    if _is_group(responses):
        keys = [str(key) for key in responses]
        for name, told in _columns_of(responses).items():
            if name != "rate":
                units.setdefault(name, told)
    else:
        array = responses.values if _is_timed(responses) else np.asarray(responses)
        if array.ndim != 2:
            raise DataError(f"responses: have shape {array.shape}; expected (T,N), or spike times by unit")
        named = getattr(responses, "columns", range(array.shape[1]))
        keys = [str(name) for name in named]
    ids = tuple(str(i) for i in given.unit_ids) if given.unit_ids is not None else tuple(keys)
    if len(ids) != len(keys) or len(set(ids)) != len(ids):
        raise DataError(f"unit_ids: {len(ids)}, {len(set(ids))} of them different, for {len(keys)} units")
    for name, column in units.items():
        if len(column) != len(ids):
            raise DataError(f"units: {len(column)} values of '{name}' for {len(ids)} units")
    plain = {
        name: tuple(v.item() if hasattr(v, "item") else v for v in column) for name, column in units.items()
    }
    return ids, plain


def _responses(
    given: Given, times_s: Float64[np.ndarray, " frames"], interval_s: float, unit_ids: tuple[str, ...]
) -> Events | tuple[Signal, ...]:
    responses = given.responses
    if _is_group(responses):
        spikes = [np.asarray(own.t if hasattr(own, "t") else own, np.float64) for own in responses.values()]
        unit = np.repeat(np.arange(len(spikes)), [len(own) for own in spikes])
        return Events(np.concatenate(spikes), unit, "responses")
    if _is_timed(responses):
        at, values = np.asarray(responses.t, np.float64), np.asarray(responses.values)
    else:
        values = np.asarray(responses)
        if len(values) != len(times_s):
            raise DataError(
                f"responses: {len(values)} bins for {len(times_s)} frames; expected one per frame"
            )
        at = times_s + interval_s / 2
    return (Signal(at, values, unit_ids, "responses"),)


def _behaviour(given: Given, times_s: Float64[np.ndarray, " frames"]) -> tuple[Signal, ...]:
    behaviour, names = given.behaviour, given.behaviour_names
    if behaviour is None:
        return ()
    if isinstance(behaviour, Mapping):
        return tuple(_signal(own, (str(name),), times_s) for name, own in behaviour.items())
    return (_signal(behaviour, None if names is None else tuple(names), times_s),)


def _signal(given: Any, names: tuple[str, ...] | None, times_s: Float64[np.ndarray, " frames"]) -> Signal:
    at = np.asarray(given.t, np.float64) if _is_timed(given) else times_s
    values = np.asarray(given.values if _is_timed(given) else given)
    values = values[:, None] if values.ndim == 1 else values
    columns = [str(column) for column in getattr(given, "columns", ())]
    if names is None:
        names = tuple(columns) or tuple(f"behaviour_{k}" for k in range(values.shape[1]))
    elif len(names) == 1 and values.shape[1] > 1:
        names = tuple(f"{names[0]}_{column}" for column in columns or range(values.shape[1]))
    return Signal(at, values, names, f"behaviour {', '.join(names)}")


def _shown(given: Given, times_s: Float64[np.ndarray, " frames"]) -> tuple[tuple[Shown, ...], Columns]:
    edges, columns = _edges(given.trials, times_s)
    labels: dict[str, Sequence[Any]] = {}
    for name in ("stimulus_id", "split"):
        values = getattr(given, name)
        if values is not None and len(values) != len(edges):
            raise DataError(f"{name}: {len(values)} for {len(edges)} trials; expected one for each")
        labels[name] = [None] * len(edges) if values is None else [label_of(value) for value in values]
    unknown = set(labels["split"]) - {None, *get_args(Split)}
    if unknown:
        raise DataError(f"split: {', '.join(map(repr, unknown))}; expected {' | '.join(get_args(Split))}")
    shown = tuple(
        Shown(first, last, split, stimulus)
        for (first, last), split, stimulus in zip(edges, labels["split"], labels["stimulus_id"], strict=True)
    )
    return shown, columns


def label_of(value: Any) -> str | None:
    """A label as text; None, '', NaN and negative numbers are none."""
    value = _item(value)
    if value is None or value == "" or value != value or (isinstance(value, int | float) and value < 0):
        return None
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)


def _edges(trials: Any, times_s: Float64[np.ndarray, " frames"]) -> tuple[list[tuple[int, int]], Columns]:
    """First and stop frame of each trial, and what is known of each."""
    if trials is None:
        return [(0, len(times_s))], {}
    if not _is_stretches(trials):
        starts = np.asarray(trials)
        if starts.ndim != 1 or starts.dtype.kind not in "iu":
            raise DataError(
                f"trials: {starts.dtype} of shape {starts.shape}; expected first frames, or (n,2) seconds"
            )
        return list(pairwise([*starts.tolist(), len(times_s)])), {}
    start_s, stop_s = _stretches(trials)
    first, last = np.searchsorted(times_s, start_s - 1e-6), np.searchsorted(times_s, stop_s - 1e-6)
    for k in np.flatnonzero(last <= first):
        raise DataError(
            f"trials: no frame appears in trial {k}, {start_s[k]:.6g} to {stop_s[k]:.6g} s; frames appear from "
            f"{times_s[0]:.6g} to {times_s[-1]:.6g} s"
        )
    columns = {name: tuple(_item(v) for v in column) for name, column in _columns_of(trials).items()}
    return [(int(a), int(b)) for a, b in zip(first, last, strict=True)], columns


def _invalid(valid: Any, times_s: Float64[np.ndarray, " frames"], interval_s: float) -> tuple[Intervals, ...]:
    """The rest of the time, where it is said what counts."""
    if valid is None:
        return ()
    if _is_stretches(valid):
        start_s, stop_s = _stretches(valid)
        order = np.argsort(start_s)
        ends = np.concatenate([[-np.inf], np.maximum.accumulate(stop_s[order])])
        begins = np.append(start_s[order], np.inf)
        gap = begins > ends
        far = times_s[-1] + 1e6
        return (Intervals(np.maximum(ends[gap], -far), np.minimum(begins[gap], far), "valid"),)
    mask = np.asarray(valid)
    if mask.shape != times_s.shape or mask.dtype.kind not in "biu":
        raise DataError(
            f"valid: {mask.dtype} of shape {mask.shape}; with frame times expected (T,) bool, or stretches that count"
        )
    lost = ~mask.astype(bool)
    until = np.append(times_s[1:], times_s[-1] + interval_s)
    return (Intervals(times_s[lost], until[lost], "valid"),) if lost.any() else ()


def _stretches(given: Any) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    if hasattr(given, "start") and hasattr(given, "end"):
        return np.asarray(given.start, np.float64), np.asarray(given.end, np.float64)
    pairs = np.asarray(given, np.float64)
    return pairs[:, 0], pairs[:, 1]


def _is_timed(given: Any) -> bool:
    """Whether it is values at times: a Tsd, TsdFrame or TsdTensor."""
    return hasattr(given, "t") and hasattr(given, "values")


def _is_group(given: Any) -> bool:
    """Whether it is times by unit: a TsGroup, which is a mapping, or another."""
    return isinstance(given, Mapping)


def _columns_of(given: Any) -> dict[str, list[Any]]:
    """The table that pynapple keeps beside units and intervals."""
    table = getattr(given, "metadata", None)
    return {} if table is None else {str(name): list(table[name]) for name in table.columns}


def _each(given: Any) -> Sequence[Any]:
    return tuple(given.values()) if isinstance(given, Mapping) else (given,)


def _is_stretches(given: Any) -> bool:
    """Whether it is starts and ends: an IntervalSet, or (n,2)."""
    if _is_timed(given) or isinstance(given, Mapping) or given is None:
        return False
    if hasattr(given, "start") and hasattr(given, "end"):
        return True
    shape = np.shape(given)
    return len(shape) == 2 and shape[1] == 2 and np.asarray(given).dtype.kind == "f"


def _item(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
