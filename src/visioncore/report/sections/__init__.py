"""The sections of the report. To add one, write a function from `Shown` to `Section`, and name it in `SECTIONS`."""

from visioncore.report.sections.audit import audit
from visioncore.report.sections.base import MakeSection, Section, Shown, rendered
from visioncore.report.sections.headline import headline
from visioncore.report.sections.inside import analyses, attention
from visioncore.report.sections.members import members
from visioncore.report.sections.provenance import provenance
from visioncore.report.sections.receptive_fields import receptive_fields
from visioncore.report.sections.responses import clip, repeats
from visioncore.report.sections.scores import every_unit, tables
from visioncore.report.sections.training import training
from visioncore.report.sections.views import views

SECTIONS: tuple[MakeSection, ...] = (
    headline,
    clip,
    repeats,
    every_unit,
    receptive_fields,
    attention,
    analyses,
    views,
    training,
    members,
    audit,
    tables,
    provenance,
)
"""In the order in which they stand on the page."""

__all__ = ["SECTIONS", "MakeSection", "Section", "Shown", "rendered"]
