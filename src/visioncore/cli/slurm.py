"""A job of Slurm for a command that trains, to look through and submit."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from visioncore.run_folder import RunFolder
from visioncore.training.experiment import TrainingConfig

SIGNAL_BEFORE_END_S = 300
"""A step, or a validation, and saving fit into it."""
HOURS = 24
"""Of a turn, where nothing says how long training takes."""
BESIDE_TRAINING_MINUTES = 60
"""To prepare the data, to find the pace and to initialise."""
NOT_A_JOB = ("bash", "interactive")
"""Names by which Lightning tells a session of a user from a job."""


def sbatch_script(
    arguments: Sequence[str], config: TrainingConfig, out: Path, max_minutes: float | None
) -> str:
    """The text of an sbatch file that runs `visioncore` with these arguments, from this folder.

    Args:
        max_minutes: of training, where the command says so.
    """
    machine = config.machine
    minutes = max_minutes or config.length.minutes
    lines = [
        "#!/bin/bash",
        "# Look through it, change what your cluster wants otherwise, and submit it: sbatch FILE",
        f"#SBATCH --job-name={_job_name(out)}",
        "# Machines, and processes on each: as training.machine.num_nodes and devices say; change both together.",
        f"#SBATCH --nodes={machine.num_nodes}",
        f"#SBATCH --ntasks-per-node={machine.devices}",
    ]
    if machine.accelerator != "cpu":
        lines += [
            "# A GPU for each process; without one, leave this line out.",
            f"#SBATCH --gpus-per-node={machine.devices}",
        ]
    lines += [
        "# For each process: itself, and training.machine.num_workers.",
        f"#SBATCH --cpus-per-task={machine.num_workers + 1}",
        "# Hours of one turn. Where they are over, the run is saved, requeued, and goes on.",
        f"#SBATCH --time={_time(minutes)}",
        f"#SBATCH --signal=USR1@{SIGNAL_BEFORE_END_S}",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --output=slurm-%j.out",
        "# Edit what your cluster asks for, and take one # away:",
        "##SBATCH --partition=...",
        "##SBATCH --account=...",
        "##SBATCH --mem=32G",
        "",
        f"cd {shlex.quote(str(Path.cwd()))}",
        _environment(),
        'srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" '
        + shlex.join(["visioncore", *arguments]),
    ]
    return "\n".join(lines) + "\n"


def _job_name(out: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", RunFolder(out).model_name).strip("-") or "run"
    return f"visioncore-{name}" if name in NOT_A_JOB else name


def _time(minutes: float | None) -> str:
    if minutes is None:
        return f"{HOURS}:00:00"
    hours, rest = divmod(round(1.25 * minutes) + BESIDE_TRAINING_MINUTES, 60)
    return f"{hours:02}:{rest:02}:00"


def _environment() -> str:
    activate = Path(sys.prefix) / "bin" / "activate"
    if sys.prefix != sys.base_prefix and activate.exists():
        return f"source {shlex.quote(str(activate))}"
    return (
        "# Edit: what makes the command `visioncore` known here, such as `module load` or `conda activate`."
    )
