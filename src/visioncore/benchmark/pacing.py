"""How fast the models of a suite go, for equal time: found before any of them is trained, for all in turns.

A machine that other work slows for a quarter of an hour would give one model more steps than another if each were timed
just before its own run. In turns it slows them all, and every seed of a model gets the same steps.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from visioncore.benchmark.commands import command, only_here
from visioncore.benchmark.suite import PlannedRun
from visioncore.config import dump_config
from visioncore.files import write_record
from visioncore.training.plan import Pace, read_pace, rehearsal_s

ROUNDS = 3


def find_paces(runs: Sequence[PlannedRun], tick: Callable[[], None]) -> None:
    """Write the pace of each of these runs, one per model of a recording, to its `pace_file`; all, or none when killed.

    A model that cannot be trained gets none: its training will say why.

    Args:
        tick: is called about twice a second.

    Raises:
        ConfigError: another process is timing this recording's models.
    """
    log_path = runs[0].pace_file.with_name("paces.log")
    found: dict[Path, list[Pace]] = {run.pace_file: [] for run in runs}
    what = f"the models' pace on {runs[0].data}"
    with only_here(log_path, what) as log, tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS):
            for run in runs:
                assert run.minutes is not None
                out = Path(folder) / f"{run.entry}-{turn}.json"
                seconds = repr(rehearsal_s(run.minutes) / ROUNDS)
                arguments = ["pace", *run.arguments, "--out", str(out), "--seconds", seconds]
                if command(arguments, log, tick):
                    found[run.pace_file].append(read_pace(out))
    for path, paces in found.items():
        if paces:
            middle = Pace(
                step_s=median(pace.step_s for pace in paces),
                epoch_end_s=median(pace.epoch_end_s for pace in paces),
            )
            write_record(path, dump_config(middle))
