"""Every command of the documentation runs as written: all are parsed, and the quick ones executed, in their order."""

import contextlib
import logging
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from documented_commands import Command, documented, require_runnable
from pages import ROOT, code_blocks
from visioncore import cli
from visioncore.checkpoint import load_twin, save_twin
from visioncore.config import read_yaml
from visioncore.run_folder import RunFolder

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = [command for page in PAGES for command in documented(page)]

# Parsed only, and why.
NOT_PARSED = {"visioncore pace": "decision 12 tells that it is gone"}
NOT_EXECUTED = {
    "make": "minutes to hours, and what CI runs itself",
    "bash": "hours of training; tests/test_cli.py runs the script with few steps",
    "python": "figures of the documentation: minutes each, and a file of eye traces that is not shipped",
    "pip": "installs",
    "torchrun": "two machines; tests/training/test_ranks.py starts two",
    "visioncore train --model model.yaml": "four devices; tests/training/test_ranks.py has two",
    "source": "there is no .venv in an installation of one's own",
    ".venv/bin/pytest": "this is pytest",
    "visioncore inspect": "needs files of a laboratory; tests/test_tutorials.py inspects some",
    "visioncore suggest": "trains for a moment to find the pace; tests/test_tutorials.py suggests",
    "visioncore download": "from servers that tests do not reach; tests/data/test_download.py has one of its own",
    "visioncore search": "hours of training; tests/test_search.py searches",
    "visioncore benchmark": "hours of training; only --list is quick",
    "visioncore train --model my_model.yaml --data my_data.yaml --out runs/mine --set": "trains as the line of the "
    "readme does; tests/test_docs.py reads what it sets",
    "visioncore describe": "counting takes 8 s; tests/test_describe.py and tests/test_docs.py describe",
    "visioncore compare runs/ln": "compares as the line of the readme does, which is executed",
    "visioncore compare ln=": "runs of several seeds; tests/test_comparison.py compares such",
    "visioncore evaluate runs/held_out --held-out-units": "trains by the recipe; "
    "tests/training/test_held_out_units.py fits some",
    **{
        f"visioncore {command}": "from and to a server that tests do not reach; tests/test_hub.py has one of its own"
        for command in ("push", "evaluate hf:", "transfer hf:", "embed hf:")
    },
    "visioncore evaluate --predictions neuralpredictors.npz": "predictions of another library, which is not installed",
    "visioncore audit runs/benchmark": "a run of hours; the readme's audit is executed",
}
# Of a competition's mice: tests/evaluation/test_sensorium_score.py writes and scores some.
OF_MICE = ("--metric sensorium", "--submission")
# The commands train as written, but for a moment: without these, for hours.
SHORT = [
    "--set=training.length={type: steps, params: {number: 2}}",
    "--set=training.clip_frames=96",
    "--set=training.batch_size=1",
]


