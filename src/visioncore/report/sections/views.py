"""How far the view was learned to move with the eyes."""

from visioncore.evaluation import learned_views
from visioncore.report.sections.base import Section, Shown, rendered


def views(shown: Shown) -> Section | None:
    """A table per session, where the twin has an adapter that shifts."""
    found = learned_views(shown.twin, shown.store, shown.split)
    return Section("Learned views", rendered("views", shown, views=found)) if found else None
