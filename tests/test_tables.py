"""What a terminal shows: however narrow it is and however long the names are, nothing is cut."""

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from visioncore import tables
from visioncore.audit import AuditResult, AuditSettings, Finding
from visioncore.audit.numbers import TrainingDataNumbers
from visioncore.benchmark import display
from visioncore.comparison import ComparedSection, Comparison
from visioncore.comparison.records import (
    ComparisonSettings,
    Difference,
    ModelFacts,
    ModelScore,
    ModelScores,
    PairedDifference,
)
from visioncore.evaluation import EvaluationResult, EvaluationSettings, ScoredSection, UnitRow

LONG = [f"vivit-of-the-year-with-a-name-as-long-as-a-path-{k}" for k in range(4)]
SHORT = ["vivit", "resnet", "x3d", "ln"]
CONDITIONS: dict[str, Any] = {
    "split": "test",
    "bin_ms": 4.1667,
    "bins_summed": 1,
    "sampling_rate_hz": 240.0,
    "burn_in_s": 0.25,
    "burn_in_bins": 60,
    "null": "mean rate",
    "rate_floor": 1e-9,
    "causal": True,
    "behaviour": "recorded",
    "response_kind": "counts",
    "selection_metric": "bits_per_spike",
    "n_sessions": 2,
    "twin_digest": "cafe",
    "data_fingerprint": "f00d",
    "trained_on_these_data": True,
    "n_repeats": 0,
}


