"""Experanto folders, or a tar of one: every device with a clock of its own, read as Experanto's own code reads them.

Where code and documentation of the format disagree, the code is followed: a sample holds until the next one, a frame
until the next timestamp, `timestamps.npy` of a sequence and `combined_meta.json` are not read.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Float64, Shaped
from pydantic import Field, PositiveFloat, model_validator

from visioncore.config import ComponentConfig, parse_yaml
from visioncore.data.align import ClockedSession, Events, Signal
from visioncore.data.sources.clocked import ClockedSessionConfig, ClockedSource, settings_without_places
from visioncore.data.sources.experanto_screen import Screen
from visioncore.data.sources.file_tree import FileTree, open_tree
from visioncore.errors import ConfigError, DataError
from visioncore.spec import Columns, ResponseKind, SessionSpec

MARKER = "screen/meta.yml"
MODALITIES = ("sequence", "screen", "spikes", "time_interval")
RECORDED = ("responses", "units", "spikes", "neurons", "calcium", "traces")
"""What devices with signals of units are called."""

_logger = logging.getLogger(__name__)


class ExperantoConfig(ComponentConfig):
    """Experanto folders."""

    type: Literal["experanto"] = "experanto"
    sampling_rate_hz: PositiveFloat
    """Bins per second, from the first timestamp of the screen on."""
    responses: str = Field(min_length=1)
    """The device whose signals are predicted."""
    response_kind: ResponseKind | None = None
    """`counts` of a device with spikes, `trace` of a sequence; what the device has when left out."""
    sessions: tuple["ExperantoSessionConfig", ...] = Field(min_length=1)

    def build(self, base_dir: Path) -> "ExperantoSource":
        """The source; `base_dir` is the folder of the YAML, from which paths count."""
        return ExperantoSource(self, base_dir)


class ExperantoSessionConfig(ClockedSessionConfig):
    """One experiment."""

    path: str = Field(min_length=1)
    """Its folder, or a tar of it."""
    behaviour: dict[str, tuple[str, ...] | None] | None = None
    """Devices that tell of the animal, with names for their signals; `{}`: none. When left out, all other sequences but
    those that look like responses too."""
    offset_s: dict[str, float] = Field(default_factory=dict)
    """By device, Experanto's `offset`: at time t it is read at t plus so many seconds."""

    @model_validator(mode="after")
    def _offsets_are_seconds(self) -> Self:
        for device, offset_s in self.offset_s.items():
            if not math.isfinite(offset_s):
                raise ValueError(f"offset_s of {device} is {offset_s}; expected seconds")
        return self


