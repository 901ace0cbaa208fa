"""New processes without the time that importing PyTorch takes: forked from one that has imported it, and no test.

A process that pytest forks itself would carry pytest's state, threads and import hooks along.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

_PRELOADED = ["lightning", "torch.utils.tensorboard", "visioncore", "visioncore.training.run"]


def start_process(target: Callable[..., None], *arguments: Any, out: Path, err: Path) -> BaseProcess:
    """Call `target`, which must be a function of a module; what it prints is appended to `out` and `err`."""
    process = quick_context().Process(target=_logged, args=(target, arguments, out, err))
    process.start()
    return process


def quick_context() -> ForkServerContext:
    """Of processes that are forked from one that has imported the slow libraries, and no test."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def end_process(process: BaseProcess) -> None:
    """With SIGKILL, and with all that it started and left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()


def run_in_new_process(
    target: Callable[..., None], *arguments: Any, log: Path, err: Path | None = None
) -> int:
    """Call `target`, which must be a function of a module; the exit code, and what it printed in `log`."""
    process = start_process(target, *arguments, out=log, err=err or log)
    process.join()
    end_process(process)
    assert process.exitcode is not None
    return process.exitcode


def _logged(target: Callable[..., None], arguments: tuple[Any, ...], out: Path, err: Path) -> None:
    os.setpgrp()
    for stream, path in ((1, out), (2, err)):
        with path.open("a", encoding="utf-8") as file:
            os.dup2(file.fileno(), stream)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    target(*arguments)


# --- The command line ---------------------------------------------------------------------------------------------


def visioncore_command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `visioncore` with these arguments says and returns in `folder`."""
    printed = [folder / f"{name}.printed" for name in ("out", "err")]
    for path in printed:
        path.unlink(missing_ok=True)
    code = run_in_new_process(command_line, folder, arguments, log=printed[0], err=printed[1])
    out, err = (path.read_text(encoding="utf-8") for path in printed)
    return subprocess.CompletedProcess(arguments, code, out, err)


def command_line(folder: Path, arguments: tuple[str, ...]) -> None:
    """`visioncore` with these arguments, in `folder`; what a benchmark starts is forked as well."""
    from visioncore import cli
    from visioncore.benchmark import commands

    os.chdir(folder)
    os.environ["COLUMNS"] = "200"
    sys.argv = ["visioncore", *arguments]
    vars(commands)["subprocess"] = _FORKED
    cli.main()


class _ForkedCommand:
    """In place of `subprocess.Popen`, for the commands that a benchmark starts."""

    def __init__(self, command: list[str], stdin: int, stdout: IO[bytes], stderr: int) -> None:
        assert command[:3] == [sys.executable, "-m", "visioncore.cli"]
        assert (stdin, stderr) == (subprocess.DEVNULL, subprocess.STDOUT)
        self._process = multiprocessing.get_context("fork").Process(target=_into, args=(stdout, command[3:]))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("visioncore", timeout or 0.0)
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


_FORKED = SimpleNamespace(
    Popen=_ForkedCommand,
    DEVNULL=subprocess.DEVNULL,
    STDOUT=subprocess.STDOUT,
    TimeoutExpired=subprocess.TimeoutExpired,
)


def _into(log: IO[bytes], arguments: list[str]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for stream in (1, 2):
        os.dup2(log.fileno(), stream)
    command_line(Path.cwd(), tuple(arguments))


# --- What tests call ----------------------------------------------------------------------------------------------


def predict_from_file(folder: Path) -> None:
    """Load the twin of `test_checkpoints.py` from its file, and write down what it predicts of `in.npz`."""
    import numpy as np

    import visioncore
    from visioncore.provenance import Provenance

    os.chdir(folder)
    inputs = np.load("in.npz")
    twin = visioncore.load_twin("twin.safetensors")
    assert twin.provenance == Provenance(seed=3)
    assert twin.unit_ids("two/β") == ("a", "d")
    np.save("out.npy", twin.predict(inputs["video"], inputs["behaviour"], session="two/β"))


def weighed_training(model: Path, data: Path, folder: Path, overrides: tuple[str, ...]) -> None:
    """Train into `folder`/run, and write down the most memory that the process had."""
    import json
    import resource

    from visioncore.training.experiment import read_experiment
    from visioncore.training.run import train

    train(read_experiment(model, data, None, overrides), folder / "run")
    (folder / "peak.json").write_text(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def prepare_and_interrupt(yaml: Path) -> None:
    """Prepare with two workers; when the first session begins, Ctrl-C comes as from a terminal: to all."""
    from visioncore.data import load_data_config, prepare

    # A suite that runs in the background hands on that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt(bar: Any, n_bins: int) -> None:
        os.killpg(0, signal.SIGINT)

    sys.modules["visioncore.data.prepare"]._Bar.begin = interrupt
    prepare(load_data_config(yaml), yaml.parent, workers=2)


class Stuck:
    """In place of a located source: it is read for ever."""

    def __init__(self, told: Path) -> None:
        self._told = told

    def model_dump_json(self) -> str:
        self._told.touch()
        while True:
            time.sleep(60)


def die_with_a_stuck_worker(folder: Path) -> None:
    """SIGKILL, when a worker reads for ever."""
    from visioncore.data.session_making import Order
    from visioncore.data.workers import _Worker

    worker: Any = _Worker()
    worker.take(Order(Stuck(folder / "stuck"), folder, "a", "", folder / "store"), lambda id_: None)  # type: ignore[arg-type]
    while not (folder / "stuck").exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)


def weighed_preparation(folder: Path) -> None:
    """Prepare data.yaml of `folder`, and write down the most memory that the process had."""
    import json
    import resource

    from visioncore.data import load_data_config, prepare

    prepare(load_data_config(folder / "data.yaml"), folder)
    (folder / "peak.json").write_text(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
