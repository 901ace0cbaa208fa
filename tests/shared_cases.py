"""Where the cases of real formats lie: beside the repository, or where `VISIONCORE_CASES` says."""

import os
from pathlib import Path

import pytest

from pages import ROOT

CASES = Path(os.environ.get("VISIONCORE_CASES", ROOT.parent / "shared" / "cases" / "foreign"))
needs_cases = pytest.mark.skipif(
    not CASES.exists(), reason="the cases of real formats are not beside the repository"
)
