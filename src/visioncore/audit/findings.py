"""What an audit found, and its way to a file and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from visioncore.data.store import RecordingStore
from visioncore.errors import DataError
from visioncore.evaluation import TestEvaluations
from visioncore.files import write_text
from visioncore.predictor import Predictor

Json = dict[str, Any]
Level = Literal["pass", "note", "fail"]

AUDIT_VERSION = 1
_LEVELS = ("pass", "note", "fail")
_LINE_KEYS = frozenset(["name", "role", "correlation", "bits_per_spike", "recalibrated_bits_per_spike"])


@dataclass(frozen=True)
class Finding:
    """One check: `note` is for the reader to judge, `fail` is a reason not to believe the score."""

    check: str
    level: Level
    sentence: str
    numbers: Json
    remedy: str = ""
    """What to do; empty where nothing needs doing."""


@dataclass(frozen=True)
class AuditResult:
    """All findings, and the scores of the controls that some of them rest on."""

    settings: Json
    findings: tuple[Finding, ...]
    controls: tuple[Json, ...]
    """The intact score, the reference levels and the controls, each with its role, its scores and intervals."""

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(finding.level != "fail" for finding in self.findings)

    def with_evaluations(self, evaluations: TestEvaluations) -> "AuditResult":
        """The same with one more finding: how often the run's test split has been evaluated."""
        numbers = {"times": evaluations.n_times, "twins": evaluations.n_twins}
        sentence = f"{str(evaluations).capitalize()}, this audit included."
        several = evaluations.n_twins > 1
        remedy = "say so beside the score: a twin chosen by its test score needs another test split"
        counted = Finding(
            "test evaluations", "note" if several else "pass", sentence, numbers, remedy if several else ""
        )
        return replace(self, findings=(*self.findings, counted))

    def to_json(self) -> Json:
        """The result as plain JSON values."""
        return {
            "settings": self.settings,
            "passed": self.passed,
            "findings": [vars(finding) for finding in self.findings],
            "controls": list(self.controls),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "AuditResult":
        """The result that `to_json` wrote.

        Raises:
            DataError: it is not one.
        """
        try:
            findings = tuple(Finding(**finding) for finding in raw["findings"])
            result = cls(raw["settings"], findings, tuple(raw["controls"]))
            sound = (
                result.settings["audit_version"] == AUDIT_VERSION
                and all(f.level in _LEVELS and isinstance(f.numbers, dict) for f in findings)
                and all(line.keys() >= _LINE_KEYS for line in result.controls)
            )
        except (TypeError, KeyError, AttributeError):
            sound = False
        if not sound:
            raise DataError("not an audit of this version of VisionCore; run 'visioncore audit' again")
        return result

    def write_json(self, path: Path) -> None:
        write_text(path, json.dumps(self.to_json(), indent=1, allow_nan=False))


def load_audit(path: Path, twin: Predictor, store: RecordingStore) -> AuditResult | None:
    """An audit written earlier, if it is of this very twin on this very store; None otherwise."""
    if not path.exists():
        return None
    try:
        result = AuditResult.from_json(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        return None
    same = (result.settings.get("twin_digest"), result.settings.get("data_fingerprint"))
    return result if same == (twin.digest, store.fingerprint) else None
