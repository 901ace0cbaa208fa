"""Rules of the house that no other tool checks."""

from pages import ROOT

LONGEST = 400


def test_no_file_is_longer_than_one_reads_in_a_sitting() -> None:
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    assert len(files) > 250
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files
    }
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}
