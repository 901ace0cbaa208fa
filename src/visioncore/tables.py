"""Results as tables for a terminal: rich renderables, which the command line prints."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from visioncore.audit import AuditResult
    from visioncore.comparison import Comparison
    from visioncore.comparison.matched import MatchedUnit
    from visioncore.evaluation import EvaluationResult
    from visioncore.evaluation.sensorium import ChallengeScore
    from visioncore.lab import Tuning


LONGEST_NAME = 14
"""Characters that leave room for a row's numbers in 80 columns; longer names of models stand in a legend."""
_WORD = re.compile(r".+")
_NUMBER = re.compile(r"[(+-]*\d[\d.,e+-]*%?[),;]*")


class _Fitting(Table):
    """A table whose columns share the terminal's width so that words stay whole, and numbers whatever happens."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        texts = [
            [_plain(console, cell) for cell in (column.header, *column.cells)] for column in self.columns
        ]
        natural = [max(map(cell_len, column)) for column in texts]
        frame = self._extra_width + sum(self._get_padding_width(i) for i in range(len(texts)))
        room = options.max_width - frame
        # Whole words; else, whole but for the headings; else, numbers alone.
        headings, cells = [column[:1] for column in texts], [column[1:] for column in texts]
        numbers = [_longest_word(column, _NUMBER, room) for column in cells]
        words = [max(n, _longest_word(c, _WORD)) for n, c in zip(numbers, cells, strict=True)]
        everything = [max(n, _longest_word(h, _WORD)) for n, h in zip(words, headings, strict=True)]
        least = next((some for some in (everything, words) if sum(some) <= room), numbers)
        # The widest columns give way first.
        shared = max(natural)
        while shared and sum(_widths(natural, least, shared)) > room:
            shared -= 1
        for column, width in zip(self.columns, _widths(natural, least, shared), strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)


def _plain(console: Console, cell: RenderableType) -> str:
    """The text of a cell, as wide as it is."""
    return cell.plain if isinstance(cell, Text) else console.render_str(str(cell)).plain


def _longest_word(texts: list[str], kind: re.Pattern[str], most: int = LONGEST_NAME) -> int:
    return max([1, *(min(cell_len(w), most) for text in texts for w in text.split() if kind.fullmatch(w))])


def _widths(natural: list[int], least: list[int], shared: int) -> list[int]:
    return [max(min(wish, shared), needed) for wish, needed in zip(natural, least, strict=True)]


def table(*headings: str) -> Table:
    """A table that fits any terminal: what is too wide for its column goes on in the next line, and nothing is cut."""
    made = _Fitting(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


def _short_names(names: list[str]) -> tuple[dict[str, str], list[RenderableType]]:
    """What to call the models in the rows, and the legend that says who is who where that is not their name."""
    if max(map(len, names), default=0) <= LONGEST_NAME:
        return {name: name for name in names}, []
    letters = {name: chr(ord("A") + i) if i < 26 else f"A{i - 25}" for i, name in enumerate(names)}
    legend = Table(box=None, pad_edge=False, show_header=False)
    legend.add_column(no_wrap=True)
    legend.add_column(overflow="fold")
    for name, letter in letters.items():
        legend.add_row(letter, Text(name))
    return letters, [legend]


def scores(evaluation: "EvaluationResult") -> RenderableType:
    """An evaluation: overall, and per session, kind of stimulus and class of cell."""
    settings = evaluation.settings
    counts = settings.counts
    told = table(
        "", *(["bits/spike", "95 % interval", "of ceiling"] if counts else []), "correlation", "units"
    )
    rows = [("overall", evaluation.overall)]
    rows += [(f"session {name}", section) for name, section in evaluation.sessions.items()]
    if 1 < len(evaluation.by_subject) < len(evaluation.sessions):
        rows += [(f"subject {name}", section) for name, section in evaluation.by_subject.items()]
    rows += [(name, section) for name, section in evaluation.by_kind.items()]
    rows += [(name, section) for name, section in evaluation.by_class.items()]
    for name, section in rows:
        cells = []
        if counts:
            bits = section.bits_per_spike
            cells += [
                _number(bits.mean, "{:.3f}"),
                _interval(bits.ci95, "{:.3f}"),
                _number(section.fraction_of_ceiling, "{:.1%}"),
            ]
        cells += [_number(section.correlation.mean, "{:.3f}"), str(section.n_units)]
        told.add_row(Text(name), *cells)
    conditions = (
        f"{settings.split} split, {_bins(settings.bin_ms)}, the first {settings.burn_in_s:g} s of "
        f"every block left out; null: {settings.null}; {_causal(settings.causal)}"
    )
    return Group(told, conditions)


def comparison(compared: "Comparison") -> RenderableType:
    """A comparison: scores and paired differences, and what each model cost."""
    settings = compared.settings
    reference, metric = settings.reference, settings.selection_metric
    label = "bits/spike" if metric == "bits_per_spike" else metric
    counts = metric == "bits_per_spike"
    overall = compared.overall
    called, legend = _short_names(list(overall.models))
    scores = table(
        "",
        *(label, "95 % interval", f"less {called[reference]}", "paired 95 % interval", "better units"),
    )
    facts = table(
        "",
        *(["of ceiling", "correlation"] if counts else []),
        *("CC_norm", "seeds", "seed SD", "params", "TFLOP", "min"),
    )
    for name in compared.ranked():
        own = overall.models[name]
        score, difference, of_model = (
            own.score(metric), overall.differences[name].score(metric), compared.models[name],
        )  # fmt: skip
        less = ["reference", "", ""]
        if name != reference:
            less = [
                _number(difference.mean, "{:+.3f}"),
                _interval(difference.ci95, "{:+.3f}"),
                _number(difference.better_units, "{:.0%}"),
            ]
        cells = [_number(score.mean, "{:.3f}"), _interval(score.ci95, "{:.3f}"), *less]
        scores.add_row(Text(called[name]), *cells)
        flops, wall_s = of_model.training_flops, of_model.wall_s
        of_counts = [
            _number(own.fraction_of_ceiling, "{:.1%}"),
            _number(own.correlation.mean, "{:.3f}"),
        ]
        cells = [
            *(of_counts if counts else []),
            _number(of_model.cc_norm, "{:.2f}"),
            str(len(of_model.seeds)),
            _number(score.seed_sd, "{:.3f}", ""),
            "–" if of_model.parameters is None else f"{of_model.parameters:,}",
            _number(None if flops is None else flops / 1e12, "{:.3g}", "not known"),
            _number(None if wall_s is None else wall_s / 60, "{:.1f}", "not known"),
        ]
        facts.add_row(Text(called[name]), *cells)
    sessions = settings.n_sessions
    conditions = (
        f"{settings.n_units} units of {sessions} session{'s' if sessions != 1 else ''}; {settings.split} split, "
        f"{_bins(settings.bin_ms)}, the first {settings.burn_in_s:g} s of every block left out; null: "
        f"{settings.null}; {_causal(settings.causal)}; intervals resample {settings.resampled}, the same for all models"
    )
    return Group(scores, facts, *legend, conditions)


def challenge(result: "ChallengeScore") -> RenderableType:
    """The score of the Sensorium competition."""
    shown = "images" if result.images else "frames"
    told = table("tier", "all neurons", "mean of mice", "mice", "neurons", shown)
    for tier in result.tiers:
        scores = [f"{tier.all_neurons:.4f}", f"{tier.mean_of_mice:.4f}"]
        told.add_row(Text(tier.tier), *scores, str(len(tier.mice)), str(tier.n_units), str(tier.n_frames))
    spread = "of each neuron" if result.images else "of each frame"
    scaled = f"divided by the published spread {spread}" if result.per_frame_std else "in their own units"
    year, which = (2022, "all images") if result.images else (2023, "frames 50 to 300 of all trials")
    conditions = (
        f"single-trial correlation as in Sensorium {year}: {result.split} split, {which} together, responses {scaled}, "
        f"behaviour {result.behaviour}; causal, one twin"
    )
    return Group(told, conditions)


MOST_MATCHED = 20
"""Units that the screen shows; the file has all."""


def matched(units: "Sequence[MatchedUnit]", where: str) -> RenderableType:
    """Matched units, the scores of both days side by side."""
    told = table("unit", "bits/spike", "was", "bits/spike then", "correlation", "correlation then")
    for unit in units[:MOST_MATCHED]:
        told.add_row(
            Text(f"{unit.session} {unit.unit_id}"),
            _number(unit.bits_per_spike, "{:.3f}"),
            Text(f"{unit.matched_session} {unit.matched_unit_id}"),
            _number(unit.matched_bits_per_spike, "{:.3f}"),
            _number(unit.correlation, "{:.3f}"),
            _number(unit.matched_correlation, "{:.3f}"),
        )
    return Group(told, Text(f"{len(units)} matched units, all of them in {where}"))


def _causal(known: bool | None) -> str:
    return "whether causal is not said" if known is None else "causal" if known else "not causal"


def _bins(bin_ms: float | None) -> str:
    return "one bin for each image" if bin_ms is None else f"bins of {bin_ms:.2f} ms"


def _interval(value: tuple[float, float] | None, form: str) -> str:
    return "" if value is None else f"{form.format(value[0])} to {form.format(value[1])}"


def _number(value: float | None, form: str, unknown: str = "not defined") -> str:
    return unknown if value is None else form.format(value)


def audit(result: "AuditResult") -> RenderableType:
    """Findings, and the controls' scores."""
    colours = {"pass": "green", "note": "yellow", "fail": "red"}
    remedies = any(finding.remedy for finding in result.findings)
    findings = table("check", "", "finding", *(["what to do"] if remedies else []))
    for finding in result.findings:
        colour = colours[finding.level]
        told = [finding.sentence, finding.remedy] if remedies else [finding.sentence]
        findings.add_row(finding.check, f"[{colour}]{finding.level}[/]", *map(escape, told))
    counts = result.settings.response_kind == "counts"
    names = ["correlation", *(["bits_per_spike", "recalibrated_bits_per_spike"] if counts else [])]
    labels = {"correlation": "correlation", "bits_per_spike": "bits/spike"}
    scores = table("test split", "", *(f"{labels.get(name, 'recalibrated')} (95 %)" for name in names))
    for line in result.controls:
        cells = []
        for name in names:
            score = getattr(line, name)
            low_high = _interval(score.ci95, "{:.3f}")
            cells.append(_number(score.mean, "{:.3f}") + (low_high and f" ({low_high})"))
        scores.add_row(line.name, line.role, *cells)
    ran, of = result.settings.audited_test_blocks, result.settings.test_blocks
    conditions = f"controls on {ran}{'' if of is None else f' of {of}'} test blocks"
    if counts:
        conditions += "; recalibrated: rate' = a + b rate fitted on the scored counts"
    return Group(findings, scores, conditions)


def tuning(result: "Tuning") -> RenderableType:
    """Every index of a battery over the units, and how many units lack it, and why."""
    told = table("", "median", "quartiles", "units", "undefined")
    for name, index in result.indices.items():
        why = "; ".join(f"{n}: {reason}" for reason, n in index.undefined.items())
        told.add_row(
            Text(name.replace("_", " ")),
            _number(index.median, "{:.3g}", "" if index.circle else "not defined"),
            _interval(index.quartiles, "{:.3g}"),
            str(int(index.defined.sum())),
            Text(why),
        )
    return Group(told, *map(Text, result.sentences()))
