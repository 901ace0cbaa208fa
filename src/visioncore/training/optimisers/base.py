"""What an optimiser is: which parameters it steers, at which rate and decay."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from pydantic import NonNegativeFloat, PositiveFloat
from torch import nn
from torch.optim import Optimizer

from visioncore.config import ComponentConfig
from visioncore.model import Twin

ParameterGroup = dict[str, Any]
"""Parameters and their settings, in the form that PyTorch's optimisers take."""
BETAS = (0.9, 0.98)
"""Of AdamW."""


class BaseOptimiserConfig(ComponentConfig, ABC):
    """Base of the optimisers' configs. Must provide `build`."""

    learning_rate: PositiveFloat = 1e-3
    session_learning_rate: PositiveFloat = 1.0
    """Of readouts, linear paths and outputs, as a multiple of `learning_rate`."""
    weight_decay: NonNegativeFloat = 0.05
    session_weight_decay: NonNegativeFloat | None = None
    """Of readouts, linear paths and outputs; `weight_decay` when left out."""

    @abstractmethod
    def build(self, twin: Twin) -> Optimizer:
        """The optimiser of all trainable parameters of `twin`.

        Raises:
            ConfigError: the twin has nothing for it to steer.
        """

    @property
    def matrices_learning_rate(self) -> float | None:
        """Of the matrices of the core, where the optimiser steers them in another way; None where it does not."""
        return None

    def parameter_groups(self, twin: Twin) -> list[ParameterGroup]:
        """Trainable parameters by learning rate and decay: the one place that decides.

        Decayed and undecayed ones of what all sessions share, the same of each session's own parts, and with
        `matrices_learning_rate` last of all the matrices of the core. Groups may be empty. A module names those of its
        matrices that are no weights, and so do not decay, in `never_decayed`.
        """
        session_decay = self.weight_decay if self.session_weight_decay is None else self.session_weight_decay
        rates = (self.learning_rate, self.session_learning_rate * self.learning_rate)
        groups: list[ParameterGroup] = [
            {"params": [], "lr": rate, "weight_decay": decay}
            for rate, own_decay in zip(rates, (self.weight_decay, session_decay), strict=True)
            for decay in (own_decay, 0.0)
        ]
        matrices: list[nn.Parameter] = []
        core: set[nn.Module] = set()
        if self.matrices_learning_rate is not None:
            groups.append(
                {"params": matrices, "lr": self.matrices_learning_rate, "weight_decay": self.weight_decay}
            )
            core = set(twin.trunk.core.modules()) if twin.trunk.core else set()
        own = {
            module
            for session in twin.sessions
            if (part := twin.trunk.of_session(session)) is not None
            for module in part.modules()
        }
        for part, of_a_head in _parts(twin):
            for module in part.modules():
                of_a_session = of_a_head or module in own
                for name, parameter in module.named_parameters(recurse=False):
                    if not parameter.requires_grad:
                        continue
                    is_weight = parameter.ndim >= 2 and name not in getattr(module, "never_decayed", ())
                    if is_weight and module in core and not _is_depthwise(module):
                        matrices.append(parameter)
                    else:
                        groups[2 * of_a_session + (not is_weight)]["params"].append(parameter)
        return groups


def _parts(twin: Twin) -> Iterator[tuple[nn.Module, bool]]:
    """The parts of the twin, and whether they are of a head; the same of all sessions one after the other."""
    yield twin.trunk, False
    if twin.heads.shared is not None:
        yield twin.heads.shared, False
    for same in zip(*((head.readout, head.linear, head.output) for head in twin.heads), strict=True):
        yield from ((part, True) for part in same if part is not None)


def _is_depthwise(module: nn.Module) -> bool:
    """Whether its kernel is of a convolution channel by channel: one row per channel, and no matrix."""
    return getattr(module, "groups", 1) > 1
