"""What an ensemble is made of."""

from visioncore.model import Ensemble
from visioncore.report.sections.base import Section, Shown, rendered


def members(shown: Shown) -> Section | None:
    """A row per twin, with the validation score that it was kept for."""
    if not isinstance(shown.twin, Ensemble):
        return None
    rows = [
        {
            "digest": member.digest[:12],
            "core": member.config.convnet.type,
            "seed": member.provenance.seed,
            "validation": None if (kept := member.provenance.metrics) is None else kept.validation_score,
            "parameters": sum(p.numel() for p in member.parameters()),
        }
        for member in shown.twin.members
    ]
    return Section("Members of the ensemble", rendered("members", shown, rows=rows))
