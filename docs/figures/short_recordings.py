"""Draw score against minutes of recording and of training, and print what the minutes are worth.

    python docs/figures/short_recordings.py OUT.png MINUTES TITLE=comparison.json [TITLE=comparison.json ...]

MINUTES is what the whole recording has for training. The comparisons are those of experiments/benchmarks,
of suites short*.yaml, whose models are called CORE[-share-SHARE]-MINUTESmin.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

NAME = re.compile(r"(?P<core>\w+?)(-share-(?P<share>[\d.]+))?-(?P<minutes>[\d.]+)min")
COLOURS = {"vivit": "#0072b2", "resnet": "#d55e00", "x3d": "#009e73", "ln": "#555555"}
LABELS = {"vivit": "ViViT", "resnet": "ResNet", "x3d": "X3D", "ln": "linear-nonlinear"}

Cells = dict[tuple[str, float, float], str]
"""The model's name by core, share of the recording and minutes of training."""


def cells(comparison: dict[str, Any]) -> Cells:
    """Which model of a comparison is which."""
    found: Cells = {}
    for name in comparison["models"]:
        if match := NAME.fullmatch(name):
            found[match["core"], float(match["share"] or 1), float(match["minutes"])] = name
    return found


def lines(comparison: dict[str, Any], whole: float) -> list[str]:
    """A Markdown table: each core's scores, and what the longer training is worth, paired."""
    found = cells(comparison)
    short, long = sorted({minutes for _, _, minutes in found})
    shares = sorted({share for _, share, _ in found})
    rows = [
        f"| minutes of recording | core | {short:g} minutes | {long:g} minutes | the longer less the shorter | "
        "ViViT less this core |",
        "|---|---|---|---|---|---|",
    ]
    for share in shares:
        for core in COLOURS:
            names = [found.get((core, share, minutes)) for minutes in (short, long)]
            if None in names:
                continue
            scores = [comparison["overall"]["models"][name]["bits_per_spike"]["mean"] for name in names]
            gain = comparison["matrix"][names[1]][names[0]]["bits_per_spike"]
            lead = ""
            if core != "vivit" and (best := found.get(("vivit", share, long))):
                lead = _with_interval(comparison["matrix"][best][names[1]]["bits_per_spike"])
            values = (f"{whole * share:.0f}", LABELS[core], *(f"{score:.3f}" for score in scores))
            rows.append(f"| {' | '.join((*values, _with_interval(gain), lead))} |")
    return rows


def _with_interval(difference: dict[str, Any]) -> str:
    low, high = difference["ci95"]
    return f"{difference['mean']:+.3f} ({low:+.3f} to {high:+.3f})"


def draw(comparisons: dict[str, dict[str, Any]], whole: float) -> Figure:
    """One panel per recording."""
    figure = Figure(figsize=(4.2 * len(comparisons), 3.6), layout="constrained")
    panels = figure.subplots(1, len(comparisons), squeeze=False)[0]
    for axes, (title, comparison) in zip(panels, comparisons.items(), strict=True):
        found = cells(comparison)
        longest = max(minutes for _, _, minutes in found)
        for core, colour in COLOURS.items():
            for minutes in sorted({m for c, _, m in found if c == core}):
                own = sorted((s, n) for (c, s, m), n in found.items() if (c, m) == (core, minutes))
                scores = [comparison["overall"]["models"][n]["bits_per_spike"]["mean"] for _, n in own]
                axes.plot(
                    [whole * share for share, _ in own],
                    scores,
                    color=colour,
                    marker="o",
                    ms=4,
                    ls="-" if minutes == longest else ":",
                    label=f"{LABELS[core]}, {minutes:g} min",
                )
        ticks = sorted({whole * share for _, share, _ in found})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
        axes.minorticks_off()
        axes.set(title=title, xlabel="minutes of recording trained on", ylabel="bits/spike on test")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def main() -> None:
    """Draw and print."""
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    out, whole = Path(sys.argv[1]), float(sys.argv[2])
    comparisons = {}
    for argument in sys.argv[3:]:
        title, _, path = argument.partition("=")
        comparisons[title] = json.loads(Path(path).read_text(encoding="utf-8"))
        sys.stdout.write("\n".join([title, "", *lines(comparisons[title], whole), "", ""]))
    draw(comparisons, whole).savefig(out, dpi=120)


if __name__ == "__main__":
    main()
