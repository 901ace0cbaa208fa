"""Results as tables for a terminal: rich renderables, which the command line prints."""

import math
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from visioncore.audit import AuditResult


def scores(evaluation: dict[str, Any]) -> RenderableType:
    """An evaluation's JSON: overall, and per session, kind of stimulus and class of cell."""
    settings = evaluation["settings"]
    counts = settings["response_kind"] == "counts"
    table = Table(
        "", *(["bits/spike", "95 % interval", "of ceiling"] if counts else []), "correlation", "units"
    )
    rows = [("overall", evaluation["overall"])]
    rows += [(f"session {name}", section) for name, section in evaluation["sessions"].items()]
    rows += [(name, section) for name, section in evaluation["by_kind"].items()]
    rows += [(name, section) for name, section in evaluation.get("by_class", {}).items()]
    for name, section in rows:
        cells = []
        if counts:
            bits = section["bits_per_spike"]
            low_high = bits["ci95"]
            share = section["fraction_of_ceiling"]
            cells += [
                _number(bits["mean"], "{:.3f}"),
                "" if low_high is None else f"{low_high[0]:.3f} to {low_high[1]:.3f}",
                _number(share, "{:.1%}"),
            ]
        table.add_row(
            name, *cells, _number(section["correlation"]["mean"], "{:.3f}"), str(section["n_units"])
        )
    conditions = (
        f"{settings['split']} split, bins of {settings['bin_ms']:.2f} ms, the first {settings['burn_in_s']:g} s of "
        f"every block left out; null: {settings['null']}; causal"
    )
    return Group(table, conditions)


def comparison(compared: dict[str, Any]) -> RenderableType:
    """A comparison's JSON: scores and paired differences, and what each model cost."""
    settings = compared["settings"]
    reference, metric = settings["reference"], settings["selection_metric"]
    label = "bits/spike" if metric == "bits_per_spike" else metric
    counts = metric == "bits_per_spike"
    scores = Table(
        "",
        *(label, "95 % interval", f"less {reference}", "paired 95 % interval", "better units"),
    )
    facts = Table(
        "",
        *(["of ceiling", "correlation"] if counts else []),
        *("CC_norm", "seeds", "seed SD", "parameters", "TFLOP", "minutes"),
    )
    overall = compared["overall"]
    means = {name: own[metric]["mean"] for name, own in overall["models"].items()}
    for name in sorted(
        means, key=lambda name: -math.inf if means[name] is None else means[name], reverse=True
    ):
        own = overall["models"][name]
        score, difference, of_model = (
            own[metric], overall["differences"][name][metric], compared["models"][name],
        )  # fmt: skip
        less = ["reference", "", ""]
        if name != reference:
            less = [
                _number(difference["mean"], "{:+.3f}"),
                _interval(difference["ci95"], "{:+.3f}"),
                _number(difference["better_units"], "{:.0%}"),
            ]
        scores.add_row(
            *(escape(name), _number(score["mean"], "{:.3f}"), _interval(score["ci95"], "{:.3f}")),
            *less,
        )
        flops, wall_s = of_model["training_flops"], of_model["wall_s"]
        of_counts = [
            _number(own["fraction_of_ceiling"], "{:.1%}"),
            _number(own["correlation"]["mean"], "{:.3f}"),
        ]
        facts.add_row(
            *(escape(name), *(of_counts if counts else [])),
            _number(of_model["cc_norm"], "{:.2f}"),
            str(len(of_model["seeds"])),
            _number(score["seed_sd"], "{:.3f}", ""),
            f"{of_model['parameters']:,}",
            _number(None if flops is None else flops / 1e12, "{:.3g}", "not known"),
            _number(None if wall_s is None else wall_s / 60, "{:.1f}", "not known"),
        )
    sessions = settings["n_sessions"]
    conditions = (
        f"{settings['n_units']} units of {sessions} session{'s' if sessions != 1 else ''}; {settings['split']} split, "
        f"bins of {settings['bin_ms']:.2f} ms, the first {settings['burn_in_s']:g} s of every block left out; null: "
        f"{settings['null']}; causal; intervals resample {settings['resampled']}, the same for all models"
    )
    return Group(scores, facts, conditions)


def _interval(value: tuple[float, float] | None, form: str) -> str:
    return "" if value is None else f"{form.format(value[0])} to {form.format(value[1])}"


def _number(value: float | None, form: str, unknown: str = "not defined") -> str:
    return unknown if value is None else form.format(value)


def audit(result: "AuditResult") -> RenderableType:
    """Findings, and the controls' scores."""
    colours = {"pass": "green", "note": "yellow", "fail": "red"}
    remedies = any(finding.remedy for finding in result.findings)
    table = Table("check", "", "finding", *(["what to do"] if remedies else []))
    for finding in result.findings:
        colour = colours[finding.level]
        told = [finding.sentence, finding.remedy] if remedies else [finding.sentence]
        table.add_row(finding.check, f"[{colour}]{finding.level}[/]", *map(escape, told))
    counts = result.settings["response_kind"] == "counts"
    names = ["correlation", *(["bits_per_spike", "recalibrated_bits_per_spike"] if counts else [])]
    labels = {"correlation": "correlation", "bits_per_spike": "bits/spike"}
    scores = Table("test split", "", *(f"{labels.get(name, 'recalibrated')} (95 %)" for name in names))
    for line in result.controls:
        cells = []
        for name in names:
            low_high = _interval(line[name]["ci95"], "{:.3f}")
            cells.append(_number(line[name]["mean"], "{:.3f}") + (low_high and f" ({low_high})"))
        scores.add_row(line["name"], line["role"], *cells)
    ran, of = result.settings["audited_test_blocks"], result.settings["test_blocks"]
    conditions = f"controls on {ran} of {of} test blocks"
    if counts:
        conditions += "; recalibrated: rate' = a + b rate fitted on the scored counts"
    return Group(table, scores, conditions)
