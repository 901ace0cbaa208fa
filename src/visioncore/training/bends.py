"""Bends of the drive (`model/bend.py`), by penalised likelihood, for units that predict bins better with one.

The penalty is on changes of slope, and chosen per unit, with "no bend" among the choices, on bins that were not fitted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from visioncore.model.bend import Bend, bend

PENALTIES = (3.0, 0.3, 0.03, 0.003)
"""Of the squared change of slope from knot to knot, in nats per event; slopes are of drives of unit variance."""
ENDS = (0.001, 0.999)
"""Quantiles of the drive between which the knots lie."""
ITERATIONS = 40
QUANTILE_BINS = 100_000
"""Of more bins, as many are drawn to find the quantiles."""


@dataclass
class FittedBends:
    """The best bend of each unit, and how it fares."""

    values: Float[Tensor, "units knots"]
    offset: Float[Tensor, " units"]
    """Of the drive, beside the bend."""
    judged: Float[Tensor, " units"]
    """Its loss on the tested bins."""


def place_knots(module: Bend, drive: Float[Tensor, "time units"]) -> None:
    """Spread the knots over the drive that was seen."""
    some = drive[:: max(len(drive) // QUANTILE_BINS, 1)]
    low, high = torch.quantile(some, torch.tensor(ENDS, device=drive.device), dim=0)
    module.place(low, high)


def fit_bends(
    module: Bend,
    drive: Float[Tensor, "time units"],
    offset: Float[Tensor, " units"],
    *,
    fitted_loss: Callable[[Tensor, Tensor], Float[Tensor, " units"]],
    tested_loss: Callable[[Tensor, Tensor], Float[Tensor, " units"]],
) -> FittedBends:
    """The best bends for these drives; `module` has its knots, and is not changed.

    Args:
        offset: of the drive, to begin with.
        fitted_loss, tested_loss: of a bent drive and an offset, per unit; the first is per event.
    """
    scale = drive.std(dim=0).clamp_min(1e-12)
    step = (module.step / scale).clamp_min(1e-6)
    best: FittedBends | None = None
    values = torch.zeros_like(module.values).requires_grad_()
    moved = offset.detach().clone().requires_grad_()
    for penalty in PENALTIES:  # from the smoothest on, each where the last one ended
        optimiser = torch.optim.LBFGS([values, moved], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def closure(optimiser: torch.optim.LBFGS = optimiser, penalty: float = penalty) -> Tensor:
            optimiser.zero_grad()
            slopes = values.diff(dim=1) / step[:, None]
            bent = drive + bend(drive, values * scale[:, None], module.low, module.step)
            loss = fitted_loss(bent, moved).sum() + penalty * slopes.diff(dim=1).square().sum()
            loss.backward(inputs=[values, moved])
            return loss

        optimiser.step(closure)
        with torch.no_grad():
            real = values * scale[:, None]
            judged = tested_loss(drive + bend(drive, real, module.low, module.step), moved)
            judged = judged.where(judged.isfinite(), torch.inf)
            now = FittedBends(real.clone(), moved.detach().clone(), judged)
            if best is not None:
                better = now.judged < best.judged
                now = FittedBends(
                    torch.where(better[:, None], now.values, best.values),
                    torch.where(better, now.offset, best.offset),
                    torch.where(better, now.judged, best.judged),
                )
            best = now
    assert best is not None
    return best
