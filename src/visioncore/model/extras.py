"""What a part of the model says beside its output while it trains: losses of its own, and statistics, by name.

`advance` gives output and state, and that is all a prediction needs. A part with more to say also provides
`advance_with_extras`, which training calls. Extras are returned because that is the only place where they belong to one
call: left on the module they would be those of any call, and keep its graph alive; in the state they would be streamed,
forked and saved with it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Extras = dict[str, Float[Tensor, ""]]
LOSS, STATISTIC = "loss/", "statistic/"
"""How names begin: a loss is added to the loss of training, with the weight that it has; a statistic is only logged."""


def within(part: str, extras: Extras) -> Extras:
    """A part's extras as those of the whole: `loss/balance` of `layers.1` is `loss/layers.1.balance`."""
    return {f"{_kind(name)}{part}.{name.removeprefix(_kind(name))}": value for name, value in extras.items()}


def auxiliary_loss(extras: Extras) -> Float[Tensor, ""]:
    """The sum of all losses among `extras`.

    Raises:
        ValueError: a name that begins neither with `LOSS` nor with `STATISTIC`, so that none is left out unnoticed.
    """
    return sum((value for name, value in extras.items() if _kind(name) == LOSS), torch.zeros(()))


def _kind(name: str) -> str:
    for kind in (LOSS, STATISTIC):
        if name.startswith(kind):
            return kind
    raise ValueError(f"extra {name!r}: names begin with {LOSS!r} or {STATISTIC!r}")
