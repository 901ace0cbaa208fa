"""What an evaluation found, and its way to files and back."""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, InstanceOf

from visioncore.config import Config, read_record
from visioncore.data.store import RecordingStore
from visioncore.errors import ConfigError, DataError
from visioncore.evaluation.records import EvaluationSettings, ScoredSection, UnitRow, unit_table
from visioncore.evaluation.session_sums import SessionSums, read_sums, write_sums
from visioncore.files import write_csv, write_text
from visioncore.predictor import Predictor
from visioncore.run_folder import RunFolder


class EvaluationResult(Config):
    """Everything that `visioncore evaluate` tells; None stands where a score is not defined."""

    settings: EvaluationSettings
    overall: ScoredSection
    sessions: dict[str, ScoredSection]
    by_subject: dict[str, ScoredSection] = Field(default_factory=dict)
    by_kind: dict[str, ScoredSection]
    by_class: dict[str, ScoredSection]
    by_phase: dict[str, ScoredSection]
    units: tuple[UnitRow, ...] = Field(min_length=1, repr=False)
    sums: tuple[InstanceOf[SessionSums], ...] = Field(default=(), repr=False, exclude=True)
    """What a paired comparison resamples; not part of the JSON, and empty where it was not kept."""

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        told: dict[str, Any] = self.model_dump(mode="json", exclude_unset=True)
        return told

    @classmethod
    def from_json(cls, raw: Any) -> "EvaluationResult":
        """The result that `to_json` wrote.

        Raises:
            DataError: it is not one.
        """
        try:
            return read_record(cls, raw)
        except ConfigError as error:
            raise DataError(
                f"not an evaluation of this version of VisionCore ({error}); evaluate again"
            ) from None

    def write_to(self, run_dir: Path) -> None:
        """Write evaluation_SPLIT.npz and then evaluation_SPLIT.json into a run folder."""
        path = RunFolder(run_dir).evaluation(self.settings.split)
        write_sums(path.with_suffix(".npz"), self.sums, self.settings)
        self.write_json(path)

    def write_json(self, path: Path) -> None:
        write_text(path, json.dumps(self.to_json(), indent=1, allow_nan=False))

    def write_table(self, path: Path) -> None:
        """The table as CSV; an undefined score is an empty field."""
        write_csv(path, unit_table(self.units))


def load_evaluation(path: Path, twin: Predictor, store: RecordingStore) -> EvaluationResult | None:
    """An evaluation written earlier, if it is of this very twin on this very store; None otherwise.

    It has its sums where they stand beside the JSON and are of the same evaluation.
    """
    if not path.exists():
        return None
    try:
        result = EvaluationResult.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return None
    same = (result.settings.twin_digest, result.settings.data_fingerprint)
    if same != (twin.digest, store.fingerprint):
        return None
    sums = read_sums(path.with_suffix(".npz"), result.settings)
    return result.model_copy(update={"sums": sums or ()})
