"""The linear path's filters, at the maximum of their likelihood.

First the time courses: with the spatial filters fixed, a unit's drive is linear in its temporal coefficients, and the
likelihood of its responses is concave in them and the bias: a generalised linear model of a few dozen numbers, which
L-BFGS solves in seconds. Then everything together by a few steps of gradient descent, each unit stopped where it
predicts bins best that it has not seen; where its path can bend, so does the drive of units that predict them better
so. Filters that hardly help there are left out: they are noise, and training,
which sees other bins, would find uses for it.

Source: Paninski 2004, "Maximum likelihood estimation of cascade point-process neural encoding models".
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from visioncore.losses import RATE_FLOOR
from visioncore.model.bend import bend
from visioncore.model.linear import LowRankLinear
from visioncore.model.outputs import CountOutput, RateOutput
from visioncore.training.bends import fit_bends, place_knots

ITERATIONS = 60
SHRINKAGE = 1e-3
"""Of the squared coefficients, at unit variance of what they weigh; keeps those finite that the data leave open."""
SHARES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
"""Of the fit, chosen per unit on bins that it has not seen: none where the filters do not help."""
LEAST_GAIN = 0.01
"""What filters must bring on bins that the unit has not seen: nats per spike, or a share of a trace's variance."""
LEAST_GAIN_OF_A_BEND = 0.003
"""What a bend must bring there beside the best straight drive, in nats per spike."""
OLDEST = 0.15
"""Share of a filter's lags that are its oldest."""
REFINEMENTS = 40
REFINEMENT_RATE = 0.05
"""Of Adam, relative to the size of a unit's filters."""


def fit_numbers(bins: int, pixels: int, units: int, rank: int, *, counts: bool, bends: bool) -> int:
    """The most float32 numbers that the process has for `fit_filters`, beside its arguments: as measured.

    Of all bins and units, drives and losses as backpropagation keeps them: a dozen arrays, and twice as many that the
    allocator does not give back, since they come in several sizes. Twelve copies of the filters: as they are, moved and
    best, gradients and Adam's moments among them.
    """
    drives = (30 if counts else 26) + (8 if bends else 0)
    return drives * bins * units + 12 * rank * units * pixels


@dataclass
class FittedFilters:
    """What `fit_filters` does not set itself."""

    spatial: Float[Tensor, "units rank pixels"]
    cut_off: Bool[Tensor, " units"]
    """Whether a unit's filter still helps at its oldest lags, so that a longer one would help more."""


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
) -> FittedFilters:
    """Set temporal coefficients and bends of `linear` and the bias of `output`, in place; returns the spatial filters.

    All are zero for units whose filters are left out. So they stay: where both factors are, neither has a gradient.

    Args:
        spatial: filters of unit length to begin with, at the frames' resolution.
        window: how far each pixel of a filter may move, from 0 to 1.
        frames: the stimulus averaged over `step` bins of the twin, over which `responses` are summed.
        fitted, tested: which bins (1 or 0) the likelihood is summed over, and which it is judged by; one column where
            all units share them.
    """
    device = output.bias.device
    fitted, tested = (bins.reshape(len(bins), -1) for bins in (fitted, tested))
    fit = _Fit(
        linear,
        output,
        spatial=spatial.to(device),
        window=window.to(device),
        frames=frames.to(device),
        responses=responses.to(device),
        fitted=fitted.to(device),
        tested=tested.to(device),
        step=step,
    )
    first = fit.time_courses()
    best, lowest = fit.refined(fit.shrunk_or_bent(first))
    helps = (fit.mean_rate_loss - lowest) / fit.events(fit.tested) > LEAST_GAIN
    cut_off = (fit.loss_without_oldest_lags(best) - lowest) / fit.events(fit.tested) > LEAST_GAIN
    with torch.no_grad():
        output.shift(best.offset * helps)
        if fit.bends is not None:
            fit.bends.step.mul_(helps)
            fit.bends.values.copy_(best.values * helps[:, None])
        temporal = (best.coefficients / fit.scale).unflatten(0, (-1, fit.rank))
        linear.temporal[:, : fit.rank] = temporal * helps[:, None, None]
    return FittedFilters(best.spatial * helps[:, None, None], helps & cut_off)


