"""Units that were recorded twice: what the twins of both days are worth for them, side by side."""

import logging
from collections.abc import Sequence
from pathlib import Path

from visioncore.checkpoint import load_twin
from visioncore.config import Record, build_config
from visioncore.data import prepare
from visioncore.evaluation import EvaluationResult, UnitRow, evaluation_of
from visioncore.predictor import Predictor
from visioncore.run_folder import RunFolder
from visioncore.training.experiment import TrainingConfig, recorded_data

logger = logging.getLogger(__name__)


class MatchedUnit(Record):
    """One unit and its match; a score is None where it is not defined."""

    session: str
    unit_id: str
    bits_per_spike: float | None
    correlation: float | None
    matched_session: str
    matched_unit_id: str
    matched_bits_per_spike: float | None
    matched_correlation: float | None


def matched_units(twin: Predictor, result: EvaluationResult) -> tuple[MatchedUnit, ...]:
    """The matched units of a transfer's twin, with its scores of them and those of the twin that they come from.

    The other twin is evaluated on the test split of its own recording, where its run folder holds no evaluation yet.
    """
    matches = twin.provenance.matched_units or ()
    if not matches:
        return ()
    new, old = _by_unit(result.units), _of_origin(twin)
    units = []
    for match in matches:
        here = new.get((match.session, match.unit_id))
        there = old.get((match.matched_session, match.matched_unit_id))
        units.append(
            MatchedUnit.from_json({**match.to_json(), **_scores(here), **_scores(there, "matched_")})
        )
    return tuple(units)


def _scores(row: UnitRow | None, prefix: str = "") -> dict[str, float | None]:
    scores = ("bits_per_spike", "correlation")
    return {f"{prefix}{name}": None if row is None else getattr(row, name) for name in scores}


def _of_origin(twin: Predictor) -> dict[tuple[str, str], UnitRow]:
    """What the twin whose trunk it has is worth for its units; nothing where its run folder is not there."""
    made = twin.provenance.experiment
    assert made is not None
    transfer = build_config(TrainingConfig, made.training.to_json(), "training as recorded").transfer
    assert transfer is not None
    origin = Path(transfer.twin)
    if not RunFolder(origin).experiment.exists():
        logger.warning(
            "%s is no run folder here: what its twin is worth for matched units is not known", origin
        )
        return {}
    data, base = recorded_data(origin)
    return _by_unit(evaluation_of(origin, load_twin(origin), prepare(data, base), with_sums=False).units)


def _by_unit(rows: Sequence[UnitRow]) -> dict[tuple[str, str], UnitRow]:
    return {(row.session, row.unit_id): row for row in rows}
