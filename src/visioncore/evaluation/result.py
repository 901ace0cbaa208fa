"""What an evaluation found, and its way to files and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from visioncore.data.store import RecordingStore
from visioncore.errors import DataError
from visioncore.evaluation.session_sums import SessionSums, read_sums, write_sums
from visioncore.files import write_csv, write_text
from visioncore.predictor import Predictor
from visioncore.run_folder import RunFolder

Json = dict[str, Any]

_ON_REPEATS = ("cc_norm", "feve", "correlation_to_average", "oracle")
SECTION_KEYS = frozenset(
    [
        *("bits_per_spike", "correlation", "ceiling", "fraction_of_ceiling", "fraction_of_ceiling_ci95"),
        *_ON_REPEATS,
        *(f"{name}_n_units" for name in _ON_REPEATS),
        *("n_repeats", "n_units", "n_excluded", "n_bins"),
    ]
)
ROW_KEYS = frozenset(
    [
        "session",
        "unit_id",
        "cell_class",
        "bits_per_spike",
        "ceiling",
        "correlation",
        "n_repeats",
        "excluded_reason",
    ]
)


@dataclass(frozen=True)
class EvaluationResult:
    """Everything that `visioncore evaluate` tells; None stands where a score is not defined."""

    settings: Json
    overall: Json
    sessions: dict[str, Json]
    by_kind: dict[str, Json]
    by_class: dict[str, Json]
    by_phase: dict[str, Json]
    units: list[Json] = field(repr=False)
    sums: tuple[SessionSums, ...] = field(default=(), repr=False)
    """What a paired comparison resamples; not part of the JSON, and empty where it was not kept."""

    def to_json(self) -> Json:
        """The result as plain JSON values."""
        return {name: part for name, part in vars(self).items() if name != "sums"}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "EvaluationResult":
        """The result that `to_json` wrote.

        Raises:
            DataError: it is not one.
        """
        try:
            result = cls(**raw)
        except TypeError as error:
            raise DataError(
                f"not an evaluation of this version of VisionCore ({error}); evaluate again"
            ) from None
        for name, sound in _soundness(result).items():
            if not sound:
                raise DataError(
                    f"not an evaluation of this version of VisionCore ('{name}' is damaged); evaluate again"
                )
        return result

    def write_to(self, run_dir: Path) -> None:
        """Write evaluation_SPLIT.npz and then evaluation_SPLIT.json into a run folder."""
        path = RunFolder(run_dir).evaluation(self.settings["split"])
        write_sums(path.with_suffix(".npz"), self.sums, self.settings)
        self.write_json(path)

    def write_json(self, path: Path) -> None:
        write_text(path, json.dumps(self.to_json(), indent=1, allow_nan=False))

    def write_table(self, path: Path) -> None:
        """The table as CSV; an undefined score is an empty field."""
        write_csv(path, self.units)


def _soundness(result: EvaluationResult) -> dict[str, bool]:
    """Whether each part has the shape that readers rely on."""
    sections = {
        name: isinstance(part, dict) and all(_is_section(section) for section in part.values())
        for name, part in vars(result).items()
        if name in ("sessions", "by_kind", "by_class", "by_phase")
    }
    rows = result.units
    return {
        "settings": isinstance(result.settings, dict),
        "overall": _is_section(result.overall),
        **sections,
        "units": isinstance(rows, list) and bool(rows) and all(_has(row, ROW_KEYS) for row in rows),
    }


def _is_section(section: Any) -> bool:
    parts = ("bits_per_spike", "correlation", "ceiling")
    return _has(section, SECTION_KEYS) and all(isinstance(section[part], dict) for part in parts)


def _has(part: Any, keys: frozenset[str]) -> bool:
    return isinstance(part, dict) and keys <= part.keys()


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
    same = (result.settings.get("twin_digest"), result.settings.get("data_fingerprint"))
    if same != (twin.digest, store.fingerprint):
        return None
    return replace(result, sums=read_sums(path.with_suffix(".npz"), result.settings) or ())
