"""The documentation is true: links resolve, named files exist, tables and examples are what the code gives."""

import re
from pathlib import Path
from typing import get_args

import pytest

from pages import ROOT, code_blocks, prose
from visioncore.config import load_config, parse_yaml, read_yaml
from visioncore.data import build_data_config
from visioncore.data.preparation import StepConfig
from visioncore.describe import describe, guide_spec
from visioncore.model import TwinConfig
from visioncore.training.experiment import read_experiment

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TERM = re.compile(r"^- \*\*([^*]+)\*\*: ", flags=re.MULTILINE)
COLUMNS = 120
NAMED_FILE = re.compile(r"`((?:src|tests|docs|experiments)/[\w./-]*)`")
# In a comment: a path from the root, or the name of a YAML alone.
NAMED_IN_COMMENT = re.compile(r"(?:src|tests|docs|experiments)/[\w./-]*\w|(?<![\w/-])[\w-]+\.yaml\b")


@every_page
def test_every_relative_link_resolves(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if not target.startswith(("https://", "http://", "mailto:", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


@every_page
def test_every_file_that_is_named_exists(page: Path) -> None:
    # The how-tos name the files that their reader is about to write.
    to_be_written = {
        "src/visioncore/model/adapters/gaze.py",
        "src/visioncore/model/cores/one_convolution.py",
        "src/visioncore/model/grid_layers/filter.py",
        "src/visioncore/model/linear/flicker.py",
        "src/visioncore/model/modulators/gate.py",
        "src/visioncore/model/outputs/square.py",
        "src/visioncore/model/readouts/factorised.py",
        "src/visioncore/data/preparation/mirror.py",
        "src/visioncore/data/sources/npy_folder.py",
        "src/visioncore/simulation/flicker.py",
        "src/visioncore/report/sections/depths.py",
        "src/visioncore/training/loggers/lines.py",
    }
    for name in NAMED_FILE.findall(prose(page)):
        assert (ROOT / name).exists() or name in to_be_written, name


def test_every_file_that_a_comment_of_a_shipped_file_names_exists() -> None:
    shipped = [path for path in (ROOT / "experiments").rglob("*") if path.suffix in (".yaml", ".sh")]
    names = {path.name for path in shipped} | {"experiment.yaml"}  # a run folder's
    found = []
    for path in [*shipped, ROOT / "Makefile", ROOT / "pyproject.toml"]:
        for comment in re.findall(r"(?:^|\s)#(.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            for name in NAMED_IN_COMMENT.findall(comment):
                found.append(name)
                assert (ROOT / name).exists() or name in names, (
                    f"{path.name} names {name}, which is not there"
                )
    assert len(found) > 20


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "CHANGELOG.md"],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_no_line_of_prose_is_wider_than_120_columns(page: Path) -> None:
    # Tables, code and the targets of links cannot be broken.
    for line in prose(page).splitlines():
        if not line.startswith(("|", "    ")):
            assert len(re.sub(r"\]\([^)\s]+\)", "]", line)) <= COLUMNS, line


def test_the_code_uses_every_word_of_the_glossary() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    terms = TERM.findall(prose(ROOT / "docs" / "words.md"))
    assert len(terms) > 30
    assert len(set(terms)) == len(terms)
    for term in terms:
        written = r"[ _-]?".join(re.split("[ -]", term))
        assert re.search(rf"(?<![a-z]){written}s?(?![a-z])", code, flags=re.IGNORECASE), term


def test_the_decisions_are_numbered_without_gaps() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_the_table_of_the_baseline_is_what_describe_gives() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("| stage | shape | parameters |\n|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.splitlines()]
    config = load_config(TwinConfig, ROOT / "experiments" / "model_configs" / "vivit_baseline.yaml")
    found = describe(config, guide_spec(config), 300)
    assert rows == [
        (stage.stage, stage.shape, f"{stage.parameters:,}" if stage.parameters else "") for stage in found.stages
    ]  # fmt: skip


def test_every_contract_is_listed_with_tests_that_exist() -> None:
    text = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    rows = [row.split("|") for row in text.splitlines() if re.match(r"\| [TSCKN]\d", row)]
    counts = {"T": 4, "S": 5, "C": 3, "K": 4, "N": 6}
    assert [row[1].strip() for row in rows] == [f"{a}{i + 1}" for a, n in counts.items() for i in range(n)]
    for _, letter, _, tests, _ in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
        assert named, letter
        for file, test in named:
            assert f"\ndef {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{letter}: {file}::{test}"


# --- How-tos ------------------------------------------------------------------------------------------------------


def test_the_yaml_of_the_how_to_builds_and_its_overrides_are_valid(tmp_path: Path) -> None:
    page = ROOT / "docs" / "how_to" / "your_own_model.md"
    (text,) = code_blocks(page, "yaml")
    model = tmp_path / "my_model.yaml"
    model.write_text(text, encoding="utf-8")
    config = load_config(TwinConfig, model)
    found = describe(config, guide_spec(config), 24)
    assert found.warnings == []
    overrides = re.findall(r"--set '?([^'\s\\][^'\\\n]*?)'?(?: \\)?\n", "".join(code_blocks(page, "bash")))
    assert len(overrides) == 5
    data = ROOT / "experiments" / "data_configs" / "simulated.yaml"
    experiment = read_experiment(model, data, None, overrides)
    assert experiment.model.modulator.type == "none"
    assert experiment.data.balance == "session"
    assert experiment.training.optimiser.learning_rate == 3e-4


def test_the_yaml_of_the_preparation_steps_builds_and_its_table_has_every_step() -> None:
    page = ROOT / "docs" / "preparation.md"
    (text,) = code_blocks(page, "yaml")
    config = build_data_config(parse_yaml(text, str(page)), str(page))
    assert len(config.recordings[0].preparation) == 8
    assert config.split.folds == 5
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    steps = {kind.tiny().type: kind for kind in get_args(get_args(StepConfig)[0])}
    assert {name for name, _ in rows} == {"type", *steps}
    for name, settings in rows[1:]:
        for key in set(steps[name].model_fields) - {"type"}:
            assert f"`{key}`" in settings, f"{name}.{key}"


def test_the_citation_and_the_changelog_name_the_version_of_the_package() -> None:
    import visioncore

    citation = read_yaml(ROOT / "CITATION.cff")
    assert (citation["cff-version"], citation["title"]) == ("1.2.0", "VisionCore")
    assert citation["authors"] == [{"name": "The VisionCore developers"}]
    assert citation["version"] == visioncore.__version__
    assert f"## [{visioncore.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{visioncore.__version__}"' in project
