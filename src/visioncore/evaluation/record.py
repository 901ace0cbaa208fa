"""How often the test split of a run was evaluated, by which twins: RUN/test_evaluations.json.

A test split that is looked at again and again becomes a selection split. The record is only ever appended to;
who copies or deletes it can cheat, but no look at the split goes unrecorded by mistake.
"""

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import visioncore
from visioncore.config import AsWritten, Record
from visioncore.errors import DataError
from visioncore.files import write_text
from visioncore.run_folder import RunFolder

Purpose = Literal["evaluate", "report", "audit", "tune"]


class TestEvaluation(Record):
    """One look at the test split."""

    __test__ = False  # for pytest: the name begins with Test

    time: str
    """In UTC, as ISO 8601 has it."""
    twin_digest: str
    data_fingerprint: str
    visioncore: str
    """The version that looked."""
    commit: str | None
    settings: AsWritten
    """Of the evaluation, but what the two digests say; empty for an audit. As it was written, whatever version did."""
    purpose: str
    """What for; a `Purpose`, or one of another version."""


@dataclass(frozen=True)
class TestEvaluations:
    """What a run folder remembers of looks at its test split."""

    __test__ = False  # for pytest: the name begins with Test

    entries: tuple[TestEvaluation, ...]

    @property
    def n_times(self) -> int:
        """How often the test split was evaluated."""
        return len(self.entries)

    @property
    def n_twins(self) -> int:
        """How many different twins that were."""
        return len({entry.twin_digest for entry in self.entries})

    def __str__(self) -> str:
        times = "once" if self.n_times == 1 else f"{self.n_times} times"
        if self.n_times == 0:
            return "test split never evaluated"
        twins = "one twin" if self.n_twins == 1 else f"{self.n_twins} different twins"
        return f"test split evaluated {times}, by {twins}"


def record_test_evaluation(
    run_dir: Path, twin_digest: str, data_fingerprint: str, settings: AsWritten, purpose: Purpose
) -> TestEvaluations:
    """Append one evaluation of the test split to the record of `run_dir`, and give the whole record.

    Raises:
        DataError: the record that is there cannot be read; it is left as it is.
    """
    with _only_one(run_dir):
        before = read_test_evaluations(run_dir)
        entry = TestEvaluation(
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            twin_digest=twin_digest,
            data_fingerprint=data_fingerprint,
            visioncore=visioncore.__version__,
            commit=code_commit(),
            settings=settings,
            purpose=purpose,
        )
        after = TestEvaluations((*before.entries, entry))
        write_text(
            RunFolder(run_dir).test_evaluations,
            json.dumps([e.to_json() for e in after.entries], indent=1, allow_nan=False),
        )
    return after


def read_test_evaluations(run_dir: Path) -> TestEvaluations:
    """The record of a run folder; empty where none was written.

    Raises:
        DataError: it is damaged.
    """
    path = RunFolder(run_dir).test_evaluations
    if not path.exists():
        return TestEvaluations(())
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, list):
            raise ValueError("expected a list")
        return TestEvaluations(tuple(TestEvaluation.from_json(entry) for entry in raw))
    except ValueError:
        raise DataError(
            f"{path}: is no record of test evaluations, or damaged; restore it from a copy, or move it away and "
            "say in your report that the count begins anew"
        ) from None


def code_commit() -> str | None:
    """The commit of the checkout this code runs from; None for an installed package."""
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two evaluations that end at once are both counted."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
