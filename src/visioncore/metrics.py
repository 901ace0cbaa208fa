"""Scores of a prediction, as pure functions on NumPy arrays.

What a score needs of a stretch of time is kept in `Sums`, which add up: over blocks for the score, over
resampled blocks for its interval, over clips during training. Scores on repeats take (repeats, time, units)
with NaN where a response was not recorded. Nothing is clipped or clamped; an undefined score is NaN.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

RATE_FLOOR = 1e-9
"""Least expected count per bin, of the model and of the null alike (the Neural Latents Benchmark's value)."""
MIN_RESAMPLED_UNITS = 20
"""With fewer units than this, intervals resample time only: so few say little about a population."""
_CONSTANT_VARIANCE = 1e-12  # relative to the mean square: float32 predictions that differ only by rounding
_RESAMPLED_UNITS_AT_ONCE = 400_000  # keeps the draws of 8,000 units within a few hundred megabytes


@dataclass(frozen=True)
class Sums:
    """Additive statistics of a prediction against a recording: the last axis is units, those before are free.

    `x` (recorded) and `y` (predicted) are less the null, which keeps the variances exact.
    """

    bins: Float64[np.ndarray, "*rows units"]
    spikes: Float64[np.ndarray, "*rows units"]
    nats_over_null: Float64[np.ndarray, "*rows units"]
    """Poisson log-likelihood of the prediction less that of the null, in nats."""
    x: Float64[np.ndarray, "*rows units"]
    y: Float64[np.ndarray, "*rows units"]
    xx: Float64[np.ndarray, "*rows units"]
    yy: Float64[np.ndarray, "*rows units"]
    xy: Float64[np.ndarray, "*rows units"]

    @classmethod
    def measure(
        cls,
        prediction: Real[np.ndarray, "time units"],
        recorded: Real[np.ndarray, "time units"],
        null: Float[np.ndarray, " units"],
        valid: Bool[np.ndarray, "time units"],
    ) -> "Sums":
        """The sums over the valid bins of one stretch; entries that are not valid may hold anything.

        A prediction that is not finite in a valid bin makes every score of its unit NaN.
        """
        null = null.astype(np.float64)
        rate = np.where(valid, np.where(np.isfinite(prediction), prediction, np.nan), null)
        count = np.where(valid, recorded, null)
        x, y = count - null, rate - null
        floored, null_floored = np.maximum(rate, RATE_FLOOR), np.maximum(null, RATE_FLOOR)
        nats_over_null = np.where(
            valid, count * np.log(floored / null_floored) - (floored - null_floored), 0.0
        )
        columns = (valid * 1.0, count * valid, nats_over_null, x, y, x * x, y * y, x * y)
        return cls(*(column.sum(0) for column in columns))

    @classmethod
    def stack(cls, rows: Sequence["Sums"]) -> "Sums":
        """One new leading axis, in the order given."""
        return cls(*(np.stack([getattr(row, f.name) for row in rows]) for f in fields(cls)))

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "Sums":
        """The same change (an index, a sum over rows, a resampling) made to every statistic."""
        return Sums(*(change(getattr(self, f.name)) for f in fields(self)))

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def bits_per_spike(self) -> Float64[np.ndarray, "*rows units"]:
        """(LL(model) - LL(null)) / (spikes ln 2); NaN for a unit without spikes.

        The null is each unit's *training* mean: the score of predicting it is exactly 0, and a model can do worse.

        Source: Brenner et al. 2000, the Poisson single-spike information.
        """
        return _ratio(self.nats_over_null, self.spikes * np.log(2))

    @property
    def nats_over_own_mean(self) -> Float64[np.ndarray, "*rows units"]:
        """As `nats_over_null`, and the null is the mean of these same bins: no mean can do better.

        Source: the null of the Neural Latents Benchmark (Pei et al. 2021).
        """
        null = np.maximum(_ratio(self.spikes - self.x, self.bins), RATE_FLOOR)
        own = np.maximum(_ratio(self.spikes, self.bins), RATE_FLOOR)
        return self.nats_over_null + self.spikes * np.log(null / own) - self.bins * (null - own)

    @property
    def constant_recording(self) -> Bool[np.ndarray, "*rows units"]:
        """Whether what was recorded never changes."""
        return ~(self._variance(self.x, self.xx) > 0)

    @property
    def constant(self) -> Bool[np.ndarray, "*rows units"]:
        """Whether the prediction (or the recording) never changes, so that a correlation has no meaning."""
        return self.constant_recording | ~(self._variance(self.y, self.yy) > 0)

    @property
    def correlation(self) -> Float64[np.ndarray, "*rows units"]:
        """Pearson correlation over single bins; 0 where `constant`, as the field's leader boards have it."""
        scale = np.sqrt(self._variance(self.x, self.xx) * self._variance(self.y, self.yy))
        covariance = self.xy - _ratio(self.x * self.y, self.bins)
        value = np.where(self.constant, 0.0, _ratio(covariance, scale))
        return np.where(np.isnan(self.xy), np.nan, value)

    def _variance(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        variance = second - _ratio(first**2, self.bins)
        return np.where(variance > _CONSTANT_VARIANCE * second, variance, 0.0)


class PopulationScore:
    """A streaming score over clips or blocks of any session; what training selects by."""

    def __init__(self) -> None:
        self.sums: dict[str, Sums] = {}

    @classmethod
    def of(cls, parts: "Sequence[PopulationScore]") -> "PopulationScore":
        """The score over what all of the parts have seen."""
        whole = cls()
        for part in parts:
            for session, sums in part.sums.items():
                whole._add(session, sums)
        return whole

    def update(
        self,
        session: str,
        prediction: Real[np.ndarray, "time units"],
        recorded: Real[np.ndarray, "time units"],
        null: Float[np.ndarray, " units"],
        valid: Bool[np.ndarray, "time units"],
    ) -> None:
        """Add one stretch. `valid` alone decides what counts: bins that are not predicted must be False there.

        A NaN from the model is no missing bin: it makes the score NaN, however healthy the other bins are.
        """
        self._add(session, Sums.measure(prediction, recorded, null, valid))

    def _add(self, session: str, sums: Sums) -> None:
        self.sums[session] = self.sums[session] + sums if session in self.sums else sums

    def bits_per_spike(self) -> float:
        """Mean over all units that spiked; NaN when none did, or where a prediction is not finite."""
        return _mean(s.bits_per_spike[s.spikes > 0] for s in self.sums.values())

    def correlation(self) -> float:
        """Mean over all units with a recorded bin; NaN when there is none, or a prediction is not finite."""
        return _mean(s.correlation[s.bins > 0] for s in self.sums.values())


def bits_per_spike(
    rates: Real[np.ndarray, "time units"],
    counts: Real[np.ndarray, "time units"],
    null: Float[np.ndarray, " units"],
    valid: Bool[np.ndarray, "time units"] | None = None,
) -> Float64[np.ndarray, " units"]:
    """Bits per spike of each unit; NaN for one without spikes."""
    everywhere = np.ones(counts.shape, bool) if valid is None else valid
    return Sums.measure(rates, counts, null, everywhere).bits_per_spike


def correlation(
    prediction: Real[np.ndarray, "time units"],
    recorded: Real[np.ndarray, "time units"],
    valid: Bool[np.ndarray, "time units"] | None = None,
) -> tuple[Float64[np.ndarray, " units"], Bool[np.ndarray, " units"]]:
    """Pearson correlation of each unit, and whether it is 0 only because one of the two never changes."""
    everywhere = np.ones(recorded.shape, bool) if valid is None else valid
    n_bins = np.maximum(everywhere.sum(0), 1)
    centre = np.where(everywhere, recorded, 0).sum(0) / n_bins
    sums = Sums.measure(prediction, recorded, centre, everywhere)
    return sums.correlation, sums.constant


def population_draws(
    sessions: Sequence[Sums],
    score: Callable[[Sums], Float64[np.ndarray, "draws units"]],
    n_resamples: int = 1000,
    seed: int = 0,
) -> Float64[np.ndarray, " draws"] | None:
    """Bootstrap draws of the population mean of `score`, from each session's sums over (blocks, units).

    Blocks are resampled within their session and units over all sessions. The draws depend on the seed and
    the shapes only, so the draws of two scores of the same sessions are paired. None where nothing can be
    resampled: one block in each session and fewer than `MIN_RESAMPLED_UNITS` units.
    """
    n_units = sum(s.bins.shape[1] for s in sessions)
    resample_units = n_units >= MIN_RESAMPLED_UNITS
    if not resample_units and all(len(s.bins) < 2 for s in sessions):
        return None
    rng = np.random.default_rng(seed)
    draws = []
    at_once = max(_RESAMPLED_UNITS_AT_ONCE // max(n_units, 1), 1)
    for start in range(0, n_resamples, at_once):
        n = min(at_once, n_resamples - start)
        scores = [score(s.map(_Resample(_draw(rng, n, len(s.bins))))) for s in sessions if s.bins.shape[1]]
        per_unit = np.concatenate(scores, axis=1)
        weights = _draw(rng, n, n_units) if resample_units else np.ones((n, n_units))
        weights = np.where(np.isfinite(per_unit), weights, 0.0)
        draws.append(_ratio((weights * np.nan_to_num(per_unit)).sum(1), weights.sum(1)))
    return np.concatenate(draws)


def interval(draws: Float64[np.ndarray, " draws"] | None) -> tuple[float, float] | None:
    """The central 95 % of bootstrap draws."""
    finite = draws[np.isfinite(draws)] if draws is not None else np.empty(0)
    if not finite.size:
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def mean_or_nan(values: Iterable[np.ndarray]) -> float:
    """Mean of the finite entries of all arrays together."""
    together = np.concatenate([np.empty(0), *values])
    finite = together[np.isfinite(together)]
    return float(finite.mean()) if finite.size else float("nan")


def _mean(values: Iterable[np.ndarray]) -> float:
    together = np.concatenate([np.empty(0), *values])
    return float(together.mean()) if together.size else float("nan")


def signal_power(responses: Real[np.ndarray, "repeats time units"]) -> Float64[np.ndarray, " units"]:
    """Variance over time of the response that repeats share: unbiased, so it can be negative.

    Source: Sahani & Linden 2003, Eq. 1; SP = (Var(sum r) - sum Var(r)) / (N (N - 1)).
    """
    return _Power.of(responses).signal


def signal_power_error(
    responses: Real[np.ndarray, "repeats time units"],
    stretch_bins: int,
    n_resamples: int = 200,
    seed: int = 0,
) -> Float64[np.ndarray, " units"]:
    """Standard error of `signal_power`, from a bootstrap over stretches of time.

    Not over repeats: a repeat that is drawn twice shares its noise with itself, which would count as signal.
    """
    n_repeats, n_bins, n_units = responses.shape
    n_stretches = max(n_bins // max(stretch_bins, 1), min(n_bins, 10))
    if n_repeats < 2 or n_stretches < 2:
        return np.full(n_units, np.nan)
    parts = [_Power.sums(part) for part in np.array_split(responses, n_stretches, axis=1)]
    stacked = [np.stack(column) for column in zip(*parts, strict=True)]
    weights = _draw(np.random.default_rng(seed), n_resamples, n_stretches)
    error = np.empty(n_units)
    for start in range(0, n_units, 256):
        some = [column[..., start : start + 256] for column in stacked]
        drawn = [np.tensordot(weights, column, axes=1) for column in some]
        error[start : start + 256] = _Power.from_sums(*drawn).signal.std(0, ddof=1)
    return error


def cc_norm(
    responses: Real[np.ndarray, "repeats time units"], prediction: Real[np.ndarray, "time units"]
) -> Float64[np.ndarray, " units"]:
    """Correlation with the mean response over the best correlation any model could have; may exceed 1.

    Concatenate the repeats of several stimuli in time first: averaging the score over stimuli is biased.
    NaN where the signal power is not positive; 0 for a constant prediction, as `Sums.correlation` has it.

    Source: Schoppe et al. 2016, CC_norm = Cov(mean r, p) / sqrt(Var(p) SP).
    """
    power = _Power.of(responses)
    complete = ~np.isnan(responses).any(0)
    n = complete.sum(0)
    mean = np.where(complete, np.nan_to_num(responses).mean(0, dtype=np.float64), 0.0)
    p = np.where(complete, prediction, 0.0).astype(np.float64)
    mean, p = mean - _ratio(mean.sum(0), n), p - _ratio(p.sum(0), n)
    covariance = _ratio((mean * p * complete).sum(0), n - 1)
    variance = _ratio((p * p * complete).sum(0), n - 1)
    peak = np.abs(np.where(complete, prediction, 0.0)).max(0, initial=0.0)
    constant = variance <= _CONSTANT_VARIANCE * peak**2
    signal = np.where(power.signal > 0, power.signal, np.nan)
    return np.where(constant & (power.signal > 0), 0.0, _ratio(covariance, np.sqrt(variance * signal)))


def correlation_to_average(
    responses: Real[np.ndarray, "repeats time units"], prediction: Real[np.ndarray, "time units"]
) -> Float64[np.ndarray, " units"]:
    """Pearson correlation with the mean over repeats, of the bins in which every repeat was recorded."""
    complete = ~np.isnan(responses).any(0)
    return correlation(prediction, np.nan_to_num(responses).mean(0, dtype=np.float64), complete)[0]


def feve(
    responses: Real[np.ndarray, "repeats time units"], prediction: Real[np.ndarray, "time units"]
) -> tuple[Float64[np.ndarray, " units"], Float64[np.ndarray, " units"]]:
    """Fraction of explainable variance explained, and the explainable fraction (FEV) it rests on.

    Repeats may be unequal in number: pad with NaN. Bins with fewer than two repeats say nothing about noise
    and are left out. Sensitive to scale and offset; explodes where FEV is near 0.

    Source: Cadena et al. 2019; as the Sensorium competition computes it (all variances with ddof 1).
    """
    recorded = ~np.isnan(responses)
    n = recorded.sum(0)
    recorded = recorded & (n > 1)
    r = np.where(recorded, responses, 0.0).astype(np.float64)
    n_images, n_all = (n > 1).sum(0), recorded.sum((0, 1))
    mean = _ratio(r.sum(0), n)
    deviations = (np.where(recorded, r - mean, 0.0) ** 2).sum(0)
    noise = _ratio(np.where(n > 1, _ratio(deviations, n - 1), 0.0).sum(0), n_images)
    grand = _ratio(r.sum((0, 1)), n_all)
    total = _ratio((np.where(recorded, r - grand, 0.0) ** 2).sum((0, 1)), n_all - 1)
    error = _ratio((np.where(recorded, r - prediction, 0.0) ** 2).sum((0, 1)), n_all)
    return 1 - _ratio(error - noise, total - noise), _ratio(total - noise, total)


def jackknife_oracle(responses: Real[np.ndarray, "repeats time units"]) -> Float64[np.ndarray, " units"]:
    """Correlation of single repeats with the mean of the others: a reference for single-trial correlation."""
    recorded = ~np.isnan(responses)
    n = recorded.sum(0)
    r = np.where(recorded, responses, 0.0).astype(np.float64)
    others = _ratio(r.sum(0) - r, n - 1)
    usable = recorded & (n > 1)
    flat = (-1, responses.shape[-1])
    values, flags = correlation(others.reshape(flat), r.reshape(flat), usable.reshape(flat))
    return np.where(flags, np.nan, values)


@dataclass(frozen=True)
class _Power:
    """Signal power, and the sums that it is made of, which add up over stretches of time."""

    signal: np.ndarray

    @classmethod
    def of(cls, responses: Real[np.ndarray, "repeats time units"]) -> "_Power":
        if len(responses) < 2:
            nothing = np.full(responses.shape[-1], np.nan)
            return cls(nothing)
        return cls.from_sums(*cls.sums(responses))

    @staticmethod
    def sums(responses: Real[np.ndarray, "repeats time units"]) -> tuple[np.ndarray, ...]:
        """Over complete bins: their number, squared sums over repeats, each repeat's sum, all squares."""
        complete = ~np.isnan(responses).any(0)
        r = np.where(complete, responses, 0.0).astype(np.float64)
        return complete.sum(0) * 1.0, (r.sum(0) ** 2).sum(0), r.sum(1), (r**2).sum((0, 1))

    @classmethod
    def from_sums(cls, n: np.ndarray, square: np.ndarray, each: np.ndarray, squares: np.ndarray) -> "_Power":
        n_repeats = each.shape[-2]
        of_sum = _ratio(square - _ratio(each.sum(-2) ** 2, n), n - 1)
        sum_of = _ratio(squares - _ratio((each**2).sum(-2), n), n - 1)
        return cls((of_sum - sum_of) / (n_repeats * (n_repeats - 1)))


@dataclass(frozen=True)
class _Resample:
    """Sums of resampled blocks: how often each block was drawn times its sums."""

    weights: Float64[np.ndarray, "draws blocks"]

    def __call__(self, blocks: Float64[np.ndarray, "blocks units"]) -> Float64[np.ndarray, "draws units"]:
        return self.weights @ blocks


def _draw(rng: np.random.Generator, n_draws: int, n: int) -> Float64[np.ndarray, "draws items"]:
    """How often each of `n` items comes up when `n` are drawn with replacement."""
    counts: Int[np.ndarray, "draws items"] = rng.multinomial(n, np.full(n, 1 / n), size=n_draws)
    return counts.astype(np.float64)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """NaN where the denominator is not positive, without a warning."""
    safe = np.where(denominator > 0, denominator, np.nan)
    return np.asarray(numerator / safe)
