"""The page of a comparison: pictures first, the conditions beside the numbers, tables last."""

from pathlib import Path

from matplotlib import rc_context

from visioncore.checkpoint import replace_durably
from visioncore.comparison import Comparison
from visioncore.evaluation import write_atomically
from visioncore.report.comparison_figures import SCORE_LABELS, all_figures
from visioncore.report.environment import page_environment
from visioncore.report.figures import as_png, png_uri


def write_comparison(comparison: Comparison, out: Path, title: str) -> Path:
    """Write comparison.html, .json and .csv, comparison_units.csv, and the figures as PNG and SVG into `out`.

    Returns the page, which is written last, complete or not at all, and needs no network and no other file.
    """
    comparison.write_json(out / "comparison.json")
    comparison.write_table(out / "comparison.csv")
    comparison.write_units(out / "comparison_units.csv")
    images = {}
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for name, figure in all_figures(comparison).items():
        png = as_png(figure)
        images[name] = png_uri(png)
        partial = out / "figures" / f".{name}.png.partial"
        partial.write_bytes(png)
        replace_durably(partial, out / "figures" / f"{name}.png")
        partial = out / "figures" / f".{name}.svg.partial"
        with rc_context({"svg.hashsalt": "visioncore"}):
            figure.savefig(partial, format="svg", metadata={"Date": None})
        replace_durably(partial, out / "figures" / f"{name}.svg")
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
    write_atomically(out / "comparison.html", page)
    return out / "comparison.html"
