"""The linear path's filters, at the maximum of their likelihood.

First the time courses: with the spatial filters fixed, a unit's drive is linear in its temporal coefficients, and the
likelihood of its responses is concave in them and the bias: a generalised linear model of a few dozen numbers, which
L-BFGS solves in seconds. Then everything together by a few steps of gradient descent, each unit stopped where it
predicts bins best that it has not seen. Filters that hardly help there are left out: they are noise, and training,
which sees other bins, would find uses for it.

Source: Paninski 2004, "Maximum likelihood estimation of cascade point-process neural encoding models".
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from visioncore.losses import RATE_FLOOR
from visioncore.model.linear import LowRankLinear
from visioncore.model.outputs import CountOutput, RateOutput

ITERATIONS = 60
SHRINKAGE = 1e-3
"""Of the squared coefficients, at unit variance of what they weigh; keeps those finite that the data leave open."""
SHARES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
"""Of the fit, chosen per unit on bins that it has not seen: none where the filters do not help."""
LEAST_GAIN = 0.01
"""What filters must bring on bins that the unit has not seen: nats per spike, or a share of a trace's variance."""
REFINEMENTS = 40
REFINEMENT_RATE = 0.05
"""Of Adam, relative to the size of a unit's filters."""


def fit_filters(
    linear: LowRankLinear,
    output: RateOutput,
    *,
    spatial: Float[Tensor, "units rank pixels"],
    window: Float[Tensor, "units pixels"],
    frames: Float[Tensor, "time pixels"],
    responses: Float[Tensor, "time units"],
    fitted: Float[Tensor, "time some"],
    tested: Float[Tensor, "time some"],
    step: int,
) -> Float[Tensor, "units rank pixels"]:
    """Set the temporal coefficients of `linear` and the bias of `output`, in place; returns the spatial filters.

    Both are zero for units whose filters are left out. So they stay: where both are, neither has a gradient.

    Args:
        spatial: filters of unit length to begin with, at the frames' resolution.
        window: how far each pixel of a filter may move, from 0 to 1.
        frames: the stimulus averaged over `step` bins of the twin, over which `responses` are summed.
        fitted, tested: which bins (1 or 0) the likelihood is summed over, and which it is judged by; one column where
            all units share them.
    """
    device = output.bias.device
    fitted, tested = (bins.reshape(len(bins), -1) for bins in (fitted, tested))
    spatial, window, frames, responses, fitted, tested = (
        tensor.to(device) for tensor in (spatial, window, frames, responses, fitted, tested)
    )
    units, rank, n_pixels = spatial.shape
    scale = (frames @ spatial.flatten(0, 1).T).std(dim=0).clamp_min(1e-12)[:, None]
    slow_lags = -(-linear.lags // step)
    whole = functional.pad(linear.basis, (0, slow_lags * step - linear.lags))
    basis = whole.unflatten(1, (slow_lags, step)).sum(2)
    coefficients = torch.zeros(units * rank, len(basis), device=device, requires_grad=True)
    offset = torch.zeros(units, device=device, requires_grad=True)
    is_count = isinstance(output, CountOutput)

    def events(bins: Float[Tensor, "time some"]) -> Tensor:
        return ((responses * bins).sum(0) if is_count else bins.sum(0)).clamp_min(1.0)

    def history(spatial: Tensor) -> Float[Tensor, "1 filters time"]:
        return functional.pad((frames @ spatial.flatten(0, 1).T).T / scale, (slow_lags - 1, 0))[None]

    def drive(history: Tensor, coefficients: Tensor, offset: Tensor) -> Float[Tensor, "time units"]:
        kernel = (coefficients @ basis).flip(-1)
        filtered = functional.conv1d(history, kernel[:, None], groups=len(kernel))[0]
        return filtered.unflatten(0, (units, rank)).sum(1).T + offset

    def losses(drive: Tensor, bins: Tensor) -> Float[Tensor, " units"]:
        predicted = step * output(drive)
        if is_count:
            each = predicted - responses * predicted.clamp_min(RATE_FLOOR).log()
        else:
            each = ((predicted - responses) / (step * output.scale)).square()
        return (each * bins).sum(0)

    def maximise(bins: Float[Tensor, "time some"], *parameters: Tensor) -> None:
        optimiser = torch.optim.LBFGS(parameters, max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = (losses(drive(projected, coefficients, offset), bins) / events(fitted)).sum()
            loss = loss + SHRINKAGE * coefficients.square().sum()
            loss.backward(inputs=parameters)
            return loss

        optimiser.step(closure)

    projected = history(spatial)
    maximise(fitted, coefficients, offset)
    with torch.no_grad():
        found = drive(projected, coefficients, offset)
        tests = torch.stack([losses(share * found, tested) for share in SHARES])
        without = tests[-1]
        share = torch.tensor(SHARES, device=device)[tests.argmin(0)]
        coefficients.mul_(share.repeat_interleave(rank)[:, None])
    # Smaller filters leave another mean rate.
    maximise(fitted + tested, offset)

    # Moves in units of each unit's own filters, so that one rate suits all.
    size = (
        coefficients.detach()
        .unflatten(0, (units, -1))
        .flatten(1)
        .norm(dim=1)
        .repeat_interleave(rank)[:, None]
    )
    moves = [torch.zeros_like(t).requires_grad_() for t in (spatial, coefficients, offset)]
    adam = torch.optim.Adam(moves, lr=REFINEMENT_RATE, betas=(0.9, 0.95))
    best = [t.detach().clone() for t in (spatial, coefficients, offset)]
    lowest = torch.full((units,), float("inf"), device=device)
    for _ in range(REFINEMENTS + 1):
        moved_spatial = spatial + moves[0] * window[:, None] * n_pixels**-0.5
        moved = [moved_spatial, coefficients.detach() + moves[1] * size, offset.detach() + moves[2]]
        driven = drive(history(moved_spatial), moved[1], moved[2])
        with torch.no_grad():
            judged = losses(driven, tested)
            better = judged < lowest
            lowest = torch.where(better, judged, lowest)
            for kept, now in zip(best, moved, strict=True):
                of_unit = kept.unflatten(0, (units, -1))
                of_unit[better] = now.unflatten(0, (units, -1))[better]
        adam.zero_grad()
        (losses(driven, fitted) / events(fitted)).sum().backward(inputs=moves)
        adam.step()

    helps = (without - lowest) / events(tested) > LEAST_GAIN
    output.shift(best[2] * helps)
    with torch.no_grad():
        temporal = (best[1] / scale).unflatten(0, (units, rank))
        linear.temporal[:, :rank] = temporal * helps[:, None, None]
    return best[0] * helps[:, None, None]
