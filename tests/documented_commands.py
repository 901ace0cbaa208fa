"""The shell commands of the documentation: where they stand, and what must exist for each to run."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import typer

from pages import ROOT
from visioncore import cli

PROGRAMS = ("visioncore", "make", "bash", "python", "source", ".venv/bin/pytest", "pytest", "pip", "torchrun")
_CODE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"^    (\S.*)$", flags=re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
# What a page writes for a file or folder of the reader's.
PLACEHOLDERS = {
    "DATA.yaml": "my_data.yaml",
    "SUITE.yaml": "experiments/benchmarks/quick.yaml",
    "SPACE.yaml": "experiments/search/guide.yaml",
    "DIR": "copied",
    "RUN": "runs/mine",
}


class Command(NamedTuple):
    """One command of a page, as a shell reads it."""

    page: str
    words: tuple[str, ...]

    @property
    def is_name(self) -> bool:
        """Only named, as in "`visioncore describe` counts it": to run it, its arguments are missing."""
        return len(self.words) == 2 and self.words[0] == "visioncore" and not self.words[1].startswith("-")


def documented(page: Path) -> list[Command]:
    """The commands of a page in its order: lines of code blocks, and spans of code that begin with a program."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in _CODE.finditer(text):
        lines = block[2].replace("\\\n", " ").splitlines()
        found += [(block.start(), line, block[1] == "bash") for line in lines]
    # Of the same length, so that places stay.
    outside = _CODE.sub(lambda block: "\n" * len(block[0]), text)
    found += [(line.start(), line[1], False) for line in _INDENTED.finditer(outside)]
    found += [(span.start(), " ".join(span[1].split()), False) for span in _SPAN.finditer(outside)]
    commands = []
    for _, line, in_bash in sorted(found, key=lambda part: part[0]):
        if not in_bash and line.partition(" ")[0] not in PROGRAMS:
            continue
        words = tuple(PLACEHOLDERS.get(word, word) for word in shlex.split(line, comments=True))
        if in_bash and words:
            assert words[0] in PROGRAMS, f"{page.name}: no program of ours: {line}"
        if len(words) > 1:
            commands.append(Command(str(page.relative_to(ROOT)), words))
    return commands


def require_runnable(command: Command) -> None:
    """Fail unless program, options and named files exist."""
    program, *arguments = command.words
    for name in re.findall(r"(?:src|tests|docs|experiments)/[\w./-]+", " ".join(arguments)):
        assert (ROOT / name).exists(), f"{command}: there is no {name}"
    _CHECKS[program](command, arguments)


def _visioncore(command: Command, arguments: list[str]) -> None:
    group: Any = typer.main.get_command(cli.app)
    if arguments == ["--help"]:
        return
    assert arguments[0] in group.commands, f"{command}: visioncore has no command {arguments[0]}"
    if not command.is_name:
        try:  # reads options and arguments, and calls nothing
            group.commands[arguments[0]].make_context(arguments[0], arguments[1:])
        except Exception as error:
            raise AssertionError(f"{command}: {error}") from error


def _make(command: Command, arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for argument in arguments:
        variable, is_set, _ = argument.partition("=")
        line = rf"^{variable} \?=" if is_set else rf"^{argument}:"
        assert re.search(line, makefile, flags=re.MULTILINE), f"{command}: the Makefile has no {argument}"


def _script(command: Command, arguments: list[str]) -> None:
    source = (ROOT / arguments[0]).read_text(encoding="utf-8")
    for option in arguments[1:]:
        if option.startswith("--"):
            assert f'"{option}"' in source, f"{command}: {arguments[0]} has no option {option}"


def _train_script(command: Command, arguments: list[str]) -> None:
    assert arguments[0] == "experiments/train_vivit.sh"
    sizes = re.findall(r"^([\w |]+)\) shift ;;$", (ROOT / arguments[0]).read_text(), flags=re.MULTILINE)[0]
    assert arguments[1] in sizes.split(" | "), f"{command}: the script takes {sizes}"


def _pytest(command: Command, arguments: list[str]) -> None:
    folder, option, word = arguments
    assert option == "-k"
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py"))
    assert re.search(rf"^def test_\w*{word}", tests, flags=re.MULTILINE), f"{command}: no test has that name"


def _source(command: Command, arguments: list[str]) -> None:
    assert arguments == [".venv/bin/activate"], command
    assert "-m venv .venv\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


def _pip(command: Command, arguments: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert arguments[0] == "install", command
    for extra in re.findall(r"[\w-]+", arguments[1].partition("[")[2]):
        assert extra in project["optional-dependencies"], f"{command}: there is no extra {extra}"


def _torchrun(command: Command, arguments: list[str]) -> None:
    assert "visioncore.cli" in arguments, f"{command}: torchrun starts another program"
    _visioncore(command, arguments[arguments.index("visioncore.cli") + 1 :])


_CHECKS = {
    "torchrun": _torchrun,
    "visioncore": _visioncore,
    "make": _make,
    "bash": _train_script,
    "pip": _pip,
    "python": _script,
    "source": _source,
    ".venv/bin/pytest": _pytest,
}
