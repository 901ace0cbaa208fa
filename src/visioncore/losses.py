"""Training losses: masked, and not normalised by rate."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

RATE_FLOOR = 1e-8
"""Smallest expected count that enters the logarithm of the loss, which is computed in single precision."""
OUTLIER = 20.0
"""Errors of a trace beyond so many of its scales are an artefact's more likely than the model's."""


def masked_loss(
    response_kind: Literal["counts", "trace"],
    prediction: Float[Tensor, "batch time units"],
    response: Float[Tensor, "batch time units"],
    valid: Bool[Tensor, "batch time units"],
    scale: Float[Tensor, " units"],
    out_of: int | None = None,
) -> Float[Tensor, ""]:
    """Mean loss over the valid entries; zero where there is none.

    Counts: Poisson negative log-likelihood in nats per bin and unit, without the term of the counts alone, divided by
    `scale`. Traces: squared error in units of `scale`, which beyond `OUTLIER` grows along a straight line. Entries that
    are not predicted (NaN) must not be valid.

    Args:
        scale: each unit's own, so that a unit with large values does not drown the others; see `RateOutput`.
        out_of: divide the sum over valid entries by this number, whatever there is of them. Then the mean over the
            parts of a batch is the loss of the batch.

    Source: Huber 1964, "Robust estimation of a location parameter", for the straight line.
    """
    # Invalid entries are replaced before the loss is formed, so that nothing in them reaches the gradient.
    prediction = torch.where(valid, prediction, torch.ones_like(prediction)).float()
    if response_kind == "counts":
        rate = prediction.clamp_min(RATE_FLOOR)
        entries = (rate - response * rate.log()) / scale
    else:
        error = (prediction - response) / scale
        entries = torch.where(error.abs() <= OUTLIER, error.square(), OUTLIER * (2 * error.abs() - OUTLIER))
    entries = torch.where(valid, entries, torch.zeros_like(entries))
    return entries.sum() / (valid.sum().clamp_min(1) if out_of is None else out_of)
