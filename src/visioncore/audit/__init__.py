"""What a distrustful reviewer runs: leaks between splits, and controls that a score must not survive.

Nothing here changes a score. What is checked, with which thresholds and why: docs/decisions/0007-audit.md.
"""

from visioncore.audit.findings import AuditResult, AuditSettings, ControlLine, Finding, Level, load_audit
from visioncore.audit.of_run import audit_of
from visioncore.audit.run import audit

__all__ = [
    "AuditResult",
    "AuditSettings",
    "ControlLine",
    "Finding",
    "Level",
    "audit",
    "audit_of",
    "load_audit",
]
