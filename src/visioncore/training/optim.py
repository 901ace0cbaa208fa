"""Which parameters are trained how: AdamW, Muon for the core's matrices, and a schedule in steps."""

import math
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from visioncore.errors import ConfigError
from visioncore.model import Twin
from visioncore.training.experiment import TrainingConfig

BETAS = (0.9, 0.98)


class KernelMuon(Muon):
    """Muon that takes a convolution's kernel for the matrix of (output channels, all that each of them weighs).

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", for the kernels.
    """

    def __init__(self, groups: list[dict[str, Any]], **settings: Any) -> None:
        # PyTorch's Muon refuses all but matrices. It checks only here, so it is given matrices in place of kernels.
        doors = [{**group, "params": [torch.zeros(1, 1)]} for group in groups]
        super().__init__(doors, **settings)
        for own, group in zip(self.param_groups, groups, strict=True):
            own["params"] = group["params"]

    def _init_group(
        self,
        group: MutableMapping[str, Any],
        params_with_grad: list[Tensor],
        grads: list[Tensor],
        muon_momentum_bufs: list[Tensor],
    ) -> bool:
        first = len(params_with_grad)
        complex_ones: bool = super()._init_group(group, params_with_grad, grads, muon_momentum_bufs)
        for tensors in (params_with_grad, grads, muon_momentum_bufs):
            # Views: what is written to them arrives.
            tensors[first:] = [tensor.view(len(tensor), -1) for tensor in tensors[first:]]
        return complex_ones


class MuonWithAdamW(Optimizer):
    """Muon for some groups and AdamW for the others, as one optimiser with one state.

    So clipping, accumulation, schedule and checkpoint need not know that there are two.
    """

    def __init__(self, muon: list[dict[str, Any]], adamw: list[dict[str, Any]]) -> None:
        self._adamw = AdamW(adamw, betas=BETAS)
        # Updates of AdamW's size, so that its learning rate and decay hold for both (Liu et al. 2025).
        self._muon = KernelMuon(muon, adjust_lr_fn="match_rms_adamw")
        super().__init__([*self._adamw.param_groups, *self._muon.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # At each step, as loading a state replaces the groups and the state.
        n_adamw = len(self._adamw.param_groups)
        self._adamw.param_groups, self._muon.param_groups = (
            self.param_groups[:n_adamw],
            self.param_groups[n_adamw:],
        )
        self._adamw.state = self._muon.state = self.state
        self._adamw.step()
        self._muon.step()  # type: ignore[no-untyped-call]
        return loss


def optimiser(twin: Twin, config: TrainingConfig) -> Optimizer:
    """The optimiser of all trainable parameters of `twin`.

    Raises:
        ConfigError: Muon is asked for, and the twin has no matrix for it.
    """
    groups = parameter_groups(twin, config)
    if config.optimiser == "adamw":
        return AdamW(groups, betas=BETAS)
    *adamw, muon = groups
    if not muon["params"]:
        raise ConfigError(
            "training.optimiser is 'muon', and this model's core has no matrices for it; use 'adamw'"
        )
    return MuonWithAdamW([muon], adamw)


def parameter_groups(twin: Twin, config: TrainingConfig) -> list[dict[str, Any]]:
    """Trainable parameters by learning rate and decay: the one place that decides.

    Decayed and undecayed ones of what all sessions share, the same of each session's own parts, and with Muon last
    of all the matrices of the core. Groups may be empty. A module names those of its matrices that are no weights, and
    so do not decay, in `never_decayed`.
    """
    session_decay = (
        config.weight_decay if config.session_weight_decay is None else config.session_weight_decay
    )
    rates = (config.learning_rate, config.session_learning_rate * config.learning_rate)
    groups: list[dict[str, Any]] = [
        {"params": [], "lr": rate, "weight_decay": decay}
        for rate, own_decay in zip(rates, (config.weight_decay, session_decay), strict=True)
        for decay in (own_decay, 0.0)
    ]
    matrices: list[nn.Parameter] = []
    if config.optimiser == "muon":
        rate = config.muon_learning_rate or config.learning_rate
        groups.append({"params": matrices, "lr": rate, "weight_decay": config.weight_decay})
    core = set(twin.trunk.core.modules()) if twin.trunk.core and config.optimiser == "muon" else set()
    for part, of_a_session in _parts(twin):
        for module in part.modules():
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
    """The parts of the twin, and whether each session has its own; the same of all sessions one after the other."""
    yield twin.trunk, False
    if twin.heads.shared is not None:
        yield twin.heads.shared, False
    for same in zip(*((head.readout, head.linear, head.output) for head in twin.heads), strict=True):
        yield from ((part, True) for part in same if part is not None)


def _is_depthwise(module: nn.Module) -> bool:
    """Whether its kernel is of a convolution channel by channel: one row per channel, and no matrix."""
    return getattr(module, "groups", 1) > 1


def shortened_warmup(warmup_steps: int, max_steps: int) -> int:
    """At most a tenth of the run: a run shorter than its warm-up would never leave it."""
    return min(warmup_steps, max_steps // 10)


def learning_rate_factor(
    schedule: Literal["cosine", "linear", "constant"], warmup_steps: int, max_steps: int, final: float
) -> Callable[[float], float]:
    """Factor of the learning rate at a step: linear up (never 0), then down to `final` at `max_steps`, or level."""
    warmup = shortened_warmup(warmup_steps, max_steps)

    def factor(step: float) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min((step - warmup) / max(max_steps - warmup, 1), 1.0)
        left = {"cosine": (1 + math.cos(math.pi * progress)) / 2, "linear": 1 - progress, "constant": 1.0}
        return final + (1 - final) * left[schedule]

    return factor
