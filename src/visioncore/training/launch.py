"""How many processes a launcher has started, against how many the settings say."""

import os

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only

from visioncore.errors import ConfigError
from visioncore.training.machine import MachineConfig

_MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Processes that mpirun or mpiexec has started: Open MPI, and MPICH with its relatives."""


def is_first_process() -> bool:
    """Whether this is the process of its run that speaks for all of them, by what its launcher has set."""
    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]


def require_processes_as_set(config: MachineConfig) -> None:
    """Refuse a launch of another size than the settings: each process would train alone, and all in one run folder.

    Raises:
        ConfigError: srun, torchrun or MPI started another number of processes.
    """
    if SLURMEnvironment.detect():
        _require_slurm_as_set(config)
    elif TorchElasticEnvironment.detect():
        started, per_node = (_number(name) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
        if started != config.processes or per_node not in (None, config.devices):
            raise ConfigError(
                f"torchrun started {started} processes{'' if per_node is None else f', {per_node} on this machine'}, "
                f"and {_settings(config)}; start it with --nnodes={config.num_nodes} "
                f"--nproc-per-node={config.devices}, or change these settings"
            )
    elif any((_number(name) or 1) > 1 for name in _MPI):
        raise ConfigError(
            "MPI started several processes, and each would train alone; start them with srun or torchrun, or start "
            "one, and training.machine.devices starts the others of this machine"
        )


def _require_slurm_as_set(config: MachineConfig) -> None:
    tasks, per_node, nodes = (_number(f"SLURM_{name}") for name in ("NTASKS", "NTASKS_PER_NODE", "NNODES"))
    agree = (
        tasks == config.processes and per_node in (None, config.devices) and nodes in (None, config.num_nodes)
    )
    # Lightning does not know which processes share a machine unless it is told.
    if agree and (config.processes == 1 or per_node is not None):
        return
    told = "" if per_node is None else f", {per_node} on each machine"
    raise ConfigError(
        f"this is a job of SLURM with {tasks} tasks{told}{'' if nodes is None else f', on {nodes} machines'}, and "
        f"{_settings(config)}; start it with srun --nodes={config.num_nodes} --ntasks-per-node={config.devices}, or "
        "change these settings"
    )


def _settings(config: MachineConfig) -> str:
    return (
        f"training.machine.devices={config.devices} on training.machine.num_nodes={config.num_nodes} makes "
        f"{config.processes}"
    )


def _number(name: str) -> int | None:
    found = os.environ.get(name)
    return int(found) if found and found.isdecimal() else None
