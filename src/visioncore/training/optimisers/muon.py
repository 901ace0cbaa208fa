"""Muon for the core's matrices and kernels, and AdamW for the rest."""

from collections.abc import Callable, MutableMapping
from typing import Any, Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

from visioncore.errors import ConfigError
from visioncore.model import Twin
from visioncore.training.optimisers.base import BETAS, BaseOptimiserConfig, ParameterGroup


class MuonConfig(BaseOptimiserConfig):
    """Muon steers the core's matrices and kernels; `learning_rate` and decays are of updates of AdamW's size."""

    type: Literal["muon"] = "muon"
    muon_learning_rate: PositiveFloat | None = None
    """Of Muon's matrices; `learning_rate` when left out, as both make updates of the same size."""

    @property
    def matrices_learning_rate(self) -> float:
        return self.muon_learning_rate or self.learning_rate

    def build(self, twin: Twin) -> Optimizer:
        *adamw, muon = self.parameter_groups(twin)
        if not muon["params"]:
            raise ConfigError(
                "training.optimiser is 'muon', and this model's core has no matrices for it; use 'adamw'"
            )
        return MuonWithAdamW([muon], adamw)


class KernelMuon(Muon):
    """Muon that takes a convolution's kernel for the matrix of (output channels, all that each of them weighs).

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", for the kernels.
    """

    def __init__(self, groups: list[ParameterGroup], **settings: Any) -> None:
        # PyTorch's refuses all but matrices, and asks only at the door.
        matrices = [{**group, "params": [torch.zeros(1, 1)]} for group in groups]
        super().__init__(matrices, **settings)
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

    def __init__(self, muon: list[ParameterGroup], adamw: list[ParameterGroup]) -> None:
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