def test_commands_are_found_in_every_way_that_pages_write_them() -> None:
    found = {(command.page, " ".join(command.words[:2])) for command in COMMANDS}
    assert ("README.md", "make demo") in found  # a block of bash
    assert ("README.md", "visioncore recipes") in found  # a span
    assert ("docs/scores.md", "visioncore compare") in found  # an indented block
    assert ("docs/how_to/your_own_model.md", "visioncore train") in found  # several lines
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS), ids=lambda command: " ".join(command.words[:3]))
def test_program_options_and_files_of_every_command_exist(command: Command) -> None:
    if " ".join(command.words) in NOT_PARSED:
        with pytest.raises(AssertionError, match="has no command"):
            require_runnable(command)
    else:
        require_runnable(command)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("visioncore trian --model m.yaml", "no command trian"),
        ("visioncore evaluate runs/mine --csv units.csv", "No such option"),
        ("visioncore describe experiments/model_configs/vivit_best.yml", "there is no experiments/model"),
        ("visioncore benchmark experiments/benchmarks/quick.yaml", "Missing parameter: out"),
        ("make everything", "has no everything"),
        ("bash experiments/train_vivit.sh large", "takes small"),
        ("python docs/figures/task_limits.py --units 2", "has no option --units"),
        (".venv/bin/pytest tests/contracts -k later_rat_ee", "no test has that name"),
    ],
)
def test_a_command_that_would_fail_is_found(line: str, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        require_runnable(Command("README.md", tuple(line.split())))


# --- Executed -----------------------------------------------------------------------------------------------------


def executed(command: Command) -> bool:
    if command.is_name or " ".join(command.words) in NOT_PARSED:
        return False
    if command.words[:2] == ("visioncore", "benchmark") and "--list" in command.words:
        return True
    if command.page.startswith("docs/tutorials/"):  # tests/test_tutorials.py has the files that they take
        return False
    line = " ".join(command.words)
    return not line.startswith(tuple(NOT_EXECUTED)) and not any(option in line for option in OF_MICE)


@pytest.fixture(autouse=True)
def _log_level_as_before() -> Iterator[None]:
    logger = logging.getLogger("visioncore")
    level = logger.level
    yield
    logger.setLevel(level)


def run(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    short = SHORT if words[1] in ("train", "transfer") else []
    monkeypatch.setattr(sys, "argv", [*words, *short])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0, " ".join(words)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a reader has who did as the how-tos say: the shipped YAMLs, `my_data.yaml`, `my_model.yaml`, a new day."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    shutil.copy(tmp_path / "experiments" / "model_configs" / "vivit_tiny.yaml", tmp_path / "my_model.yaml")
    (tmp_path / "mine").mkdir()  # as `visioncore suggest` writes it
    shutil.copy(tmp_path / "my_model.yaml", tmp_path / "mine" / "model.yaml")
    shutil.copy(
        tmp_path / "experiments" / "training_configs" / "tiny.yaml", tmp_path / "mine" / "training.yaml"
    )
    how_to = ROOT / "docs" / "how_to" / "your_own_arrays.md"
    (tmp_path / "my_data.yaml").write_text(code_blocks(how_to, "yaml")[0])
    # Trials of a second at 120 Hz, the last four of one stimulus. The first unit follows a pixel.
    n_trials, n_bins = 24, 24 * 120
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (n_bins, 8, 8), dtype=np.uint8)
    video[-480:] = np.tile(video[-480:-360], (4, 1, 1))
    rates = np.full((n_bins, 2), 0.2)
    rates[4:, 0] = 0.6 * (video[:-4, 4, 4] > 127)
    recorded = {
        "video": video,
        "counts": rng.poisson(rates),
        "eye_xy": rng.normal(size=(n_bins, 2)).astype(np.float32),
        "valid": np.ones(n_bins, bool),
        "trial_start": np.arange(0, n_bins, 120),
        "stimulus_id": np.minimum(np.arange(n_trials), n_trials - 4),
    }
    (code,) = code_blocks(how_to, "python")
    with contextlib.chdir(tmp_path):
        exec(compile(code, str(how_to), "exec"), recorded)
    session = read_yaml(tmp_path / "my_data.yaml")["params"]["sessions"][0]["id"]
    new_day = (tmp_path / "my_data.yaml").read_text().replace(f"id: {session}", "id: tuesday")
    (tmp_path / "new_day.yaml").write_text(new_day)
    matches = f"session,unit_id,matched_session,matched_unit_id\ntuesday,0,{session},1\n"
    (tmp_path / "match.csv").write_text(matches)
    (code,) = code_blocks(ROOT / "docs" / "how_to" / "score_any_model.md", "python")
    with contextlib.chdir(tmp_path):
        exec(compile(code, "score_any_model.md", "exec"), {})
    return tmp_path


def as_of_another_seed(run: Path) -> None:
    twin = load_twin(run)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.mul_(1 + 0.01 * torch.randn_like(weight))
    save_twin(twin, RunFolder(run).twin, twin.provenance)


@pytest.mark.slow
def test_the_quick_commands_run_one_after_the_other(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone)
    # The readme first: its run is what other pages speak of.
    for command in dict.fromkeys(command._replace(page="") for command in COMMANDS if executed(command)):
        for name in re.findall(r"runs/[\w/-]+", " ".join(command.words)):
            is_out = command.words[command.words.index(name) - 1] == "--out"
            if command.words[1] in ("compare", "ensemble") and not is_out and not Path(name).exists():
                shutil.copytree("runs/mine", name)
                if command.words[1] == "ensemble":
                    as_of_another_seed(Path(name))
        run(command.words, monkeypatch)
        for option, name in zip(command.words, command.words[1:], strict=False):
            if option in ("--json", "--table", "--out", "--copy") and "--list" not in command.words:
                assert Path(name).exists(), command
