"""What an audit leaves in files, and how often the test split was looked at."""

import json
from pathlib import Path

import pytest

from audited import (
    constants_of_all_data,
    twin_of,
)
from visioncore.audit import AuditResult, AuditSettings, audit, load_audit
from visioncore.audit.numbers import ContextNumbers
from visioncore.data import RecordingStore
from visioncore.errors import DataError
from visioncore.evaluation import read_test_evaluations, record_test_evaluation
from visioncore.run_folder import RunFolder


def test_an_audit_survives_its_file_and_belongs_to_one_twin(clean: RecordingStore, tmp_path: Path) -> None:
    twin, path = twin_of(clean), RunFolder(tmp_path).audit
    result = audit(twin, clean, progress=False)
    result.write_json(path)
    again = load_audit(path, twin, clean)
    assert again is not None
    assert again.to_json() == json.loads(path.read_text())
    assert again == result
    assert again.passed
    other = twin_of(clean, spec=clean.spec.with_constants(constants_of_all_data(clean)))
    assert load_audit(path, other, clean) is None
    path.write_text(json.dumps(result.to_json() | {"findings": [{"check": "context"}]}))
    assert load_audit(path, twin, clean) is None
    with pytest.raises(DataError, match="run 'visioncore audit' again"):
        AuditResult.from_json({})


def test_numbers_are_records_and_those_of_another_version_are_kept_as_they_are(clean: RecordingStore) -> None:
    raw = audit(twin_of(clean), clean, progress=False).to_json()
    context = next(finding for finding in raw["findings"] if finding["check"] == "context")
    found = AuditResult.from_json(raw)
    assert found.to_json() == raw
    measured = next(finding.numbers for finding in found.findings if finding.check == "context")
    assert isinstance(measured, ContextNumbers)
    assert measured.burn_in_s == context["numbers"]["burn_in_s"]
    context["numbers"] = {"n_overlaps": "none", "novelty": [1]}
    raw["findings"].append(context | {"check": "of another version"})
    assert AuditResult.from_json(raw).to_json() == raw


def test_every_look_at_the_test_split_is_counted(tmp_path: Path) -> None:
    assert str(read_test_evaluations(tmp_path)) == "test split never evaluated"
    for number, twin in enumerate(["one", "one", "two"]):
        counted = record_test_evaluation(tmp_path, twin, "data", {"bin_ms": number}, "evaluate")
    assert str(counted) == "test split evaluated 3 times, by 2 different twins"
    entries = read_test_evaluations(tmp_path).entries
    assert [entry.settings["bin_ms"] for entry in entries] == [0, 1, 2]
    assert {"time", "visioncore", "commit", "purpose"} <= entries[0].to_json().keys()
    RunFolder(tmp_path).test_evaluations.write_text("[{]")
    with pytest.raises(DataError, match="no record of test evaluations"):
        record_test_evaluation(tmp_path, "three", "data", {}, "audit")


def test_several_twins_on_one_test_split_are_noted(tmp_path: Path) -> None:
    result = AuditResult(
        settings=AuditSettings(
            audit_version=1,
            visioncore="0.1.0",
            twin_digest="one",
            data_fingerprint="data",
            seed=0,
            audited_test_blocks=1,
            response_kind="counts",
            bin_ms=10.0,
        ),
        findings=(),
        controls=(),
    )
    for twin, level in (("one", "pass"), ("two", "note")):
        counted = record_test_evaluation(tmp_path, twin, "data", {}, "audit")
        finding = result.with_evaluations(counted).findings[-1]
        assert (finding.check, finding.level) == ("test evaluations", level)
