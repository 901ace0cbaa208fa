"""One self-contained HTML page about a trained twin. Matplotlib is imported in this package only."""

from visioncore.report.page import write_report

__all__ = ["write_report"]
