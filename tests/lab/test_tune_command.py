"""`visioncore tune`, as its user runs it, on every kind of twin."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from specs import data_spec
from twins import COMBINATIONS, NORMALISATION, make_twin
from visioncore import cli
from visioncore.checkpoint import save_ensemble, save_twin
from visioncore.lab import Drawn, KeptAnalysis, Tuning
from visioncore.model import Ensemble, Twin
from visioncore.provenance import Provenance
from visioncore.spec import SessionSpec

SPEC = data_spec(
    height=12,
    width=18,
    sampling_rate_hz=30.0,
    behaviour_names=("x", "y", "speed"),
    sessions=(
        SessionSpec(id="one", subject="m1", unit_ids=("a", "b", "c")),
        SessionSpec(id="two", subject="m2", unit_ids=("a", "d")),
    ),
    constants=NORMALISATION,
)
KINDS = ("vivit", "resnet", "none")


def twin_of(kind: str) -> Twin:
    modulating = "none" if kind == "none" else "film"
    core, modulator = next(
        pair for pair in COMBINATIONS if (pair[0].type, pair[1].type) == (kind, modulating)
    )
    return make_twin(core, modulator, SPEC)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["visioncore", "tune", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def without_figures(tuning: Tuning) -> Iterator[Drawn]:
    """They take longer than all the rest, and do not depend on the kind of twin."""
    return iter(())


@pytest.mark.parametrize("kind", [*KINDS, "ensemble"])
def test_every_kind_of_twin_is_tuned_and_leaves_its_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind != "vivit":
        monkeypatch.setattr(Tuning, "figures", without_figures)
    file = tmp_path / "twin.safetensors"
    if kind == "ensemble":
        other = twin_of("vivit")
        with torch.no_grad():
            other.heads["one"].output.bias.add_(0.5)
        save_ensemble(Ensemble([twin_of("vivit"), other]), file)
    else:
        save_twin(twin_of(kind), file, Provenance())
    assert run(monkeypatch, str(file), "--json", str(tmp_path / "t.json")) == 0
    folder = tmp_path / "analysis"
    kept = KeptAnalysis.from_json(json.loads((folder / "tuning.json").read_text()))
    assert "training mean" in kept.behaviour or "no behaviour" in kept.behaviour
    assert len(kept.figures) == (3 if kind == "vivit" else 0)
    for figure in kept.figures:
        assert (folder / figure.file).read_bytes().startswith(b"\x89PNG")
    rows = rows_of(folder / "tuning.csv")
    assert [row["session"] for row in rows] == ["one"] * 3 + ["two"] * 2
    with np.load(folder / "tuning.npz") as arrays:
        assert arrays["units"].tolist() == ["one:a", "one:b", "one:c", "two:a", "two:d"]
        assert arrays["gratings_mean"].shape == (5, 16, 4, 5)
    told = json.loads((tmp_path / "t.json").read_text())
    assert told["indices"]["osi"]["units"] + sum(told["indices"]["osi"]["undefined"].values()) == 5
    assert "osi vector" in capsys.readouterr().out


def test_units_behaviour_and_place_are_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Tuning, "figures", without_figures)
    file, out = tmp_path / "twin.safetensors", tmp_path / "out"
    save_twin(twin_of("vivit"), file, Provenance())
    words = (str(file), "--units", "d", "--units", "one:b", "--behaviour", "speed=3", "--out", str(out))
    assert run(monkeypatch, *words, "--table", str(tmp_path / "t.csv")) == 0
    rows = rows_of(tmp_path / "t.csv")
    assert [(row["session"], row["unit_id"]) for row in rows] == [("two", "d"), ("one", "b")]
    assert not (tmp_path / "analysis").exists()
    assert "speed = 3" in json.loads((out / "tuning.json").read_text())["behaviour"]
    for wrong in ("speed", "speed=", "=3", "speed=fast", "speed=nan"):
        assert run(monkeypatch, str(file), "--behaviour", wrong) == 1
        assert "expected NAME=VALUE with a number, such as speed=0" in capsys.readouterr().err
