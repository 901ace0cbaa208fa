"""Self-contained HTML pages about trained twins. Matplotlib is imported in this package only."""

from visioncore.report.comparison_page import write_comparison
from visioncore.report.page import write_report
from visioncore.report.sections import SECTIONS, Section, Shown

__all__ = ["SECTIONS", "Section", "Shown", "write_comparison", "write_report"]
