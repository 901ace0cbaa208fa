"""What an audit found, and its way to a file and back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import SerializeAsAny, model_validator

from visioncore.audit.controls import Role
from visioncore.audit.numbers import LooksNumbers, Numbers, numbers_of
from visioncore.config import AsWritten, Config, Record, read_record
from visioncore.data.store import RecordingStore
from visioncore.errors import ConfigError, DataError
from visioncore.evaluation import Estimate, TestEvaluations
from visioncore.files import write_text
from visioncore.predictor import Predictor
from visioncore.spec import ResponseKind

Level = Literal["pass", "note", "fail"]

AUDIT_VERSION: Literal[1] = 1


class Finding(Config):
    """One check: `note` is for the reader to judge, `fail` is a reason not to believe the score."""

    check: str
    level: Level
    sentence: str
    numbers: SerializeAsAny[Numbers]
    """What the check measured; each has a record of its own."""
    remedy: str = ""
    """What to do; empty where nothing needs doing."""

    @model_validator(mode="before")
    @classmethod
    def _numbers_of_its_check(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("numbers"), Mapping):
            return raw
        return {**raw, "numbers": numbers_of(str(raw.get("check")), raw["numbers"])}

    def to_json(self) -> AsWritten:
        """The finding as plain JSON values."""
        return {**self.model_dump(mode="json"), "numbers": self.numbers.to_json()}


class ControlScores(Record):
    """Means over units, each with its interval; None where a score is not defined, as bits/spike of traces."""

    correlation: Estimate | None = None
    bits_per_spike: Estimate | None = None
    recalibrated_bits_per_spike: Estimate | None = None


class ControlLine(Record):
    """The scores of one prediction, and how far they are from the intact twin's and from behaviour alone."""

    name: str
    role: Role
    correlation: Estimate
    bits_per_spike: Estimate | None
    recalibrated_bits_per_spike: Estimate | None
    less_intact: ControlScores | None = None
    less_behaviour_only: ControlScores | None = None


class AuditSettings(Record):
    """What was audited."""

    audit_version: Literal[1]
    """`AUDIT_VERSION`, of which an audit of another version is not read."""
    visioncore: str
    twin_digest: str
    data_fingerprint: str
    seed: int
    audited_test_blocks: int
    """That are left after burn-in, and that controls ran on."""
    test_blocks: int | None = None
    """None in an audit of before they were counted."""
    response_kind: ResponseKind
    bin_ms: float | None
    """None for static images."""


class AuditResult(Config):
    """All findings, and the scores of the controls that some of them rest on."""

    settings: AuditSettings
    findings: tuple[Finding, ...]
    controls: tuple[ControlLine, ...]
    """The intact score, the reference levels and the controls, each with its role, its scores and intervals."""

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(finding.level != "fail" for finding in self.findings)

    def with_evaluations(self, evaluations: TestEvaluations) -> "AuditResult":
        """The same with one more finding: how often the run's test split has been evaluated."""
        sentence = f"{str(evaluations).capitalize()}, this audit included."
        several = evaluations.n_twins > 1
        remedy = "say so beside the score: a twin chosen by its test score needs another test split"
        counted = Finding(
            check="test evaluations",
            level="note" if several else "pass",
            sentence=sentence,
            numbers=LooksNumbers(times=evaluations.n_times, twins=evaluations.n_twins),
            remedy=remedy if several else "",
        )
        return self.model_copy(update={"findings": (*self.findings, counted)})

    def to_json(self) -> AsWritten:
        """The result as plain JSON values."""
        return {
            "settings": self.settings.to_json(),
            "passed": self.passed,
            "findings": [finding.to_json() for finding in self.findings],
            "controls": [line.to_json() for line in self.controls],
        }

    @classmethod
    def from_json(cls, raw: Any) -> "AuditResult":
        """The result that `to_json` wrote.

        Raises:
            DataError: it is not one.
        """
        try:
            return read_record(cls, {name: raw[name] for name in cls.model_fields})
        except (ConfigError, TypeError, KeyError):
            raise DataError(
                "not an audit of this version of VisionCore; run 'visioncore audit' again"
            ) from None

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
    same = (result.settings.twin_digest, result.settings.data_fingerprint)
    return result if same == (twin.digest, store.fingerprint) else None
