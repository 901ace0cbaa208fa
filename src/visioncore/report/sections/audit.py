"""What a distrustful reader would check."""

from visioncore.report import figures
from visioncore.report.sections.base import Section, Shown, rendered


def audit(shown: Shown) -> Section | None:
    """Findings and controls, where the run folder holds an audit of this twin."""
    if shown.audit is None:
        return None
    controls = figures.control_scores(shown.audit.controls)
    return Section("Audit", rendered("audit", shown, controls=controls), anchor="audit")
