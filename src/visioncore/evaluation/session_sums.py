"""What a paired comparison needs of an evaluation: the sums of every unit in every row that is resampled as one.

They stand beside the evaluation's JSON, under the same settings, which hold the digests of twin and data.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from visioncore.evaluation.records import EvaluationSettings
from visioncore.files import write_bytes
from visioncore.metrics import Sums

_HEADER = "header"
_OF_THE_PREDICTION = ("nats_over_null", "y", "yy", "xy")
"""The other sums are of the recording alone, so the truth shares them with the model."""
_IN_FILE = {f.name: f.name for f in fields(Sums)} | {"nats_over_null": "gain"}
"""What each sum is called in the file, and has been since the first that was written."""


@dataclass(frozen=True)
class SessionSums:
    """One session of an evaluation; `keys` and `unit_ids` give the order of rows and units."""

    session: str
    unit_ids: tuple[str, ...]
    keys: tuple[str, ...]
    """Which stretch of which block a row is, or which stretch of all repeats of a stimulus."""
    kinds: tuple[str, ...]
    """The kind of stimulus of each row."""
    model: Sums
    """(rows, units)"""
    ceiling: Sums | None
    """Of the true rates, where they are known."""


def write_sums(path: Path, sessions: Sequence[SessionSums], settings: EvaluationSettings) -> None:
    """Write the sums of an evaluation with these settings, complete or not at all."""
    arrays: dict[str, Any] = {}
    names = []
    for i, session in enumerate(sessions):
        named = ("session", "unit_ids", "keys", "kinds")
        names.append(
            {name: getattr(session, name) for name in named} | {"truth": session.ceiling is not None}
        )
        arrays |= {f"{i}.model.{key}": getattr(session.model, name) for name, key in _IN_FILE.items()}
        if session.ceiling is not None:
            arrays |= {
                f"{i}.ceiling.{_IN_FILE[name]}": getattr(session.ceiling, name) for name in _OF_THE_PREDICTION
            }
    header = json.dumps({"settings": settings.to_json(), "sessions": names}).encode()
    arrays[_HEADER] = np.frombuffer(header, np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def read_sums(path: Path, settings: EvaluationSettings) -> tuple[SessionSums, ...] | None:
    """The sums of the evaluation with these very settings; None where the file is missing, damaged or of another."""
    try:
        # From memory, because NumPy leaves the file of a damaged archive open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            header = json.loads(arrays[_HEADER].tobytes())
            if header["settings"] != settings.to_json():
                return None
            return tuple(_session(arrays, i, names) for i, names in enumerate(header["sessions"]))
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def _session(arrays: Any, number: int, names: dict[str, Any]) -> SessionSums:
    model = {name: arrays[f"{number}.model.{key}"] for name, key in _IN_FILE.items()}
    ceiling = None
    if names["truth"]:
        own = {name: arrays[f"{number}.ceiling.{_IN_FILE[name]}"] for name in _OF_THE_PREDICTION}
        ceiling = Sums(**(model | own))
    sums = SessionSums(
        session=names["session"],
        unit_ids=tuple(names["unit_ids"]),
        keys=tuple(names["keys"]),
        kinds=tuple(names["kinds"]),
        model=Sums(**model),
        ceiling=ceiling,
    )
    if sums.model.bins.shape != (len(sums.keys), len(sums.unit_ids)):
        raise ValueError("rows or units do not fit the sums")
    return sums
