"""What a terminal shows: however narrow it is and however long the names are, nothing is cut."""

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from visioncore import tables
from visioncore.audit import AuditResult, Finding
from visioncore.benchmark import display

LONG = [f"vivit-of-the-year-with-a-name-as-long-as-a-path-{k}" for k in range(4)]
SHORT = ["vivit", "resnet", "x3d", "ln"]
SETTINGS: dict[str, Any] = {
    "response_kind": "counts",
    "selection_metric": "bits_per_spike",
    "n_sessions": 2,
    "n_units": 90,
    "split": "test",
    "bin_ms": 4.1667,
    "burn_in_s": 0.25,
    "null": "mean rate",
    "resampled": "units and blocks",
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


def compared(names: list[str]) -> dict[str, Any]:
    score = {"mean": 1.234, "ci95": (1.101, 1.302), "seed_sd": 0.01, "better_units": 0.5}
    of_models = {
        name: {"bits_per_spike": score, "correlation": score, "fraction_of_ceiling": 0.8} for name in names
    }
    cost = {"training_flops": 1e15, "wall_s": 480, "cc_norm": 0.8, "seeds": [0, 1], "parameters": 1_234_567}
    return {
        "settings": {**SETTINGS, "reference": names[0]},
        "overall": {
            "models": of_models,
            "differences": {name: {"bits_per_spike": score} for name in names},
        },
        "models": dict.fromkeys(names, cost),
    }


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
    section = {
        "bits_per_spike": {"mean": 1.234, "ci95": (1.101, 1.302)},
        "fraction_of_ceiling": 0.8,
        "correlation": {"mean": 0.3},
        "n_units": 90,
    }
    scored = {
        "settings": SETTINGS,
        "overall": section,
        "sessions": dict.fromkeys(LONG, section),
        "by_kind": {"[natural] movie": section},
    }
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
        {**SETTINGS, "audited_test_blocks": 3, "test_blocks": 4},
        (Finding("training data", "note", sentence, {}, "say so [beside] the score"),),
        (),
    )
    text = shown(tables.audit(result), 80)
    assert "training data" in re.sub(r"\s+", " ", text)
    assert "[beside]" in text


@pytest.mark.parametrize("parameters", [1_234_567, 123_456_789])
def test_a_number_is_whole_where_no_heading_is(parameters: int) -> None:
    results = compared(LONG)
    results["models"] = {name: {**cost, "parameters": parameters} for name, cost in results["models"].items()}
    text = shown(tables.comparison(results), 60)
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
