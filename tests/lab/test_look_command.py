"""`visioncore look`, as its user runs it; and what the report shows of it."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from known_cells import Cells, linear_twin, record, vivit_twin
from visioncore import cli
from visioncore.checkpoint import save_ensemble, save_twin
from visioncore.evaluation import evaluate
from visioncore.lab.analysis import KeptAnalysis, kept_analyses
from visioncore.model import Ensemble, Twin, TwinConfig
from visioncore.model.cores import ResNetConfig
from visioncore.provenance import Provenance
from visioncore.report import write_report
from visioncore.report.sections import Shown
from visioncore.report.sections.inside import attention

PARTS = ("attention", "receptive_fields", "representation")


@pytest.fixture(autouse=True)
def little_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visioncore.lab.receptive_fields.white_noise.MINUTES", 0.5)
    monkeypatch.setattr("visioncore.lab.receptive_fields.triggered.SHUFFLES", 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def cells(folder: Path) -> Cells:
    return record(folder, "white", seconds=100)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["visioncore", "look", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def twin_of(kind: str, cells: Cells) -> Twin | Ensemble:
    if kind == "none":
        return linear_twin(cells.store)
    if kind == "ensemble":
        return Ensemble([vivit_twin(cells.store, seed) for seed in (0, 1)])
    if kind == "vivit":
        return vivit_twin(cells.store)
    torch.manual_seed(0)
    return TwinConfig(sampling_rate=60.0, convnet=ResNetConfig.tiny()).build(cells.store.spec)


@pytest.mark.parametrize("kind", ["vivit", "resnet", "none", "ensemble"])
def test_every_kind_of_twin_is_looked_at(
    kind: str,
    cells: Cells,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "twin.safetensors"
    twin = twin_of(kind, cells)
    if isinstance(twin, Ensemble):
        save_ensemble(twin, file)
    else:
        save_twin(twin, file, Provenance())
    data = str(folder / "data.yaml")
    assert run(monkeypatch, str(file), "--data", data, "--units", "linear", "--units", "one:energy") == 0
    said = capsys.readouterr().out
    found = {path.stem: kept for path, kept in kept_analyses(tmp_path, twin.digest)}
    assert sorted(found) == [part for part in PARTS if kind == "vivit" or part != "attention"]
    if kind != "vivit":
        assert "no attention maps" in said
    with np.load(tmp_path / "analysis" / "receptive_fields.npz") as arrays:
        assert arrays["units"].tolist() == ["one:linear", "one:energy"]
        assert "gradient" in arrays
    assert all(
        (tmp_path / "analysis" / figure.file).exists() for kept in found.values() for figure in kept.figures
    )


def test_a_twins_file_alone_is_looked_at_under_white_noise(
    cells: Cells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_twin(linear_twin(cells.store), tmp_path / "twin.safetensors", Provenance())
    assert run(monkeypatch, str(tmp_path / "twin.safetensors"), "--out", str(tmp_path / "out")) == 0
    assert [path.name for path in (tmp_path / "out").glob("*.json")] == ["receptive_fields.json"]
    assert capsys.readouterr().out.count("name it with --data") + 1 >= 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "dreams"], "no analysis dreams; expected receptive_fields | attention | representation"),
        (["--units", "z"], "no unit 'z'"),
        (["--behaviour", "speed"], "--behaviour speed: expected NAME=VALUE"),
        (["--behaviour", "speed=1"], "no behaviour speed"),
    ],
)
def test_what_cannot_be_done_is_said(
    words: list[str],
    message: str,
    cells: Cells,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_twin(linear_twin(cells.store), tmp_path / "twin.safetensors", Provenance())
    assert run(monkeypatch, str(tmp_path / "twin.safetensors"), *words) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "analysis").exists()


def shown_of(twin: Twin, cells: Cells, run_dir: Path) -> Shown:
    return Shown.of(twin, cells.store, evaluate(twin, cells.store, split="validation"), run_dir)


def test_the_report_shows_attention_and_what_was_kept_of_this_very_twin(cells: Cells, tmp_path: Path) -> None:
    twin = vivit_twin(cells.store)
    shown = shown_of(twin, cells, tmp_path)
    made = attention(shown)
    assert made is not None
    assert "randomised weights" in made.html
    assert attention(replace(shown, twin=linear_twin(cells.store))) is None
    analysis = tmp_path / "analysis"
    analysis.mkdir()
    for name, digest in (("attention", twin.digest), ("tuning", twin.digest), ("old", "another twin")):
        kept = KeptAnalysis(
            title=f"Title {name}", twin_digest=digest, behaviour="at rest", sentences=("a < b",)
        )
        (analysis / f"{name}.json").write_text(json.dumps(kept.to_json()))
    page = write_report(twin, cells.store, shown.result, tmp_path).read_text()
    assert "Title attention" in page
    assert "<h3>Title tuning</h3>" in page
    assert "a &lt; b" in page
    assert "Title old" not in page
