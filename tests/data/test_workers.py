"""Several processes prepare what one would, and leave nothing and nobody behind however they end."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import tiny_arrays, tiny_data_yaml, tiny_session
from forked import (
    die_with_a_stuck_worker,
    end_process,
    prepare_and_interrupt,
    quick_context,
    start_process,
    visioncore_command,
)
from visioncore.data import build_data_config, load_data_config, prepare, workers
from visioncore.errors import ConfigError, DataError

bars = sys.modules["visioncore.data.prepare"]


def _recording(folder: Path, **changes: dict[str, Any]) -> Path:
    """A data YAML over the sessions a, b and c; what is changed of their arrays stands under their ids."""
    for seed, id_ in enumerate("abc"):
        np.savez(folder / f"{id_}.npz", **(tiny_arrays(seed) | changes.get(id_, {})))
    yaml = folder / "data.yaml"
    yaml.write_text(json.dumps(tiny_data_yaml(*(tiny_session(id=id_, path=f"{id_}.npz") for id_ in "abc"))))
    return yaml


def _written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _nothing_is_left(folder: Path) -> None:
    assert not list(folder.glob("stores/**/.*"))
    assert multiprocessing.active_children() == []


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers fork from a process that has imported what they need, and no test."""
    monkeypatch.setattr(workers, "_CONTEXT", quick_context())


@pytest.mark.slow
def test_several_workers_write_what_one_does_and_say_what_one_says(tmp_path: Path) -> None:
    eye = tiny_arrays(1)["eye"]
    eye[700] = np.nan
    yaml = _recording(tmp_path, b={"eye": eye})
    alone = prepare(load_data_config(yaml).model_copy(update={"store": "alone"}), tmp_path)
    done = visioncore_command(tmp_path, "prepare", "data.yaml", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert len(alone.sessions) == 3
    assert _written(tmp_path / "stores") == _written(tmp_path / "alone")
    assert "3 of 3 sessions" in done.stderr
    assert "is NaN in 1 of" in done.stderr
    _nothing_is_left(tmp_path)


@pytest.mark.usefixtures("quickly")
def test_a_session_that_fails_is_named_and_those_before_stay(tmp_path: Path) -> None:
    config = load_data_config(_recording(tmp_path, c={"spikes": -np.ones((2400, 3), int)}))
    with pytest.raises(DataError, match=r"session 'c'.*negative"):
        prepare(config, tmp_path, workers=2)
    # There are two workers: one had finished a session when the third was begun.
    finished = {path: path.stat().st_ino for path in (tmp_path / "stores" / "sessions").iterdir()}
    assert finished
    assert not list(tmp_path.glob("stores/*.json"))
    _nothing_is_left(tmp_path)
    (tmp_path / "mended").mkdir()
    mended = load_data_config(_recording(tmp_path))
    prepare(mended, tmp_path)
    assert {path: path.stat().st_ino for path in finished} == finished


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("after", ["begin", "finish"])
def test_a_worker_that_is_killed_is_told_with_its_session(
    after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killing(bar: Any, *arguments: int) -> None:
        original(bar, *arguments)
        for child in multiprocessing.active_children():
            child.kill()

    original = getattr(bars._Bar, after)
    monkeypatch.setattr(bars._Bar, after, killing)
    config = load_data_config(_recording(tmp_path))
    with pytest.raises(DataError, match=r"session '[abc]': the process that prepared it ended \(signal 9\)"):
        prepare(config, tmp_path, workers=2)
    _nothing_is_left(tmp_path)


@pytest.mark.slow
def test_an_interrupted_prepare_leaves_nothing_and_nobody(tmp_path: Path) -> None:
    yaml, log = _recording(tmp_path), tmp_path / "log"
    process = start_process(prepare_and_interrupt, yaml, out=log, err=log)
    process.join()
    _wait_until_the_group_is_gone(process)
    # One traceback, that of the process which the user sees.
    assert log.read_text().count("Traceback") == 1
    assert log.read_text().endswith("KeyboardInterrupt\n")
    _nothing_is_left(tmp_path)
    assert not list(tmp_path.glob("stores/*.json"))


@pytest.mark.slow
def test_a_worker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    process = start_process(die_with_a_stuck_worker, tmp_path, out=tmp_path / "log", err=tmp_path / "log")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    _wait_until_the_group_is_gone(process)


def _wait_until_the_group_is_gone(process: BaseProcess) -> None:
    """The limit is pytest's."""
    try:
        while True:
            os.killpg(process.pid or 0, 0)
            time.sleep(0.02)
    except ProcessLookupError:
        end_process(process)


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_what_to_write(tmp_path: Path) -> None:
    _recording(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from visioncore.data import load_data_config, prepare\n"
        "prepare(load_data_config(Path('data.yaml')), Path('.'), workers=2)\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'put what it does under `if __name__ == "__main__":`' in done.stderr
    _nothing_is_left(tmp_path)


def test_no_workers_are_no_workers(tmp_path: Path) -> None:
    raw = tiny_data_yaml(tiny_session(id="a", path="a.npz"))
    with pytest.raises(ConfigError, match="workers is 0; expected 1 or more"):
        prepare(build_data_config(raw, "data.yaml"), tmp_path, workers=0)
