"""From arrays in memory to a prepared recording, for people in a notebook: `prepare_arrays`.

NumPy arrays that share one clock, or signals with times of their own: pynapple's objects are known by their
attributes (`t` and `values`; `start` and `end`; a group of `Ts` by `keys`), and pynapple itself is never imported.
"""

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from visioncore.data.align import align
from visioncore.data.config import build_data_config
from visioncore.data.in_memory_times import Given, clocked, label_of
from visioncore.data.prepare import prepare
from visioncore.errors import DataError
from visioncore.recording import SessionRecording
from visioncore.spec import ResponseKind

_PIECE_BYTES = 2**25


def prepare_arrays(
    folder: str | Path,
    *,
    video: Any,
    responses: Any,
    sampling_rate_hz: float | None = None,
    response_kind: ResponseKind = "counts",
    frame_times_s: Any = None,
    behaviour: Any = None,
    behaviour_names: Sequence[str] | None = None,
    valid: Any = None,
    trials: Any = None,
    stimulus_id: Sequence[Any] | None = None,
    split: Sequence[str] | None = None,
    unit_ids: Sequence[Any] | None = None,
    units: Mapping[str, Sequence[Any]] | None = None,
    session: str = "session",
    subject: str = "subject",
    geometry: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> Path:
    """Check and prepare a session, and write the data YAML that `visioncore train --data` takes.

    Without times, arrays are aligned: frame t is on screen during bin t, and so are responses and behaviour. With times
    (of frames, and of each signal that has its own), they are brought to bins: spikes are counted in [t, t+dt).

    Args:
        folder: gets `data.yaml`, a folder of the session's arrays, and the stores. A session of the same name in it is
            replaced.
        video: (T,H,W) or (T,C,H,W), uint8 or float; or a TsdTensor, whose times are those of the frames.
        responses: (T,N) counts or traces; with times also spike times by unit (a TsGroup, or a mapping from unit ids to
            times in seconds), or traces (a TsdFrame).
        sampling_rate_hz: bins per second; with frame times it may be left out, for a bin per frame.
        frame_times_s: (T,) seconds at which frames appear.
        behaviour: (T,K); with times also a Tsd or TsdFrame, or a mapping from names to them.
        valid: (T,) or (T,N) bool, where responses count; with times also the stretches that count (an IntervalSet, or
            (n,2) starts and ends).
        trials: (n,) the first bin of each; with times the stretches (an IntervalSet, or (n,2) starts and ends).
        stimulus_id: one per trial: equal ids are repeats.
        split: one per trial: train, validation or test.
        units: tables of what is known of units, by the column's name. Those of a TsGroup are taken over.
        geometry: how pixels lie before the eye: `degrees_per_pixel`, `um_per_pixel` …
        data: other keys of the data YAML, such as `split` and `burn_in_s`.

    Returns:
        The data YAML. In Python: `visioncore.data.prepare(load_data_config(path), path.parent)`.

    Raises:
        DataError: signals do not fit together or cannot be what they claim; nothing is left behind.
    """
    given = Given(
        video, responses, frame_times_s, behaviour, behaviour_names, valid, trials, unit_ids, units,
        stimulus_id, split, sampling_rate_hz,
    )  # fmt: skip
    folder = Path(folder)
    place, building, before = (folder / f"{name}{session}" for name in ("", ".building-", ".before-"))
    was_there = [path for path in (folder, place) if path.exists()]
    for left in (building, before):
        shutil.rmtree(left, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        keys, rate_hz = _write(given, building, session, subject, response_kind)
        own = {"id": session, "subject": subject, "path": session, **keys}
        if geometry is not None:
            own["geometry"] = dict(geometry)
        params = {"sampling_rate_hz": rate_hz, "response_kind": response_kind, "sessions": [own]}
        raw = {"type": "arrays", "params": params, **(data or {})}
        config = build_data_config(raw, "prepare_arrays")
        if place.exists():
            place.rename(before)
        building.rename(place)
        prepare(config, folder)
    except BaseException:
        if before.exists() or place not in was_there:
            shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(building, ignore_errors=True)
        if before.exists():
            before.rename(place)
        if folder not in was_there:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(before, ignore_errors=True)
    yaml = folder / "data.yaml"
    yaml.write_text(_as_yaml(raw), encoding="utf-8")
    return yaml


def _write(
    given: Given, folder: Path, session: str, subject: str, kind: ResponseKind
) -> tuple[dict[str, Any], float]:
    """The session's arrays, each a file; the keys of the YAML that name them, and the rate."""
    if given.has_times:
        session_of, rate_hz = clocked(given, session, subject, kind)
        return _write_recording(align(session_of, rate_hz), folder), rate_hz
    if given.sampling_rate_hz is None:
        raise DataError(
            "sampling_rate_hz is missing: frames, which are bins, per second (or give frame_times_s)"
        )
    keys: dict[str, Any] = {}
    behaviour, names = given.behaviour, given.behaviour_names
    if isinstance(behaviour, Mapping):
        behaviour, names = np.column_stack(list(behaviour.values())), [str(name) for name in behaviour]
    arrays = {
        "video": given.video,
        "responses": given.responses,
        "behaviour": behaviour,
        "valid": given.valid,
        "unit_ids": given.unit_ids,
        "trial_start": given.trials,
        "stimulus_id": _labels(given.stimulus_id),
        "split": _labels(given.split),
    }
    for name, values in arrays.items():
        if values is not None:
            keys[name] = _save(folder, name, np.asarray(values))
    if names is not None:
        keys["behaviour_names"] = list(names)
    keys |= _save_units(folder, given.units or {})
    return keys, float(given.sampling_rate_hz)


def _write_recording(recording: SessionRecording, folder: Path) -> dict[str, Any]:
    """A session on bins, written a piece at a time."""
    keys: dict[str, Any] = {}
    for signal in recording.signals:
        first = recording.read(signal, 0, 1)
        shape = (recording.n_bins, *first.shape[1:])
        written = np.lib.format.open_memmap(folder / f"{signal}.npy", "w+", first.dtype, shape)
        rows = max(1, _PIECE_BYTES // max(1, first.nbytes))
        for start in range(0, recording.n_bins, rows):
            stop = min(start + rows, recording.n_bins)
            written[start:stop] = recording.read(signal, start, stop)
        written.flush()
        keys[signal] = signal
    spec = recording.spec
    keys["unit_ids"] = _save(folder, "unit_ids", np.array(spec.unit_ids))
    keys["trial_start"] = _save(folder, "trial_start", np.array([trial.start for trial in recording.trials]))
    for name in ("stimulus_id", "split", "group"):
        values = [getattr(trial, name) for trial in recording.trials]
        if any(value is not None for value in values):
            keys[name] = _save(folder, name, _labels(values))
    if spec.behaviour_names:
        keys["behaviour_names"] = list(spec.behaviour_names)
    if recording.trial_columns:
        keys["trial_columns"] = {
            name: _save(folder, f"trials_{name}", _plain(values))
            for name, values in recording.trial_columns.items()
        }
    return keys | _save_units(folder, spec.units)


def _save_units(folder: Path, units: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    if not units:
        return {}
    return {"units": {name: _save(folder, f"units_{name}", _plain(values)) for name, values in units.items()}}


def _labels(values: Sequence[Any] | None) -> Any:
    return None if values is None else np.array([label_of(value) or "" for value in values], dtype=str)


def _plain(values: Sequence[Any]) -> np.ndarray:
    """A column of a table as numbers or texts; what is not known is NaN or ''."""
    column = np.array(values)
    if column.dtype.kind in "biufU":
        return column
    known = [v for v in values if v is not None]
    if all(isinstance(v, int | float) for v in known):
        return np.array([np.nan if v is None else v for v in values], np.float64)
    return np.array(["" if v is None else str(v) for v in values])


def _save(folder: Path, name: str, array: np.ndarray) -> str:
    if array.dtype.hasobject:
        raise DataError(f"{name}: holds Python objects; give an array of numbers or of texts")
    np.save(folder / f"{name}.npy", array, allow_pickle=False)
    return name


def _as_yaml(raw: Mapping[str, Any]) -> str:
    text = io.StringIO()
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(dict(raw), text)
    return text.getvalue()
