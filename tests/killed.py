"""Runs of training that die with SIGKILL inside the N-th call of a function: no clean-up of any kind runs."""

import os
import signal
from pathlib import Path
from typing import Any

from forked import run_in_new_process
from visioncore.errors import Stopped


def start(
    folder: Path,
    out: Path,
    moment: str = "never",
    number: int = 0,
    overrides: tuple[str, ...] = (),
    minutes: float = 0.0,
    by: signal.Signals = signal.SIGKILL,
) -> int:
    """Train what the three YAMLs of `folder` say; 0, or the code with which it ended by a signal at its `moment`."""
    log = out.with_name(f"{out.name}.log")
    code = run_in_new_process(_run, folder, out, moment, number, overrides, minutes, by, log=log)
    assert code in (0, -signal.SIGKILL, Stopped.EXIT_CODE), log.read_text(encoding="utf-8")
    return code


def _run(
    folder: Path,
    out: Path,
    moment: str,
    number: int,
    overrides: tuple[str, ...],
    minutes: float,
    by: signal.Signals,
) -> None:
    import lightning

    from visioncore import files
    from visioncore.training import clock, run, saving
    from visioncore.training.experiment import read_experiment
    from visioncore.training.lit_twin import LitTwin

    moments = {
        "step": (LitTwin, "training_step"),
        "validation": (LitTwin, "validation_step"),
        "checkpoint": (lightning.Trainer, "save_checkpoint"),
        "rename": (files, "replace_durably"),
        "twin": (saving, "save_twin"),
        "corrected": (clock, "follow"),
    }
    if moment != "never":
        _die_in_call(*moments[moment], number, by, half_written=moment == "checkpoint")
    yamls = (folder / "model.yaml", folder / "data.yaml", folder / "training.yaml")
    run.train(read_experiment(*yamls, overrides), out, minutes or None)


def _die_in_call(owner: Any, name: str, number: int, by: signal.Signals, *, half_written: bool) -> None:
    whole, calls = getattr(owner, name), [0]

    def call(*arguments: Any, **keywords: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            if half_written:
                Path(arguments[1]).write_bytes(b"half a checkpoint")
            os.kill(os.getpid(), by)
        return whole(*arguments, **keywords)

    setattr(owner, name, call)
