"""Where units look."""

from visioncore.report.fields import field_figure, median_distance
from visioncore.report.sections.base import Section, Shown, rendered


def receptive_fields(shown: Shown) -> Section | None:
    """The readout's Gaussians over a frame, beside the true fields where those are known."""
    if shown.is_ensemble:  # each member has fields of its own
        return None
    fields = field_figure(shown.twin, shown.store, shown.split)
    distance = median_distance(shown.twin, shown.store)
    return Section("Receptive fields", rendered("receptive_fields", shown, fields=fields, distance=distance))
