"""New processes without the time that importing PyTorch takes: forked from one that has imported it, and no test.

A process that pytest forks itself would carry pytest's state, threads and import hooks along.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PRELOADED = ["lightning", "torch.utils.tensorboard", "visioncore", "visioncore.training.run"]


def run_in_new_process(target: Callable[..., None], *arguments: Any, log: Path) -> int:
    """Call `target`, which must be a function of a module; the exit code, and what it printed in `log`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_logged, args=(target, arguments, log))
    process.start()
    process.join()
    with contextlib.suppress(ProcessLookupError):
        # What it started, and left behind where it was killed.
        os.killpg(process.pid or 0, signal.SIGKILL)
    assert process.exitcode is not None
    return process.exitcode


def _logged(target: Callable[..., None], arguments: tuple[Any, ...], log: Path) -> None:
    os.setpgrp()
    with log.open("a", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    target(*arguments)


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
