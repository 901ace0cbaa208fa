"""What an evaluation tells, part by part: its settings, the scores of a population, the row of a unit.

None stands where a score is not defined. What may be left out of a file is written only where it was set.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, JsonValue

from visioncore.config import Record
from visioncore.recording import Split
from visioncore.spec import ResponseKind

Metric = Literal["bits_per_spike", "correlation"]
"""The scores by which models are chosen and compared."""
Interval = tuple[float, float]


class Estimate(Record):
    """A mean over units."""

    mean: float | None = None
    ci95: Interval | None = None
    """None where nothing can be resampled."""


class Summary(Record):
    """How one score is distributed over units."""

    mean: float | None = None
    median: float | None = None
    ci95: Interval | None = None
    """Of the mean."""


class BitsPerSpike(Summary):
    pooled: float | None = None
    """Units weighed by their spikes."""
    neural_latents: float | None = None
    """As the Neural Latents Benchmark has it: pooled, and the null is each unit's mean of the scored bins."""


class Correlation(Summary):
    n_constant_predictions: int | None = None
    """Units whose correlation is 0 by convention."""


class Ceiling(Record):
    """Scores of the true rates, means over units."""

    bits_per_spike: float | None = None
    correlation: float | None = None
    ci95: Interval | None = None
    """Of bits/spike."""


class ScoredSection(Record):
    """A section of an evaluation: the scores of a population.

    Scores on repeats are means over the units whose signal is reliable.
    """

    bits_per_spike: BitsPerSpike
    correlation: Correlation
    ceiling: Ceiling
    fraction_of_ceiling: float | None
    """In bits/spike, over the units whose truth is known."""
    fraction_of_ceiling_ci95: Interval | None
    cc_norm: float | None
    cc_norm_n_units: int
    feve: float | None
    feve_n_units: int
    feve_published: float | None = None
    """Over the units that the publications choose: FEV of 0.15 and more."""
    feve_published_n_units: int = 0
    correlation_to_average: float | None
    correlation_to_average_n_units: int
    oracle: float | None
    oracle_n_units: int
    n_repeats: int
    """Of a stimulus, the fewest; 0 where none was repeated."""
    n_units: int
    n_excluded: int
    n_bins: int

    def score(self, metric: Metric) -> Summary:
        """The summary of one of the two scores."""
        return self.bits_per_spike if metric == "bits_per_spike" else self.correlation


class UnitRow(Record):
    """The scores of one unit. Counts have rates in Hz, traces have means."""

    session: str
    unit_id: str
    cell_class: JsonValue
    """None where it is not known."""
    columns: dict[str, JsonValue] = Field(default_factory=dict)
    """What was measured of the unit: area, depth …"""
    spikes: int | None = None
    recorded_rate_hz: float | None = None
    predicted_rate_hz: float | None = None
    recorded_mean: float | None = None
    predicted_mean: float | None = None
    bits_per_spike: float | None
    ceiling: float | None
    """The true rates' bits/spike."""
    correlation: float | None
    correlation_note: str | None = None
    cc_norm: float | None = None
    feve: float | None = None
    fev: float | None = None
    """The share of the variance that repeats share."""
    correlation_to_average: float | None = None
    oracle: float | None = None
    snr: float | None = None
    """The signal power over its error."""
    n_repeats: int
    n_bins: int | None = None
    excluded_reason: str | None
    """None where the unit counts."""

    @property
    def class_name(self) -> str:
        """The cell class, empty where it is not known."""
        return "" if self.cell_class is None else str(self.cell_class)

    @property
    def recorded(self) -> float | None:
        """The mean of what was recorded: spikes/s of counts, the mean of a trace."""
        return self.recorded_mean if self.recorded_rate_hz is None else self.recorded_rate_hz

    def score(self, metric: Metric) -> float | None:
        """One of the two scores."""
        return self.bits_per_spike if metric == "bits_per_spike" else self.correlation


def unit_table(units: Sequence[Record]) -> list[dict[str, JsonValue]]:
    """Rows of units as a table, all with the same keys: what was measured of them stands among the rest.

    A column that is called as a key of the record is `unit_` and its name.
    """
    rows = [unit.to_json() for unit in units]
    names = dict.fromkeys(name for row in rows for name in row.get("columns", {}))
    taken = {key for row in rows for key in row}
    called = {name: f"unit_{name}" if name in taken else name for name in names}
    table = []
    for row in rows:
        measured = row.pop("columns", {})
        told: dict[str, JsonValue] = {}
        for key, value in row.items():
            told[key] = value
            if key == "cell_class":
                told |= {called[name]: measured.get(name) for name in names}
        table.append(told)
    return table


class EvaluationSettings(Record):
    """What was scored, and under which conditions."""

    split: Split
    bin_ms: float | None
    """None for static images, which have no time: here a bin is an image, and a second too."""
    bins_summed: int
    """Bins of the data that make one that is scored."""
    sampling_rate_hz: float | None
    burn_in_s: float
    burn_in_bins: int
    null: str
    """What zero bits/spike is the score of."""
    rate_floor: float
    causal: bool | None
    """Whether no prediction rests on later frames or behaviour; None where a file of predictions does not say."""
    behaviour: Literal["recorded", "mean", "none"] | None
    """None where a file of predictions does not say."""
    response_kind: ResponseKind
    selection_metric: Metric
    n_sessions: int
    twin_digest: str
    data_fingerprint: str
    trained_on_these_data: bool | None
    """None where that cannot be told."""
    n_repeats: int = 0

    @property
    def counts(self) -> bool:
        """Whether responses are spike counts; else they are traces."""
        return self.response_kind == "counts"

    @property
    def bins_per_s(self) -> float:
        """Scored bins that a second has; of static images, one."""
        return (self.sampling_rate_hz or 1.0) / self.bins_summed