class ExperantoSource(ClockedSource):
    """A `RecordingSource` over Experanto folders."""

    def __init__(self, config: ExperantoConfig, base_dir: Path) -> None:
        self.config, self.sessions, self.base_dir = config, config.sessions, base_dir
        self.rate_hz = config.sampling_rate_hz
        self._trees: dict[str, FileTree] = {}

    def files(self, session: ExperantoSessionConfig) -> Iterable[Path]:
        """The tar, or all files of the folder."""
        path = self.path(session.path)
        return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]

    def settings(self, session: ExperantoSessionConfig) -> Any:
        """All but the path."""
        return settings_without_places(self.config, session, ["path"])

    def fingerprint(self, session_id: str) -> str:
        """Digest of the settings and of all files but the cache that Experanto writes beside them."""
        session: Any = self._by_id[session_id]
        content = self._tree(session).fingerprint(lambda name: not name.endswith("combined_meta.json"))
        return hashlib.sha256(
            json.dumps([self.settings(session), content], sort_keys=True).encode()
        ).hexdigest()

    def open(self, session: ExperantoSessionConfig) -> ClockedSession:
        """The session, each device on its own clock.

        Raises:
            DataError: naming the file and field, what was found and what to do.
        """
        tree = self._tree(session)
        where = f"session '{session.id}' ({tree.where})"
        devices = devices_of(tree)
        if self.config.responses not in devices:
            raise DataError(
                f"{where}: has no device '{self.config.responses}' for responses; it has {', '.join(sorted(devices))}"
            )
        _say_what_is_not_read(devices, where)
        self._require_offsets(session, devices, where)
        screen = Screen(tree, devices, where)
        responses, unit_ids, kind = _responses(tree, devices, self.config, where)
        responses = _moved(responses, session.offset_s.get(self.config.responses, 0.0))
        behaviour = tuple(
            replace(signal, times_s=signal.times_s - session.offset_s.get(device, 0.0))
            for device, names in self._behaviour(session, devices, where).items()
            for signal in _at_own_times(sequence(tree, device, devices[device], where, names))
        )
        spec = SessionSpec(
            id=session.id,
            subject=session.subject,
            unit_ids=unit_ids,
            units=_units(tree, self.config.responses, len(unit_ids)),
            response_kind=kind,
            behaviour_names=tuple(name for signal in behaviour for name in signal.names),
            geometry=session.geometry,
        )
        return ClockedSession(
            spec=spec,
            frames=screen.frames,
            shown=screen.shown,
            responses=responses,
            behaviour=behaviour,
            invalid=screen.invalid,
            trial_columns=screen.columns,
            missing=session.missing,
            even_bins=True,
        )

    def _require_offsets(
        self, session: ExperantoSessionConfig, devices: dict[str, dict[str, Any]], where: str
    ) -> None:
        movable = sorted(name for name, meta in devices.items() if meta["modality"] in ("sequence", "spikes"))
        for device, offset_s in session.offset_s.items():
            if device not in movable:
                raise DataError(
                    f"{where}: offset_s names '{device}'; expected one of {', '.join(movable)} (bins follow the "
                    "screen: to move it, move the others the other way)"
                )
            if offset_s > 0 and device != self.config.responses:
                raise DataError(
                    f"{where}: offset_s of '{device}' is {offset_s:g}, so that behaviour would be seen before it "
                    "happened; expected 0 or less for all but the responses"
                )

    def _behaviour(
        self, session: ExperantoSessionConfig, devices: dict[str, dict[str, Any]], where: str
    ) -> dict[str, tuple[str, ...] | None]:
        others = {
            name: None
            for name, meta in sorted(devices.items())
            if meta["modality"] == "sequence" and name != self.config.responses
        }
        if session.behaviour is None:
            left = [name for name in others if looks_recorded(name, devices[name])]
            if left:
                _logger.warning(
                    "%s: %s looks like responses, and is no behaviour unless `behaviour` names it",
                    where,
                    ", ".join(left),
                )
            return {name: names for name, names in others.items() if name not in left}
        for device in session.behaviour:
            if device not in others:
                raise DataError(
                    f"{where}: behaviour names the device '{device}'; expected one of {', '.join(others) or 'none'}"
                )
        return dict(session.behaviour)

    def _tree(self, session: ExperantoSessionConfig) -> FileTree:
        if session.id not in self._trees:
            self._trees[session.id] = open_tree(self.path(session.path), MARKER)
        return self._trees[session.id]


def _moved(responses: Events | tuple[Signal, ...], offset_s: float) -> Events | tuple[Signal, ...]:
    """Read at t + `offset_s`: what happened then counts at t."""
    if isinstance(responses, Events):
        return replace(responses, times_s=responses.times_s - offset_s)
    return tuple(replace(signal, times_s=signal.times_s - offset_s) for signal in responses)


def devices_of(tree: FileTree) -> dict[str, dict[str, Any]]:
    """The devices of an experiment, each with its `meta.yml`.

    Raises:
        DataError: one has a modality that Experanto does not have.
    """
    devices = {}
    for name in sorted(tree.names):
        device, _, rest = name.partition("/")
        if rest != "meta.yml":
            continue
        meta = read_meta(tree, name)
        if meta.get("modality") not in MODALITIES:
            raise DataError(
                f"{tree.where}, {name}: modality is {meta.get('modality')!r}; expected {', '.join(MODALITIES)}"
            )
        devices[device] = meta
    return devices


