"""The audit of a run folder's twin, which counts as a look at its test split."""

from pathlib import Path

from visioncore.audit.findings import AuditResult
from visioncore.audit.run import audit
from visioncore.data import RecordingStore
from visioncore.evaluation import count_test_evaluation
from visioncore.predictor import Predictor
from visioncore.run_folder import RunFolder


def audit_of(run: Path, twin: Predictor, store: RecordingStore, *, keep: bool) -> AuditResult:
    """Audit a twin, count that as an evaluation of the test split, and keep it in the run folder."""
    result = audit(twin, store)
    counted = count_test_evaluation(
        run, result.settings.twin_digest, result.settings.data_fingerprint, None, "audit"
    )
    if counted is not None:
        result = result.with_evaluations(counted)
    if run.is_dir() and keep:
        result.write_json(RunFolder(run).audit)
    return result
