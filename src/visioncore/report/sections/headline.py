"""What stands first: the score, and what it needs to mean something."""

from visioncore.report.sections.base import Section, Shown, rendered


def headline(shown: Shown) -> Section:
    """The score with its interval and conditions."""
    return Section("", rendered("headline", shown), css_class="headline")