def looks_recorded(device: str, meta: dict[str, Any]) -> bool:
    """Whether a device has signals of units, which are no behaviour: by its name, or as it was scanned cell by cell."""
    return device in RECORDED or bool(meta.get("phase_shift_per_signal"))


def read_meta(tree: FileTree, name: str) -> dict[str, Any]:
    """A YAML file of an experiment, as plain values.

    Raises:
        DataError: it is no mapping, or no plain YAML.
    """
    where = f"{tree.where}, {name}"
    try:
        raw = parse_yaml(tree.bytes(name).decode("utf-8"), where)
    except (ConfigError, UnicodeDecodeError) as error:
        raise DataError(str(error)) from None
    if not isinstance(raw, dict):
        raise DataError(f"{where}: expected keys with values, found {type(raw).__name__}")
    return raw


def number(meta: dict[str, Any], key: str, where: str) -> float:
    """A number of a device's `meta.yml`.

    Raises:
        DataError: it is missing, or no finite number.
    """
    value = meta.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}, meta.yml: {key} is {value!r}; expected a number")
    return float(value)


def sequence(
    tree: FileTree, device: str, meta: dict[str, Any], where: str, names: tuple[str, ...] | None = None
) -> Signal:
    """A device that was sampled at a rate of its own.

    Raises:
        DataError: its data do not fit its `meta.yml`.
    """
    where = f"{where}, {device}"
    rate_hz, start_s = number(meta, "sampling_rate", where), number(meta, "start_time", where)
    if rate_hz <= 0:
        raise DataError(f"{where}, meta.yml: sampling_rate is {rate_hz:g}; expected samples per second")
    n_signals = int(number(meta, "n_signals", where))
    values = stored(tree, device, meta, where, ("n_timestamps", "n_signals"))
    if values.ndim == 1 and n_signals == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != n_signals:
        raise DataError(
            f"{where}: data have shape {values.shape}, and meta.yml has n_signals: {n_signals}; expected (samples, "
            "signals)"
        )
    names = names or ((device,) if n_signals == 1 else tuple(f"{device}_{k}" for k in range(n_signals)))
    times = start_s + np.arange(len(values)) / rate_hz
    if (
        "end_time" in meta
        and abs(number(meta, "end_time", where) - start_s - len(values) / rate_hz) > 2 / rate_hz
    ):
        _logger.warning(
            "%s: %d samples at %g Hz from %.3f s on end at %.3f s, and meta.yml has end_time %.3f; the rate counts",
            *(where, len(values), rate_hz, start_s, start_s + len(values) / rate_hz, meta["end_time"]),
        )
    shift_s = None
    if meta.get("phase_shift_per_signal"):
        shift_s = np.asarray(tree.array(f"{device}/meta/phase_shifts.npy"), np.float64).reshape(-1)
    return Signal(times, values, names, where, shift_s)


def _at_own_times(signal: Signal) -> tuple[Signal, ...]:
    """A signal for each column where they were sampled one after the other."""
    if signal.shift_s is None:
        return (signal,)
    return tuple(
        Signal(signal.times_s + shift_s, signal.values[:, k : k + 1], (name,), signal.where)
        for k, (name, shift_s) in enumerate(zip(signal.names, signal.shift_s, strict=True))
    )


def stored(
    tree: FileTree, device: str, meta: dict[str, Any], where: str, axes: tuple[str, ...], name: str = "data"
) -> Shaped[np.ndarray, "..."]:
    """An array of a device: a .npy file, or a raw .mem file whose shape stands in `meta.yml`."""
    if f"{device}/{name}.npy" in tree.names:
        array = tree.array(f"{device}/{name}.npy")
        if array.dtype.kind not in "uif":
            raise DataError(f"{where}, {name}.npy: is {array.dtype}; expected numbers")
        return array
    try:
        dtype = np.dtype(str(meta.get("dtype")))
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "uif":
        raise DataError(
            f"{where}, meta.yml: dtype is {meta.get('dtype')!r}; expected one of numbers, of {name}.mem"
        )
    shape = tuple(int(number(meta, axis, where)) for axis in axes)
    return tree.raw(f"{device}/{name}.mem", dtype, shape)