class _Parameters(NamedTuple):
    spatial: Float[Tensor, "units rank pixels"]
    coefficients: Float[Tensor, "filters basis"]
    offset: Float[Tensor, " units"]
    values: Float[Tensor, "units knots"]
    """Of the bends; no knots where the path has none."""


class _Fit:
    """The likelihood of one session's filters, and the ways to raise it."""

    def __init__(
        self,
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
    ) -> None:
        self.output, self.step = output, step
        self.spatial, self.window, self.frames = spatial, window, frames
        self.responses, self.fitted, self.tested = responses, fitted, tested
        self.units, self.rank, self.n_pixels = spatial.shape
        self.scale = (frames @ spatial.flatten(0, 1).T).std(dim=0).clamp_min(1e-12)[:, None]
        self.lags = -(-linear.lags // step)
        whole = functional.pad(linear.basis, (0, self.lags * step - linear.lags))
        self.basis = whole.unflatten(1, (self.lags, step)).sum(2)
        self.counts = isinstance(output, CountOutput)
        self.bends = linear.bend

    def events(self, bins: Float[Tensor, "time some"]) -> Float[Tensor, " units"]:
        """What losses are divided by: spikes, or bins of traces."""
        return ((self.responses * bins).sum(0) if self.counts else bins.sum(0)).clamp_min(1.0)

    def losses(
        self, drive: Float[Tensor, "time units"], bins: Float[Tensor, "time some"]
    ) -> Float[Tensor, " units"]:
        """Of a drive after its bend, with its offset."""
        output = self.output
        predicted = self.step * output(drive)
        if self.counts:
            each = predicted - self.responses * predicted.clamp_min(RATE_FLOOR).log()
        else:
            each = ((predicted - self.responses) / (self.step * output.scale)).square()
        return (each * bins).sum(0)

    def time_courses(self) -> _Parameters:
        """The maximum of the likelihood with the spatial filters as they are. Sets `found` and `mean_rate_loss`."""
        device = self.spatial.device
        coefficients = torch.zeros(self.units * self.rank, len(self.basis), device=device, requires_grad=True)
        offset = torch.zeros(self.units, device=device, requires_grad=True)
        self._maximise(self.fitted, coefficients, offset, coefficients, offset)
        with torch.no_grad():
            self.found = self._drive(self._history(self.spatial), coefficients)
            self.mean_rate_loss = self.losses(torch.zeros_like(self.found), self.tested)
        values = torch.zeros(
            self.units, 0 if self.bends is None else self.bends.values.shape[1], device=device
        )
        return _Parameters(self.spatial, coefficients.detach(), offset.detach(), values)

    def shrunk_or_bent(self, first: _Parameters) -> _Parameters:
        """Each unit's filters at the share of their size, or with the bend, that predicts the tested bins best."""
        with torch.no_grad():
            tests = torch.stack(
                [self.losses(share * (self.found + first.offset), self.tested) for share in SHARES]
            )
            share = torch.tensor(SHARES, device=tests.device)[tests.argmin(0)]
        bending, bent = torch.zeros_like(share, dtype=torch.bool), None
        if self.bends is not None:
            place_knots(self.bends, self.found)
            bent = fit_bends(
                self.bends,
                self.found,
                first.offset,
                fitted_loss=lambda drive, offset: (
                    self.losses(drive + offset, self.fitted) / self.events(self.fitted)
                ),
                tested_loss=lambda drive, offset: self.losses(drive + offset, self.tested),
            )
            bending = (tests.amin(0) - bent.judged) / self.events(self.tested) > LEAST_GAIN_OF_A_BEND
            with torch.no_grad():
                self.bends.step.mul_(bending)
        share = share.where(~bending, 1.0)
        coefficients = first.coefficients * share.repeat_interleave(self.rank)[:, None]
        # Smaller filters leave another mean rate.
        offset = first.offset.clone().requires_grad_()
        self._maximise(self.fitted + self.tested, coefficients, offset, offset)
        if bent is None:
            return first._replace(coefficients=coefficients, offset=offset.detach())
        return first._replace(
            coefficients=coefficients,
            offset=torch.where(bending, bent.offset, offset.detach()),
            values=bent.values * bending[:, None],
        )

    def refined(self, start: _Parameters) -> tuple[_Parameters, Float[Tensor, " units"]]:
        """All together, each unit stopped where it predicts the tested bins best; and its loss there."""
        # Moves in units of each unit's own filters, so that one rate suits all.
        of_unit = start.coefficients.unflatten(0, (self.units, -1)).flatten(1).norm(dim=1)
        sizes = _Parameters(
            self.window[:, None] * self.n_pixels**-0.5,
            of_unit.repeat_interleave(self.rank)[:, None],
            torch.ones_like(start.offset),
            self.found.std(0)[:, None],
        )
        moves = [torch.zeros_like(t).requires_grad_() for t in start]
        adam = torch.optim.Adam(moves, lr=REFINEMENT_RATE, betas=(0.9, 0.95))
        best = _Parameters(*(t.detach().clone() for t in start))
        lowest = torch.full_like(start.offset, float("inf"))
        for _ in range(REFINEMENTS + 1):
            now = _Parameters(*(t + move * unit for t, move, unit in zip(start, moves, sizes, strict=True)))
            driven = self._whole_drive(now, self.basis)
            with torch.no_grad():
                judged = self.losses(driven, self.tested)
                better = judged < lowest
                lowest = torch.where(better, judged, lowest)
                for kept, moved in zip(best, now, strict=True):
                    kept.unflatten(0, (self.units, -1))[better] = moved.unflatten(0, (self.units, -1))[better]
            adam.zero_grad()
            (self.losses(driven, self.fitted) / self.events(self.fitted)).sum().backward(inputs=moves)
            adam.step()
        return best, lowest

    @torch.no_grad()
    def loss_without_oldest_lags(self, parameters: _Parameters) -> Float[Tensor, " units"]:
        """On the tested bins: a filter that misses them goes on beyond its window."""
        lags = torch.arange(self.lags, device=self.basis.device)
        kept = lags < self.lags - max(round(OLDEST * self.lags), 1)
        return self.losses(self._whole_drive(parameters, self.basis * kept), self.tested)

    def _history(self, spatial: Float[Tensor, "units rank pixels"]) -> Float[Tensor, "1 filters time"]:
        projected = (self.frames @ spatial.flatten(0, 1).T).T / self.scale
        return functional.pad(projected, (self.lags - 1, 0))[None]

    def _drive(
        self,
        history: Float[Tensor, "1 filters time"],
        coefficients: Float[Tensor, "filters basis"],
        basis: Float[Tensor, "basis lags"] | None = None,
    ) -> Float[Tensor, "time units"]:
        kernel = (coefficients @ (self.basis if basis is None else basis)).flip(-1)
        filtered = functional.conv1d(history, kernel[:, None], groups=len(kernel))[0]
        return filtered.unflatten(0, (self.units, self.rank)).sum(1).T

    def _whole_drive(
        self, parameters: _Parameters, basis: Float[Tensor, "basis lags"]
    ) -> Float[Tensor, "time units"]:
        driven = self._drive(self._history(parameters.spatial), parameters.coefficients, basis)
        if self.bends is not None:
            driven = driven + bend(driven, parameters.values, self.bends.low, self.bends.step)
        return driven + parameters.offset

    def _maximise(
        self, bins: Float[Tensor, "time some"], coefficients: Tensor, offset: Tensor, *parameters: Tensor
    ) -> None:
        optimiser = torch.optim.LBFGS(parameters, max_iter=ITERATIONS, line_search_fn="strong_wolfe")
        history = self._history(self.spatial)

        def closure() -> Tensor:
            optimiser.zero_grad()
            drive = self._drive(history, coefficients) + offset
            loss = (self.losses(drive, bins) / self.events(self.fitted)).sum()
            loss = loss + SHRINKAGE * coefficients.square().sum()
            loss.backward(inputs=parameters)
            return loss

        optimiser.step(closure)
