"""What a comparison tells, part by part. None stands where a number is not defined, or not known."""

from typing import TypeVar

from pydantic import Field, JsonValue

from visioncore.config import Record
from visioncore.evaluation import Estimate, Metric
from visioncore.evaluation.records import Interval, Summary
from visioncore.recording import Split
from visioncore.spec import ResponseKind

S = TypeVar("S")


class ModelScore(Summary):
    """One score of one model; with several seeds the mean over them."""

    of_seeds: tuple[float, ...]
    seed_sd: float | None
    """None where there is one seed."""


class ModelScores(Record):
    """The scores of one model; of traces the correlation only."""

    bits_per_spike: ModelScore | None = None
    correlation: ModelScore
    fraction_of_ceiling: float | None
    fraction_of_ceiling_ci95: Interval | None

    def score(self, metric: Metric) -> ModelScore:
        """One of the two scores.

        Raises:
            ValueError: it is not defined: the responses are traces.
        """
        return _defined(self.bits_per_spike if metric == "bits_per_spike" else self.correlation, metric)


class PairedDifference(Estimate):
    """One score of a model less that of another, of the same units and bins."""

    better_units: float | None
    """The share of units that the first predicts better."""


class Difference(Record):
    """A model less another; of traces in correlation only."""

    bits_per_spike: PairedDifference | None = None
    correlation: PairedDifference

    def score(self, metric: Metric) -> PairedDifference:
        """The difference in one of the two scores.

        Raises:
            ValueError: it is not defined: the responses are traces.
        """
        return _defined(self.bits_per_spike if metric == "bits_per_spike" else self.correlation, metric)


def _defined(score: S | None, metric: Metric) -> S:
    if score is None:
        raise ValueError(f"{metric} is not defined for traces; ask for correlation")
    return score


class ComparedSection(Record):
    """All models on one cut of the data."""

    n_units: int
    n_excluded: int
    ceiling: float | None
    """The true rates' bits/spike."""
    models: dict[str, ModelScores]
    differences: dict[str, Difference]
    """Each model less the reference."""


class ModelFacts(Record):
    """What stands behind the scores of a model."""

    runs: tuple[str, ...]
    """The folder of each seed."""
    seeds: tuple[int, ...]
    family: str
    """Models that differ in the share of the training data alone have one."""
    train_share: float
    behaviour: str
    parameters: int | None
    training_flops: float | None
    """The mean over seeds; `wall_s` likewise."""
    wall_s: float | None
    cc_norm: float | None
    """The mean over the units that are reliable in every run."""
    cc_norm_n_units: int


class ComparedUnit(Record):
    """One unit's scores by each model, the mean over its seeds."""

    session: str
    unit_id: str
    cell_class: str | None
    columns: dict[str, JsonValue] = Field(default_factory=dict)
    """What was measured of the unit."""
    excluded_reason: str | None
    bits_per_spike: dict[str, float | None] | None = None
    """None for traces."""
    correlation: dict[str, float | None]

    def score(self, metric: Metric, model: str) -> float | None:
        """One of the two scores by a model."""
        of_models = self.bits_per_spike if metric == "bits_per_spike" else self.correlation
        return None if of_models is None else of_models[model]


class ComparisonSettings(Record):
    """The conditions that all models share, and the reference."""

    split: Split
    bin_ms: float | None
    """None for static images."""
    sampling_rate_hz: float | None
    burn_in_s: float
    null: str
    causal: bool | None
    """Of all models; None where one does not say."""
    response_kind: ResponseKind
    selection_metric: Metric
    n_sessions: int
    n_repeats: int
    data_fingerprint: str
    reference: str
    n_units: int
    n_excluded: int
    n_bins: int
    resampled: str
