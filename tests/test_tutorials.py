"""Every tutorial leads from a file to a report: its commands run as written, on small files as the page names them.

Nothing is edited but what no file says, and that is answered by the page's own YAML.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest

import tutorial_files as files
from documented_commands import documented
from mice import IMAGES, NAME
from pages import ROOT, code_blocks
from visioncore import cli
from visioncore.config import parse_yaml, read_yaml
from visioncore.data import build_data_config, prepare
from visioncore.data.inspection.written import as_yaml
from visioncore.evaluation import EvaluationResult
from visioncore.run_folder import RunFolder
from visioncore.training import suggestion

TUTORIALS = ROOT / "docs" / "tutorials"
# All that differs from the pages: for a moment in place of an hour.
COMMANDS = ["inspect", "suggest", "train", "report"]
SHORT = "--set=training.length={type: steps, params: {number: 2}}"


NOTHING = ("", "")


class Way(NamedTuple):
    """From one kind of file to a report."""

    page: str
    write: Callable[[Path], None]
    yaml: int | None = 0
    """Which of the page's data YAMLs says what no file does."""
    have: tuple[str, str] = NOTHING
    """A word of the page's commands, and what the reader has in its place."""
    changes: tuple[str, str] = NOTHING
    """In the data YAML."""


MICE = f"{NAME}.zip", IMAGES
WAYS = {
    "nwb": Way("nwb", files.write_nwb),
    "phy": Way("spikes_and_triggers", files.write_phy),
    "checkerboard": Way("spikes_and_triggers", files.write_checkerboard, 1),
    "sensorium": Way("sensorium", files.write_sensorium),
    "images": Way("sensorium", files.write_sensorium_images, None, MICE),
    "experanto": Way("experanto", files.write_experanto),
    "matlab": Way("matlab", files.write_matlab),
    "open-retina": Way("retina", files.write_open_retina, 0, ("FOLDER", "my_retina")),
    "baccus": Way("retina", files.write_baccus, 1, ("FOLDER", "15-10-07")),
    "fixations": Way(
        "retina",
        files.write_fixations,
        2,
        ("FOLDER", "day1_fixationmovie_data.mat"),
        ("factor: 10", "factor: 40"),  # 60 x 80 pixels take half a minute
    ),
    "notebook": Way("notebook", files.run_notebook, None),
}


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The rehearsal takes a moment; the log's level is put back."""
    monkeypatch.setattr(suggestion, "_REHEARSAL_S", 0.01)
    logger = logging.getLogger("visioncore")
    level = logger.level
    yield
    logger.setLevel(level)


def run(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [*words, *([SHORT] if words[1] == "train" else [])])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0, " ".join(words)


def answered(proposed: Any, page: Any, at: str = "") -> Any:
    """The proposal with the page's answers in the place of None."""
    if proposed is None:
        assert page is not None, f"the page does not say what {at} is"
        return page
    if isinstance(proposed, dict):
        told = page if isinstance(page, dict) else {}
        return {key: answered(value, told.get(key), f"{at}.{key}") for key, value in proposed.items()}
    if isinstance(proposed, list):
        items = [*page, *[None] * len(proposed)] if isinstance(page, list) else [None] * len(proposed)
        return [answered(value, items[k], f"{at}.{k}") for k, value in enumerate(proposed)]
    return proposed


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
def test_a_tutorials_commands_lead_from_a_file_to_a_report(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = WAYS[name]
    page = TUTORIALS / f"{way.page}.md"
    way.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    known = {} if way.yaml is None else parse_yaml(code_blocks(page, "yaml")[way.yaml], str(page))
    ran = []
    for command in documented(page):
        words = tuple(way.have[1] if word == way.have[0] else word for word in command.words)
        if command.is_name or words[0] != "visioncore":
            continue
        if name == "images" and "--submission" in words:  # the competition of images has another
            continue
        run(words, monkeypatch)
        ran.append(words[1])
        if words[1] == "inspect":
            pictured = "data:image/png" in Path("inspection.html").read_text()
            assert pictured == (name != "checkerboard")
            answer(Path("data.yaml"), known, way.changes)
        if words[1] == "report":
            require_a_report(Path(words[2]), name)
    assert ran[: len(COMMANDS)] == COMMANDS or (name, ran) == ("notebook", COMMANDS[1:])


def answer(data: Path, known: Any, changes: tuple[str, str]) -> None:
    """Put the page's answers into the proposal; the page's own YAML must read the same files."""
    proposed = dict(read_yaml(data))
    data.write_text(as_yaml(answered(proposed, known), {}, "").replace(*changes))
    if known and changes == NOTHING:
        base = {"base": proposed["base"]} if "base" in proposed else {}
        store = prepare(build_data_config({**base, **known}, "the page's YAML"), Path())
        assert len(store.sessions) == len(proposed["params"]["sessions"])


def require_a_report(folder: Path, name: str) -> None:
    """It stands there, the units are predicted, and the audit has no doubt."""
    assert (folder / "report.html").exists()
    scores = json.loads(RunFolder(folder).evaluation("test").read_text())
    units = EvaluationResult.from_json(scores).units
    assert median(unit.correlation or 0.0 for unit in units) > 0.2
    failed = [f for f in json.loads(RunFolder(folder).audit.read_text())["findings"] if f["level"] == "fail"]
    # What its page says: running blocks of a fixation movie show the same images.
    assert [f["check"] for f in failed] == (
        ["exact duplicates", "near duplicates"] if name == "fixations" else []
    )
    assert all(
        " validation frames " in f["sentence"] and " test frames " not in f["sentence"] for f in failed
    )
