"""Rules of the house that no other tool checks."""

import re

from pages import ROOT

LONGEST = 400
# A test that is skipped where CI runs checks nothing. What is skipped elsewhere, and why CI has it.
SKIPPED = {
    "tests/test_cli.py": "`make test` makes the .venv that the training script would install",
    "tests/test_search_database.py": "PostgreSQL's server is a package of Debian, not of Python; .ci/run installs it",
    "tests/data/sources/test_video_file.py": "CI runs Linux, which says in /proc how many threads there are",
    "tests/shared_cases.py": "files of real formats, which lie beside the repository there",
}


def test_no_file_is_longer_than_one_reads_in_a_sitting() -> None:
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    assert len(files) > 250
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files
    }
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


def test_no_test_is_skipped_where_ci_runs() -> None:
    skips = re.compile(r"pytest\.skip\(|importorskip\(|mark\.skip")
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.name != "test_house.py"]
    found = {str(path.relative_to(ROOT)) for path in files if skips.search(path.read_text(encoding="utf-8"))}
    assert found == set(SKIPPED)
