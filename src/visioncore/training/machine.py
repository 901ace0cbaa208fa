"""What a run is computed on, and with: no part of what makes it this run."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from visioncore.config import Config


class MachineConfig(Config):
    """`training.machine`. A run that is resumed may have another one, and says so."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: PositiveInt = 1
    """GPUs, or processes on CPUs, of each machine. They share the clips of a step, whose number must not change."""
    num_nodes: PositiveInt = 1
    """Machines; each starts its own processes, as `srun` and `torchrun` do."""
    timeout_minutes: PositiveFloat = 30.0
    """How long one process waits for another at most; it is then said to be lost."""
    num_workers: NonNegativeInt = 0
    """Processes that read clips while the model computes."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """No float16: its range is too small for the gradients of rare spikes."""

    @property
    def processes(self) -> int:
        """Processes that train together, on all machines."""
        return self.devices * self.num_nodes
