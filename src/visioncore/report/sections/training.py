"""How the training went."""

from visioncore.report import figures
from visioncore.report.sections.base import Section, Shown, rendered


def training(shown: Shown) -> Section | None:
    """Curves, where the run folder holds a history."""
    if not shown.history:
        return None
    curves = figures.training_curves(shown.history, shown.score_label)
    return Section("Training", rendered("training", shown, curves=curves))
