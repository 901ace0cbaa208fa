"""The page of a comparison: whole, self-contained, with the conditions beside the numbers."""

import re
from pathlib import Path
from typing import Any

import pytest

from visioncore.comparison import Comparison
from visioncore.report import write_comparison

MODELS = ("<b>linear</b>", "vivit", "resnet")


def score(mean: float | None, metric: str, n_seeds: int = 1) -> dict[str, Any]:
    interval = None if mean is None else (mean - 0.1, mean + 0.1)
    scores = {
        name: {"mean": mean, "median": mean, "ci95": interval, "of_seeds": [mean] * n_seeds, "seed_sd": None}
        for name in dict.fromkeys((metric, "correlation"))
    }
    return {
        **scores,
        "fraction_of_ceiling": None if mean is None else mean / 2,
        "fraction_of_ceiling_ci95": None,
    }


def difference(mean: float, metric: str) -> dict[str, Any]:
    one = {"mean": mean, "ci95": (mean - 0.05, mean + 0.05), "better_units": 0.75}
    return dict.fromkeys((metric, "correlation"), one)


def comparison(
    names: tuple[str, ...] = MODELS, metric: str = "bits_per_spike", **settings: Any
) -> Comparison:
    means = {name: 0.5 + 0.2 * i for i, name in enumerate(names)}
    section = {
        "n_units": 24,
        "n_excluded": 1,
        "ceiling": 1.2 if metric == "bits_per_spike" else None,
        "models": {name: score(mean, metric) for name, mean in means.items()},
        "differences": {name: difference(mean - means[names[0]], metric) for name, mean in means.items()},
    }
    told: dict[str, Any] = dict(
        settings={
            "split": "test",
            "bin_ms": 4.17,
            "sampling_rate_hz": 240.0,
            "burn_in_s": 0.25,
            "null": "mean rate of the training split, per unit",
            "causal": True,
            "response_kind": "counts" if metric == "bits_per_spike" else "trace",
            "selection_metric": metric,
            "n_sessions": 2,
            "n_repeats": 10,
            "data_fingerprint": "f00d",
            "reference": names[0],
            "n_units": 24,
            "n_excluded": 1,
            "n_bins": 5000,
            "resampled": "units and blocks of time",
        }
        | settings,
        models={
            name: {
                "runs": [f"runs/{name}"],
                "seeds": [0],
                "behaviour": "recorded",
                "parameters": 1000 * 10**i,
                "training_flops": 1e14 * 10**i,
                "wall_s": None if i else 60.0,
                "family": name,
                "train_share": 1.0,
                "cc_norm": 0.6,
                "cc_norm_n_units": 20,
            }
            for i, name in enumerate(names)
        },
        overall=section,
        sessions={"a": section, "b": section},
        by_kind={"movie": section, "noise": section},
        by_class={"simple": section, "<i>complex</i>": section},
        by_class_and_kind={
            name: {"movie": section, "noise": section} for name in ("simple", "<i>complex</i>")
        },
        matrix={a: {b: difference(means[a] - means[b], metric) for b in names} for a in names},
        units=[
            {
                "session": "a",
                "unit_id": str(i),
                "cell_class": ("simple", "<i>complex</i>")[i % 2],
                "excluded_reason": None if i else "no spikes in the scored bins",
                metric: {name: None if i == 0 else mean + 0.01 * i for name, mean in means.items()},
                "correlation": {name: None if i == 0 else mean for name, mean in means.items()},
            }
            for i in range(25)
        ],
    )
    return Comparison.from_json(told)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared")
    assert write_comparison(comparison(), out, "A & B") == out / "comparison.html"
    return out


def test_the_page_asks_for_nothing_outside_itself(folder: Path) -> None:
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert re.findall(r"https?://", page) == []
    assert re.findall(r"<link[^>]*href=\"(?!data:)", page) == []
    assert re.findall(r"(?:src|srcset|poster|action)=\"(?!data:image/png;base64,)", page) == []
    assert re.findall(r"@import|url\((?!data:)|<script|fetch\(", page) == []


def test_pictures_come_before_tables_and_stand_beside_the_page_as_files(folder: Path) -> None:
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,iVBORw0K") == 4
    assert page.rindex("<img") < page.index("<table")
    files = {path.name for path in (folder / "figures").iterdir()}
    assert files == {
        f"{name}.{kind}" for name in ("scores", "units", "gains", "cost") for kind in ("png", "svg")
    }
    assert {path.name for path in folder.iterdir()} == {
        "comparison.html", "comparison.json", "comparison.csv", "comparison_units.csv", "figures"
    }  # fmt: skip


def test_the_conditions_stand_beside_the_first_number(folder: Path) -> None:
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    head = page.split("<header>")[1].split("</section>")[0]
    for needed in (
        *("24 units", "2 sessions", "4.17 ms", "Causal", "0.25 s", "mean rate of the training", "seed"),
        *("resample units and blocks of time", "1 unit without spikes"),
    ):
        assert needed in head


def test_names_are_text_and_never_markup(folder: Path) -> None:
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert "<b>linear" not in page
    assert "<i>complex" not in page
    assert "A &amp; B" in page


def test_the_same_comparison_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    write_comparison(comparison(), tmp_path, "A & B")
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_a_single_model_has_a_page_without_differences(tmp_path: Path) -> None:
    page = write_comparison(comparison(("alone",)), tmp_path, "one").read_text()
    assert "nothing to compare it with yet" in page
    assert page.count("<img") == 1


def test_traces_are_shown_by_correlation(tmp_path: Path) -> None:
    page = write_comparison(comparison(metric="correlation"), tmp_path, "traces").read_text()
    assert "bits/spike is not defined" in page
    assert ">bits/spike" not in page
