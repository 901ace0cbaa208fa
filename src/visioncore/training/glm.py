"""The time courses of the linear path's filters, at the maximum of their likelihood.

With the spatial filters fixed, a unit's drive is linear in its temporal coefficients, and the likelihood of its
responses is concave in them and the bias: a generalised linear model of a few dozen numbers, which L-BFGS solves in
seconds.

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


def fit_time_courses(
    linear: LowRankLinear,
    output: RateOutput,
    *,
    spatial: Float[Tensor, "units rank pixels"],
    frames: Float[Tensor, "time pixels"],
    responses: Float[Tensor, "time units"],
    fitted: Float[Tensor, " time"],
    tested: Float[Tensor, " time"],
    step: int,
) -> None:
    """Set the temporal coefficients of `linear` and the bias of `output`, in place.

    Args:
        spatial: filters at the frames' resolution.
        frames: the stimulus averaged over `step` bins of the twin, over which `responses` are summed.
        fitted, tested: which bins (1 or 0) the likelihood is summed over, and which it is judged by.
    """
    device = output.bias.device
    units, rank, _ = spatial.shape
    projected = (frames @ spatial.flatten(0, 1).T).T
    scale = projected.std(dim=1).clamp_min(1e-12)
    slow_lags = -(-linear.lags // step)
    whole = functional.pad(linear.basis.cpu(), (0, slow_lags * step - linear.lags))
    basis = whole.unflatten(1, (slow_lags, step)).sum(2)
    history = functional.pad(projected / scale[:, None], (slow_lags - 1, 0))[None].to(device)
    basis, responses, fitted, tested = (t.to(device) for t in (basis, responses, fitted, tested))

    coefficients = torch.zeros(units * rank, len(basis), device=device, requires_grad=True)
    offset = torch.zeros(units, device=device, requires_grad=True)
    is_count = isinstance(output, CountOutput)
    events = (responses * fitted[:, None]).sum(0).clamp_min(1.0) if is_count else fitted.sum()

    def drive() -> Float[Tensor, "time units"]:
        kernel = (coefficients @ basis).flip(-1)
        filtered = functional.conv1d(history, kernel[:, None], groups=len(kernel))[0]
        return filtered.unflatten(0, (units, rank)).sum(1).T + offset

    def losses(drive: Float[Tensor, "time units"]) -> Float[Tensor, "time units"]:
        predicted = step * output(drive)
        if is_count:
            return predicted - responses * predicted.clamp_min(RATE_FLOOR).log()
        return ((predicted - responses) / (step * output.scale)).square()

    def fit(bins: Float[Tensor, " time"], *parameters: Tensor) -> None:
        optimiser = torch.optim.LBFGS(parameters, max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = ((losses(drive()) * bins[:, None]).sum(0) / events).sum()
            loss = loss + SHRINKAGE * coefficients.square().sum()
            loss.backward(inputs=parameters)
            return loss

        optimiser.step(closure)

    fit(fitted, coefficients, offset)
    with torch.no_grad():
        found = drive()
        tests = torch.stack([(losses(share * found) * tested[:, None]).sum(0) for share in SHARES])
        share = torch.tensor(SHARES, device=device)[tests.argmin(0)]
        coefficients.mul_(share.repeat_interleave(rank)[:, None])
    # Smaller filters leave another mean rate.
    fit(fitted + tested, offset)
    output.shift(offset.detach())
    with torch.no_grad():
        kept = coefficients / scale[:, None].to(device)
        linear.temporal[:, :rank] = kept.unflatten(0, (units, rank))