def shown(what: RenderableType, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    return text


def column(text: str) -> str:
    """All that stands in the first column, without the line breaks inside of names."""
    return re.sub(r"\s", "", "".join(line[:30] for line in text.splitlines()))


def compared(names: list[str], parameters: int = 1_234_567) -> Comparison:
    score = ModelScore(mean=1.234, ci95=(1.101, 1.302), median=1.2, of_seeds=(1.2, 1.3), seed_sd=0.01)
    own = ModelScores(
        bits_per_spike=score, correlation=score, fraction_of_ceiling=0.8, fraction_of_ceiling_ci95=None
    )
    paired = PairedDifference(mean=1.234, ci95=(1.101, 1.302), better_units=0.5)
    difference = Difference(bits_per_spike=paired, correlation=paired)
    overall = ComparedSection(
        n_units=90,
        n_excluded=0,
        ceiling=None,
        models=dict.fromkeys(names, own),
        differences=dict.fromkeys(names, difference),
    )
    facts = ModelFacts(
        runs=("a", "b"),
        seeds=(0, 1),
        family=names[0],
        train_share=1.0,
        behaviour="recorded",
        parameters=parameters,
        training_flops=1e15,
        wall_s=480,
        cc_norm=0.8,
        cc_norm_n_units=90,
    )
    told = {
        "n_units": 90,
        "n_excluded": 0,
        "n_bins": 1000,
        "resampled": "units and blocks",
        "reference": names[0],
    }
    return Comparison(
        settings=ComparisonSettings.from_json({**CONDITIONS, **told}),
        models=dict.fromkeys(names, facts),
        overall=overall,
        sessions={},
        by_kind={},
        by_class={},
        by_class_and_kind={},
        matrix={},
        units=(),
    )


@pytest.mark.parametrize("width", [60, 80, 120])
def test_models_with_long_names_can_be_told_apart(width: int) -> None:
    text = shown(tables.comparison(compared(LONG)), width)
    for letter, name in zip("ABCD", LONG, strict=True):
        assert f"{letter}  {name}" in text
        assert len(re.findall(rf"^ ?{letter}  [0-9+-]", text, re.MULTILINE)) == 2
    assert "less A" in text


def test_models_with_short_names_need_no_legend() -> None:
    text = shown(tables.comparison(compared(SHORT)), 80)
    assert "less vivit" in text
    assert not re.search(r"^ ?A ", text, re.MULTILINE)


@pytest.mark.parametrize("width", [80, 120])
def test_no_number_of_a_comparison_is_divided_at_80_columns(width: int) -> None:
    text = shown(tables.comparison(compared(LONG)), width)
    for number in ("1.234", "+1.101 to +1.302", "1.101 to 1.302", "1,234,567", "80.0%"):
        assert number in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_sessions_with_long_names_are_told_in_full(width: int) -> None:
    on_repeats = dict.fromkeys(("cc_norm", "feve", "correlation_to_average", "oracle"))
    section = ScoredSection.from_json(
        {
            "bits_per_spike": {"mean": 1.234, "ci95": (1.101, 1.302)},
            "correlation": {"mean": 0.3},
            "ceiling": {},
            "fraction_of_ceiling": 0.8,
            "fraction_of_ceiling_ci95": None,
            **on_repeats,
            **{f"{name}_n_units": 0 for name in on_repeats},
            **{"n_repeats": 0, "n_units": 90, "n_excluded": 0, "n_bins": 1000},
        }
    )
    row = {"session": "a", "unit_id": "1", "cell_class": None, "excluded_reason": None, "n_repeats": 0}
    scored = EvaluationResult(
        settings=EvaluationSettings.from_json(CONDITIONS),
        overall=section,
        sessions=dict.fromkeys(LONG, section),
        by_kind={"[natural] movie": section},
        by_class={},
        by_phase={},
        units=(UnitRow.from_json({**row, "bits_per_spike": 1.2, "ceiling": None, "correlation": 0.3}),),
    )
    text = shown(tables.scores(scored), width)
    for name in LONG:
        head, tail = name[:8], name[-4:]
        assert head in text
        assert tail in text or tail in column(text)
    assert "[natural]" in text
    assert text.count("1.234") == 6


def test_findings_are_told_in_full_in_a_narrow_terminal() -> None:
    sentence = f"The twin was trained on these sessions: {', '.join(LONG)}."
    result = AuditResult(
        settings=AuditSettings(
            audit_version=1,
            visioncore="0.1.0",
            twin_digest="cafe",
            data_fingerprint="f00d",
            seed=0,
            audited_test_blocks=3,
            test_blocks=4,
            response_kind="counts",
            bin_ms=4.1667,
        ),
        findings=(
            Finding(
                check="training data",
                level="note",
                sentence=sentence,
                numbers=TrainingDataNumbers(trained_on=None, evaluated_on="f00d"),
                remedy="say so [beside] the score",
            ),
        ),
        controls=(),
    )
    text = shown(tables.audit(result), 80)
    assert "training data" in re.sub(r"\s+", " ", text)
    assert "[beside]" in text


@pytest.mark.parametrize("parameters", [1_234_567, 123_456_789])
def test_a_number_is_whole_where_no_heading_is(parameters: int) -> None:
    text = shown(tables.comparison(compared(LONG, parameters)), 60)
    for number in ("1.234", "+1.101", "1.302", f"{parameters:,}", "80.0%", "1e+03"):
        assert len(re.findall(rf"(?<!\S){re.escape(number)}(?!\S)", text)) >= 3, number


def test_words_stay_whole_where_there_is_room() -> None:
    text = shown(tables.comparison(compared(SHORT)), 80)
    for heading in ("bits/spike", "correlation", "CC_norm", "reference"):
        assert heading in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_runs_with_long_names_can_be_told_apart_while_a_benchmark_runs(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Any] = [
        SimpleNamespace(name=f"recording/{name}/seed-0", folder=name, data="recording", model=name, seed=0)
        for name in LONG
    ]
    begun = SimpleNamespace(state="begun", fraction=0.4, remaining_s=10_800.0)
    work: Any = SimpleNamespace(progress=lambda run: begun)
    told = io.StringIO()
    monkeypatch.setattr(display, "Console", lambda stderr: Console(file=told, width=width))
    with display.bars(work, runs):
        pass
    text = told.getvalue()
    assert "…" not in text
    # A name goes on in the next line, in a column that begins where the lines do.
    names = "".join(re.split(r"[ ━╸╺]", line)[0] for line in text.splitlines())
    assert [run.name in names for run in runs] == [True] * len(runs)
    assert text.count("40 %") == len(LONG)
    assert "…" not in shown(display.table(work, runs), width)
