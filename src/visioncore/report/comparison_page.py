"""The page of a comparison: pictures first, the conditions beside the numbers, tables last."""

import io
from pathlib import Path

from matplotlib import rc_context

from visioncore.comparison import Comparison
from visioncore.drawing import as_png, png_uri
from visioncore.files import write_bytes, write_text
from visioncore.report.comparison_figures import SCORE_LABELS, all_figures
from visioncore.report.environment import page_environment


def write_comparison(comparison: Comparison, out: Path, title: str) -> Path:
    """Write comparison.html, .json and .csv, comparison_units.csv, and the figures as PNG and SVG into `out`.

    Returns the page, which is written last, complete or not at all, and needs no network and no other file.
    """
    comparison.write_json(out / "comparison.json")
    comparison.write_table(out / "comparison.csv")
    comparison.write_units(out / "comparison_units.csv")
    images = {}
    for name, figure in all_figures(comparison).items():
        png = as_png(figure)
        images[name] = png_uri(png)
        write_bytes(out / "figures" / f"{name}.png", png)
        svg = io.BytesIO()
        with rc_context({"svg.hashsalt": "visioncore"}):
            figure.savefig(svg, format="svg", metadata={"Date": None})
        write_bytes(out / "figures" / f"{name}.svg", svg.getvalue())
    metric = comparison.settings.selection_metric
    page = (
        page_environment()
        .get_template("comparison.html.j2")
        .render(
            title=title,
            comparison=comparison,
            settings=comparison.settings,
            metric=metric,
            label=SCORE_LABELS[metric],
            images=images,
            names=comparison.ranked(),
            cuts={
                "Stimulus kind": comparison.by_kind,
                "Cell class": comparison.by_class,
                "Session": comparison.sessions if len(comparison.sessions) > 1 else {},
            },
        )
    )
    write_text(out / "comparison.html", page)
    return out / "comparison.html"