def _responses(
    tree: FileTree, devices: dict[str, dict[str, Any]], config: ExperantoConfig, where: str
) -> tuple[Events | tuple[Signal, ...], tuple[str, ...], ResponseKind]:
    device, meta = config.responses, devices[config.responses]
    kinds: dict[str, ResponseKind] = {"spikes": "counts", "sequence": "trace"}
    kind = kinds.get(meta["modality"])
    if kind is None or config.response_kind not in (None, kind):
        raise DataError(
            f"{where}, {device}: is of the modality '{meta['modality']}', and response_kind is {config.response_kind}; "
            "expected a device with spikes for counts, or a sequence for traces"
        )
    if kind == "trace":
        signal = sequence(tree, device, meta, where)
        return (signal,), _unit_ids(tree, device, len(signal.names)), kind
    edges = np.asarray(meta.get("spike_indices") or [])
    if (
        edges.ndim != 1
        or len(edges) < 2
        or edges.dtype.kind not in "iu"
        or edges[0]
        or (np.diff(edges) < 0).any()
    ):
        raise DataError(
            f"{where}, {device}/meta.yml: spike_indices are no whole numbers that start with 0 and grow; expected "
            "where the spikes of each unit begin, and where those of the last one end"
        )
    sized = {**meta, "n": int(edges[-1])}
    times = np.asarray(
        stored(tree, device, sized, f"{where}, {device}", ("n",), "spikes"), np.float64
    ).reshape(-1)
    if len(times) != edges[-1]:
        raise DataError(
            f"{where}, {device}: has {len(times)} spikes, and spike_indices in meta.yml end at {edges[-1]}; was one of "
            "them cut off?"
        )
    units: Shaped[np.ndarray, " spikes"] = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    events = Events(times, units.astype(np.int64), f"{where}, {device}")
    return events, _unit_ids(tree, device, len(edges) - 1), kind


def _unit_ids(tree: FileTree, device: str, n_units: int) -> tuple[str, ...]:
    name = f"{device}/meta/unit_ids.npy"
    if name not in tree.names:
        return tuple(str(unit) for unit in range(n_units))
    ids = tuple(str(i) for i in np.asarray(tree.array(name)).reshape(-1).tolist())
    if len(ids) != n_units or len(set(ids)) != n_units:
        raise DataError(
            f"{tree.where}, {name}: has {len(set(ids))} different ids; expected one for each of {n_units} units"
        )
    return ids


def _units(tree: FileTree, device: str, n_units: int) -> Columns:
    """What `meta` of the device has of each unit."""
    columns: Columns = {}
    for name in sorted(tree.names):
        key = name.removeprefix(f"{device}/meta/").removesuffix(".npy")
        if name != f"{device}/meta/{key}.npy" or key in ("unit_ids", "means", "stds", "phase_shifts"):
            continue
        values = np.asarray(tree.array(name))
        if values.dtype.kind not in "iufbU":
            continue
        if values.shape == (n_units,):
            columns[key] = _plain(values)
        elif key == "cell_motor_coordinates" and values.shape == (n_units, 3):
            columns |= {f"{axis}_um": _plain(values[:, k]) for k, axis in enumerate("xyz")}
    return columns


def _plain(values: Float64[np.ndarray, " rows"]) -> tuple[Any, ...]:
    return tuple(None if isinstance(v, float) and not math.isfinite(v) else v for v in values.tolist())


def _say_what_is_not_read(devices: dict[str, dict[str, Any]], where: str) -> None:
    left = [name for name, meta in devices.items() if meta["modality"] == "time_interval"]
    if left:
        _logger.warning(
            "%s: time intervals are not read (%s); tiers are those of the screen's trials",
            where,
            ", ".join(left),
        )
