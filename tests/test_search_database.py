"""A search whose trials stand in a database, for workers of several machines."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from searches import nothing, quick_trials, written
from visioncore.search import Search, read_space, work


@pytest.mark.slow
@pytest.mark.skipif(
    not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")), reason="PostgreSQL is not installed"
)
def test_a_database_holds_the_trials_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick_trials(monkeypatch)
    server = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    pytest.importorskip("psycopg")
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # Not in tmp_path: the server's user may not look into it, and its socket's path must be short.
    home = Path(tempfile.mkdtemp(prefix="visioncore-"))
    if as_user:
        subprocess.run(["chown", "postgres", str(home)], check=True)
    folder = home / "data"
    try:
        quiet: Any = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
        subprocess.run([*as_user, str(server / "initdb"), "-D", str(folder), "-A", "trust"], **quiet)
        options = f"-k {home} -c listen_addresses=''"
        subprocess.run(
            [*as_user, str(server / "pg_ctl"), "-D", str(folder), "-o", options, "-w", "start"], **quiet
        )
        user = "postgres" if as_user else os.environ.get("USER", "postgres")
        url = f"postgresql+psycopg://{user}@/postgres?host={home}"
        search = Search(read_space(written(tmp_path)), tmp_path, tmp_path / "out", url)
        assert len(work(search, nothing).trials()) == 4
        assert not (tmp_path / "out" / "journal.log").exists()
    finally:
        subprocess.run(
            [*as_user, str(server / "pg_ctl"), "-D", str(folder), "-m", "immediate", "stop"],
            stdout=subprocess.DEVNULL,
            cwd="/",
            check=False,
        )
        shutil.rmtree(home)
