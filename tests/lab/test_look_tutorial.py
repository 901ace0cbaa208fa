"""The tutorial of the lab runs as written, on the tiny recording."""

import sys
from pathlib import Path

import numpy as np
import pytest

from documented_commands import documented
from pages import ROOT, code_blocks
from visioncore import cli

PAGE = ROOT / "docs" / "tutorials" / "look_inside.md"


@pytest.mark.slow
def test_the_tutorial_leads_from_training_to_a_report_of_the_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("visioncore.lab.receptive_fields.white_noise.MINUTES", 0.5)
    ran = []
    for command in documented(PAGE):
        if command.is_name or command.words[0] != "visioncore":
            continue
        # All that differs from the page: two steps in place of a minute.
        short = (
            ["--set=training.length={type: steps, params: {number: 2}}"]
            if command.words[1] == "train"
            else []
        )
        words = [word for word in command.words if word not in ("--max-minutes", "1")] + short
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == 0, " ".join(words)
        ran.append(command.words[1])
    assert ran == ["recipes", "train", "look", "tune", "report"]
    kept = {path.stem for path in Path("my_run/analysis").glob("*.json")}
    assert kept == {"receptive_fields", "attention", "representation", "tuning"}
    page = Path("my_run/report.html").read_text()
    for heading in ("Attention", "Receptive fields, recorded and predicted", "Representation", "Tuning"):
        assert f">{heading}</h" in page
    scope: dict[str, object] = {}
    for block in code_blocks(PAGE, "python"):
        exec(compile(block, str(PAGE), "exec"), scope)  # the page's own code
    assert "training mean" in capsys.readouterr().out
    rates = scope["rates"]
    assert isinstance(rates, np.ndarray)
    assert len(rates) == 2
