"""What a twin knows of every unit, as one table: where it looks, what it reads there, what was measured and scored."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visioncore.config import AsWritten
from visioncore.errors import ConfigError, DataError
from visioncore.evaluation import EvaluationResult
from visioncore.files import partial_beside, replace_durably, write_csv
from visioncore.model import Twin
from visioncore.parquet import require_parquet
from visioncore.run_folder import RunFolder
from visioncore.spec import SessionSpec

SCORES = ("bits_per_spike", "ceiling", "correlation", "cc_norm", "feve", "fev", "oracle", "excluded_reason")
"""Of the test split, from the run folder's evaluation."""


def embed(twin: Twin, run: Path | None = None) -> list[AsWritten]:
    """A row per unit of the twin; all rows have the same columns, and None stands where something is not known.

    Columns: `session`, `subject`, `unit_id`; what was measured of units (`unit_depth`, say); for readouts that look
    somewhere `row_px` and `column_px` (from the top left corner), `width_px` (the geometric mean of the two standard
    deviations), `along_px`, `across_px`, `angle` (radians), and the same centre and width in degrees or micrometres
    where the session's geometry says so; the readout's weights on the core's features, `feature_0` and so on; and the
    scores (`SCORES`) that stand in the run folder.

    Raises:
        DataError: the run folder's evaluation is of another twin.
    """
    scores = {} if run is None else _scores(twin, run)
    measured = dict.fromkeys(name for session in twin.spec.sessions for name in session.units)
    rows: list[AsWritten] = []
    for session in twin.spec.sessions:
        parts = [_places(twin, session), _features(twin, session)]
        for k, unit in enumerate(session.unit_ids):
            row: AsWritten = {"session": session.id, "subject": session.subject, "unit_id": unit}
            row |= {
                f"unit_{name}": session.units[name][k] if name in session.units else None for name in measured
            }
            for part in parts:
                row |= {name: float(values[k]) for name, values in part.items()}
            rows.append(row | scores.get((session.id, unit), dict.fromkeys(SCORES if scores else ())))
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def write_embedding(path: Path, rows: list[AsWritten]) -> None:
    """Write the table, as Parquet or CSV by its ending.

    Raises:
        ConfigError: another ending, or Parquet without pyarrow.
    """
    if path.suffix == ".csv":
        return write_csv(path, rows)
    if path.suffix != ".parquet":
        raise ConfigError(f"{path}: expected a name that ends in .parquet or .csv")
    pyarrow = require_parquet(path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_beside(path)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), partial)
    replace_durably(partial, path)
    return None


def _places(twin: Twin, session: SessionSpec) -> dict[str, np.ndarray]:
    readout = twin.placed_readout(session.id)
    if readout is None:
        return {}
    with torch.no_grad():
        (row, column), (along, across) = (
            t.double().cpu().numpy().T for t in (readout.centres_px(), readout.widths_px())
        )
        angle = readout.angles().double().cpu().numpy()
    width = np.sqrt(along * across)
    found = {"row_px": row, "column_px": column, "width_px": width}
    found |= {"along_px": along, "across_px": across, "angle": angle}
    geometry, sampling = session.geometry, twin.spec.sampling
    right, up = column - sampling.width / 2, sampling.height / 2 - row
    if geometry.degrees_per_pixel is not None:
        x, y = geometry.centre_deg or (0.0, 0.0)
        per_pixel = geometry.degrees_per_pixel
        found |= {"x_deg": x + right * per_pixel, "y_deg": y + up * per_pixel, "width_deg": width * per_pixel}
    if geometry.um_per_pixel is not None:
        per_pixel = geometry.um_per_pixel
        found |= {"x_um": right * per_pixel, "y_um": up * per_pixel, "width_um": width * per_pixel}
    return found


def _features(twin: Twin, session: SessionSpec) -> dict[str, np.ndarray]:
    readout = twin.heads[session.id].readout
    weights = None if readout is None else readout.feature_weights()
    if weights is None:
        return {}
    return {f"feature_{k}": values for k, values in enumerate(weights.detach().float().cpu().numpy().T)}


def _scores(twin: Twin, run: Path) -> Mapping[tuple[str, str], dict[str, Any]]:
    path = RunFolder.of(run).evaluation("test")
    if not path.exists():
        return {}
    result = EvaluationResult.from_json(json.loads(path.read_text(encoding="utf-8")))
    if result.settings.twin_digest != twin.digest:
        raise DataError(f"{path}: is of another twin than the one beside it; evaluate again")
    return {
        (unit.session, unit.unit_id): {name: getattr(unit, name) for name in SCORES} for unit in result.units
    }
