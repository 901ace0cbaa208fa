"""What a distrustful reviewer runs: leaks between splits, and controls that a score must not survive.

Nothing here changes a score. What is checked, with which thresholds and why: docs/decisions/0007-audit.md.
"""

from visioncore.audit.findings import (
    AUDIT_FILE,
    AuditResult,
    AuditSettings,
    ControlLine,
    Finding,
    Level,
    load_audit,
)
from visioncore.audit.run import audit

__all__ = [
    "AUDIT_FILE",
    "AuditResult",
    "AuditSettings",
    "ControlLine",
    "Finding",
    "Level",
    "audit",
    "load_audit",
]
