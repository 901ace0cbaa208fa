"""`visioncore train ... --slurm`: a job that bash reads, with the command as it was typed, and that trains."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from forked import visioncore_command
from ranks import unequal_sessions
from visioncore.cli.slurm import sbatch_script
from visioncore.run_folder import RunFolder
from visioncore.training.experiment import TrainingConfig
from visioncore.training.machine import MachineConfig


def directives(script: str) -> dict[str, str]:
    """The options that sbatch reads: those before the first command."""
    found = {}
    for line in script.splitlines():
        if line and not line.startswith("#"):
            break
        if line.startswith("#SBATCH --"):
            key, _, value = line.removeprefix("#SBATCH --").partition("=")
            assert " " not in value
            found[key] = value
    return found


def command(script: str) -> list[str]:
    """What srun is told to run."""
    words = shlex.split(script[script.index("\nsrun ") :])
    return words[words.index("visioncore") :]


def bash_reads(script: str, tmp_path: Path) -> Path:
    path = tmp_path / "job.sh"
    path.write_text(script)
    checked = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    return path


def test_the_job_asks_for_what_the_settings_say(tmp_path: Path) -> None:
    machine = MachineConfig(devices=4, num_nodes=3, num_workers=6)
    script = sbatch_script(["train"], TrainingConfig(machine=machine), tmp_path / "my run", 600)
    bash_reads(script, tmp_path)
    asked = directives(script)
    assert asked["nodes"] == "3"
    assert asked["ntasks-per-node"] == asked["gpus-per-node"] == "4"
    assert asked["cpus-per-task"] == "7"
    assert asked["time"] == "13:30:00"
    assert asked["job-name"] == "my-run"
    assert asked["signal"] == "USR1@300"
    assert {"requeue", "open-mode"} <= asked.keys()
    on_cpus = directives(
        sbatch_script(["train"], TrainingConfig(machine=MachineConfig(accelerator="cpu")), Path("bash"), None)
    )
    assert "gpus-per-node" not in on_cpus
    assert on_cpus["time"] == "24:00:00"
    # By this name Lightning would take the job for a user's session.
    assert on_cpus["job-name"] != "bash"


@pytest.mark.slow
def test_the_job_runs_the_command_as_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a folder; with $HOME and 'quotes'"
    folder.mkdir()
    unequal_sessions(folder)
    typed = [
        *("train", "--model", "model.yaml", "--data", "data.yaml", "--training=training.yaml"),
        *("--out", "my run $(x)", "--set", "model.convnet.params.patch_size=[3, 3, 3]"),
    ]
    printed = visioncore_command(folder, *typed, "--slurm")
    assert printed.returncode == 0, printed.stderr
    assert not (folder / "my run $(x)").exists()
    assert command(printed.stdout) == ["visioncore", *typed]
    job = bash_reads(printed.stdout, tmp_path)
    mistaken = visioncore_command(folder, *typed, "--set", "training.batch_sise=2", "--slurm")
    assert mistaken.returncode == 1
    assert mistaken.stdout == ""

    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    sets = "SLURM_NTASKS=1 SLURM_JOB_ID=7 SLURM_JOB_NAME=mine SLURM_PROCID=0 SLURM_NODEID=0 SLURM_LOCALID=0"
    srun.write_text(f'#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexport {sets}\nexec "$@"\n')
    srun.chmod(0o755)
    path = f"{srun.parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", str(job)],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "best twin: my run $(x)/twin.safetensors" in ran.stdout
    assert [epoch.step for epoch in RunFolder(folder / "my run $(x)").history()] == [3, 6]
