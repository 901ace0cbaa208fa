"""Predictions that are kept in a file, whatever model made them: held against a recording, and scored like a twin's.

An NPZ file. `SESSION/unit_ids` (units,) names the columns of a session, and each `SESSION/START` (time, units) holds
what is predicted of its bins from START on: expected counts per bin, or traces in their own units. `header`, a JSON
text, may say more (`PredictionsHeader`).
"""

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Real
from pydantic import NonNegativeInt, PositiveInt

from visioncore.config import Config, build_config
from visioncore.data.sources.npz import NpzFile
from visioncore.data.store import RecordingStore
from visioncore.errors import ConfigError, DataError
from visioncore.files import partial_beside, replace_durably
from visioncore.provenance import Provenance
from visioncore.spec import DataSpec, SessionSpec

HEADER, UNIT_IDS = "header", "unit_ids"


class PredictionsHeader(Config):
    """What a file may say of its predictions. All of it may be left out."""

    data_fingerprint: str | None = None
    """Of the prepared recording that they are of; where it is given, another recording is refused."""
    seed: int = 0
    """In a comparison, files of one name are seeds of one model."""
    causal: bool | None = None
    """Whether no prediction rests on later frames or behaviour; None: not said."""
    behaviour: Literal["recorded", "mean", "none"] | None = None
    """What the model saw of it; None: not said."""
    stride: PositiveInt = 1
    """Bins that are predicted at one time; scores are also told for each of them."""
    first_predicted_bin: NonNegativeInt = 0
    """Of a block; bins before it are left out of all scores."""
    provenance: Provenance = Provenance()
    """Of a twin, which is told whether it was trained on these data."""


class _Stretch(NamedTuple):
    """The bins of one array."""

    start: int
    stop: int
    key: str


