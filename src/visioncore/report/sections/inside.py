"""What `look` and `tune` found, and attention maps, which stand in every report."""

from pathlib import Path

from visioncore.drawing import as_png, png_uri
from visioncore.lab import Rig
from visioncore.lab.analysis import KeptAnalysis, kept_analyses
from visioncore.lab.attention import AttentionMaps, attention_maps, has_attention
from visioncore.lab.look import known_fields
from visioncore.report.sections.base import Section, Shown, rendered

UNITS, MOMENTS = 6, 2
"""Attention is looked at in so few where `look` has not been run."""


def attention(shown: Shown) -> Section | None:
    """Maps with their checks: those that `look` kept, else of some units, made now. None where nothing attends."""
    if not has_attention(shown.twin) or shown.twin.spec.sampling.rate_hz is None:
        return None
    for path, kept in kept_analyses(shown.run_dir, shown.twin.digest):
        if path.stem == AttentionMaps.name:
            return Section(kept.title, _html(shown, path, kept), anchor=AttentionMaps.name)
    rig = Rig.of(shown.twin, shown.store)
    found = attention_maps(
        rig, shown.store, known_fields(rig, shown.store), units=UNITS, moments=MOMENTS, attributions=False
    )
    if found is None:
        return None
    figures = [(png_uri(as_png(drawn.figure)), drawn.caption) for drawn in found.figures()]
    html = rendered(
        "inside",
        shown,
        sentences=found.sentences(),
        behaviour=found.behaviour,
        figures=figures,
        more="Of few units and moments; `visioncore look RUN` looks at more, and adds gradient attribution.",
    )
    return Section(found.title, html, anchor=found.name)


def analyses(shown: Shown) -> Section | None:
    """Every other analysis of this very twin that the run folder keeps."""
    kept = [
        (one.title, _html(shown, path, one))
        for path, one in kept_analyses(shown.run_dir, shown.twin.digest)
        if path.stem != AttentionMaps.name
    ]
    if not kept:
        return None
    return Section(
        "Inside the twin", "\n".join(f"<h3>{title}</h3>\n{html}" for title, html in kept), anchor="inside"
    )


def _html(shown: Shown, path: Path, kept: KeptAnalysis) -> str:
    figures = [(png_uri((path.parent / one.file).read_bytes()), one.caption) for one in kept.figures]
    return rendered(
        "inside", shown, sentences=kept.sentences, behaviour=kept.behaviour, figures=figures, more=""
    )
