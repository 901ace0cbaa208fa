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
_OF_THE_PREDICTION = ("gain", "y", "yy", "xy")
"""The other sums are of the recording alone, so the truth shares them with the model."""


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
        arrays |= {f"{i}.model.{f.name}": getattr(session.model, f.name) for f in fields(Sums)}
        if session.ceiling is not None:
            arrays |= {f"{i}.ceiling.{name}": getattr(session.ceiling, name) for name in _OF_THE_PREDICTION}
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
    model = {f.name: arrays[f"{number}.model.{f.name}"] for f in fields(Sums)}
    ceiling = None
    if names["truth"]:
        ceiling = Sums(**(model | {name: arrays[f"{number}.ceiling.{name}"] for name in _OF_THE_PREDICTION}))
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
