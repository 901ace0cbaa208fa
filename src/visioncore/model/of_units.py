"""Some units of a session's module, to work on a few thousand units in groups."""

import copy
from typing import TypeVar

from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def of_units(module: Module, units: slice, n_units: int) -> Module:
    """The module with some of its `n_units`. Its tensors are views: what is set in place there, is set here.

    A tensor is per unit where its first axis is as long as there are units; others are shared.
    """

    def some(tensor: Tensor) -> Tensor:
        return tensor[units] if tensor.dim() and len(tensor) == n_units else tensor

    part = copy.copy(module)
    state = vars(part)
    state["_parameters"] = {
        name: None if parameter is None else nn.Parameter(some(parameter.data), parameter.requires_grad)
        for name, parameter in module._parameters.items()
    }
    state["_buffers"] = {
        name: None if buffer is None else some(buffer) for name, buffer in module._buffers.items()
    }
    state["_modules"] = {
        name: None if child is None else of_units(child, units, n_units)
        for name, child in module._modules.items()
    }
    if "n_units" in state:
        state["n_units"] = len(range(n_units)[units])
    return part