class KeptPredictions:
    """A `Predictor` of what was recorded, and of no other video: its file holds nothing else.

    Units go by their ids, so their order in the file does not matter.

    Args:
        path: the NPZ file.
        store: the recording whose bins they are of.

    Raises:
        DataError: the file is missing, damaged or of another layout, or its sessions, units or bins are not those of
            the recording.
    """

    stride: int
    uses_behaviour = False
    """A file has no use for it; what its model saw stands in `header`."""

    def __init__(self, path: Path, store: RecordingStore) -> None:
        if not path.is_file():
            raise DataError(f"{path}: no such file; expected an NPZ of predictions")
        self.path = path
        self._file = NpzFile(path, None)
        self.header = self._read_header()
        known = self.header.data_fingerprint
        if known not in (None, store.fingerprint):
            raise DataError(
                f"{path}: its predictions are of another recording than {store.path} (data_fingerprint {known}, and "
                f"here {store.fingerprint}): other data, or cut in another way; name the data that they were made for"
            )
        store = store.without_units(self.header.provenance.held_out_units or {})
        recorded = {name: session for name, session in store.sessions.items() if session.unit_ids}
        self._stretches = self._read_stretches({name: own.n_bins for name, own in recorded.items()})
        ids = {name: self._read_unit_ids(name, own.unit_ids) for name, own in recorded.items()}
        for name, stretches in self._stretches.items():
            for stretch in stretches:
                self._require_columns(name, stretch, len(ids[name]))
        sessions = tuple(
            SessionSpec(
                id=name, subject=own.subject, unit_ids=ids[name], response_kind=store.spec.response_kind
            )
            for name, own in recorded.items()
        )
        self.spec = DataSpec(sampling=store.spec.sampling, sessions=sessions)
        self.stride = self.header.stride
        self._last: tuple[str, np.ndarray] = ("", np.empty((0, 0), np.float32))

    @property
    def sessions(self) -> tuple[str, ...]:
        return tuple(session.id for session in self.spec.sessions)

    @property
    def first_predicted_bin(self) -> int:
        return self.header.first_predicted_bin

    @property
    def digest(self) -> str:
        """Of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def provenance(self) -> Provenance:
        return self.header.provenance

    def columns(self, session: str, unit_ids: Sequence[str]) -> Int[np.ndarray, " units"]:
        """Where these units stand in the file.

        Raises:
            DataError: no such session, or it has no such unit.
        """
        own = {name.id: name.unit_ids for name in self.spec.sessions}.get(session, ())
        place = {unit: i for i, unit in enumerate(own)}
        if lacking := [unit for unit in unit_ids if unit not in place]:
            raise DataError(f"{self.path}: session '{session}' has no unit {_some(lacking)}")
        return np.array([place[unit] for unit in unit_ids], np.int64)

    def history_frames(self) -> int | None:
        return None

    def predict(
        self, video: np.ndarray, behaviour: np.ndarray | Literal["mean"] | None = None, *, session: str
    ) -> Float32[np.ndarray, "time units"]:
        raise DataError(f"{self.path} holds predictions of recorded bins, and predicts no other video")

    def bins(self, session: str, start: int, stop: int) -> Float32[np.ndarray, "time units"]:
        """What is predicted of the session's bins [start, stop), units in the order of the file.

        Raises:
            DataError: of a bin nothing is predicted, or no number, or a negative count.
        """
        found, at = [], start
        for stretch in self._stretches[session]:
            if stretch.start <= at < min(stretch.stop, stop):
                end = min(stretch.stop, stop)
                found.append(self._read(stretch.key)[at - stretch.start : end - stretch.start])
                at = end
        if at < stop:
            raise DataError(
                f"{self.path}: of session '{session}', bins {start} to {stop} are scored, and bin {at} is not "
                f"predicted; expected arrays '{session}/START' that hold all bins from START on"
            )
        rates = np.concatenate(found).astype(np.float32)
        finite = np.isfinite(rates)
        if not finite.all():
            self._refuse(session, start, ~finite, rates, "a finite number")
        if self.spec.response_kind == "counts" and (negative := rates < 0).any():
            self._refuse(session, start, negative, rates, "an expected count, which is not negative")
        return rates

    # --- Reading ------------------------------------------------------------------------------------------------------

    def _read(self, key: str) -> np.ndarray:
        """An array, the last one from memory."""
        if self._last[0] != key:
            self._last = (key, self._file.read(key))
        return self._last[1]

    def _read_header(self) -> PredictionsHeader:
        if HEADER not in self._file.names():
            return PredictionsHeader()
        where = f"{self.path} ({HEADER})"
        try:
            raw = json.loads(str(self._file.read(HEADER)[()]))
        except ValueError:
            raise DataError(
                f"{where}: is no JSON text; write json.dumps of a dict, or leave it out"
            ) from None
        if not isinstance(raw, dict):
            raise DataError(f"{where}: holds {type(raw).__name__}; expected a mapping of keys")
        try:
            return build_config(PredictionsHeader, raw, where)
        except ConfigError as error:
            raise DataError(str(error)) from None

    def _read_stretches(self, n_bins: dict[str, int]) -> dict[str, list[_Stretch]]:
        """The arrays of each session in order of time; every key has been understood."""
        found: dict[str, list[_Stretch]] = {name: [] for name in n_bins}
        for key in self._file.names():
            session, slash, rest = key.rpartition("/")
            if key == HEADER:
                continue
            if not slash or not (rest == UNIT_IDS or rest.isdecimal()):
                raise DataError(
                    f"{self.path}: does not know the key '{key}'; expected 'SESSION/{UNIT_IDS}', 'SESSION/START' with "
                    f"the number of the array's first bin, or '{HEADER}'"
                )
            if session not in n_bins:
                raise DataError(
                    f"{self.path}: has the session '{session}', which is none of the recording; that has "
                    f"{', '.join(n_bins)}"
                )
            if rest != UNIT_IDS:
                found[session].append(self._read_stretch(session, key, int(rest), n_bins[session]))
        for session, stretches in found.items():
            stretches.sort()
            for one, other in pairwise(stretches):
                if other.start < one.stop:
                    raise DataError(
                        f"{self.path}: session '{session}': '{one.key}' ends before bin {one.stop}, and '{other.key}' "
                        "begins there or before; expected one prediction of each bin"
                    )
        return found

    def _read_stretch(self, session: str, key: str, start: int, n_bins: int) -> _Stretch:
        header = self._file.header(key)
        if len(header.shape) != 2 or header.dtype.kind not in "fiu":
            raise DataError(
                f"{self.path}: '{key}' is an array {header.shape} of {header.dtype}; expected numbers (time, units)"
            )
        stop = start + header.shape[0]
        if stop > n_bins:
            raise DataError(
                f"{self.path}: '{key}' has {header.shape[0]} bins from {start} on, and session '{session}' ends after "
                f"{n_bins}; expected the recording's own bins, counted from 0"
            )
        return _Stretch(start, stop, key)

    def _read_unit_ids(self, session: str, recorded: Sequence[str]) -> tuple[str, ...]:
        key = f"{session}/{UNIT_IDS}"
        if key not in self._file.names():
            raise DataError(
                f"{self.path}: has no '{key}'; expected the ids of the units of session '{session}', one per column"
            )
        found = self._file.read(key)
        if found.ndim != 1 or found.dtype.kind not in "Uiu":
            raise DataError(
                f"{self.path}: '{key}' is an array {found.shape} of {found.dtype}; expected texts (units,)"
            )
        ids = tuple(map(str, found))
        if doubled := sorted(unit for unit, n in Counter(ids).items() if n > 1):
            raise DataError(f"{self.path}: session '{session}' has the unit {_some(doubled)} twice")
        for unknown, holder in (
            (set(recorded) - set(ids), "the file"),
            (set(ids) - set(recorded), "the recording"),
        ):
            if unknown:
                raise DataError(
                    f"{self.path}: session '{session}': {holder} lacks {len(unknown)} unit(s): "
                    f"{_some(sorted(unknown))}; units are matched by (session, unit id)"
                )
        return ids

    def _require_columns(self, session: str, stretch: _Stretch, n_units: int) -> None:
        found = self._file.header(stretch.key).shape[1]
        if found != n_units:
            raise DataError(
                f"{self.path}: '{stretch.key}' has {found} columns, and '{session}/{UNIT_IDS}' {n_units} ids; expected "
                "as many"
            )

    def _refuse(self, session: str, start: int, wrong: np.ndarray, rates: np.ndarray, expected: str) -> None:
        row, column = (int(i[0]) for i in np.nonzero(wrong))
        unit = self.spec.session(session).unit_ids[column]
        raise DataError(
            f"{self.path}: session '{session}', unit {unit}, bin {start + row}: {rates[row, column]:g} is predicted; "
            f"expected {expected}"
        )


def write_predictions(
    path: Path,
    header: PredictionsHeader,
    sessions: Iterable[tuple[str, Sequence[str], Iterator[tuple[int, Real[np.ndarray, "time units"]]]]],
) -> None:
    """Write a file of predictions, complete or not at all; an array is in memory at a time.

    Args:
        sessions: of each its id, the ids of its units, and arrays (time, units) with the bin that each begins with.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_beside(path)
    try:
        with zipfile.ZipFile(partial, "w") as archive:
            told = json.dumps(header.model_dump(mode="json", exclude_unset=True))
            _write(archive, HEADER, np.array(told))
            for name, unit_ids, arrays in sessions:
                _write(archive, f"{name}/{UNIT_IDS}", np.array(unit_ids, np.str_))
                for start, rates in arrays:
                    _write(archive, f"{name}/{start}", rates)
        replace_durably(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write(archive: zipfile.ZipFile, key: str, array: np.ndarray) -> None:
    with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:8])
