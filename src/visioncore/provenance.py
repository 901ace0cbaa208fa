"""Where a twin comes from: code, libraries, data, settings, and how its training went. Kept in the twin's file."""

import math
from collections.abc import Mapping
from typing import Self

from pydantic import ConfigDict, Field

from visioncore.config import AsWritten, Record


class Epoch(Record):
    """How a training stood after an epoch: a row of `logs/metrics.csv`. NaN stands where a value is not known."""

    model_config = ConfigDict(allow_inf_nan=True)

    step: int
    """Of the optimiser, so far."""
    train_loss: float = math.nan
    """In nats per bin, the mean over the epoch's batches; `validation_loss` likewise."""
    validation_loss: float = math.nan
    validation_score: float = math.nan
    """In bits per spike; of traces a correlation. NaN where the validation data have no spikes."""
    learning_rate: float = math.nan
    gradient_norm: float = math.nan
    clips: int = 0
    """Seen so far."""
    wall_s: float = math.nan
    """Seconds of training and validation so far, over all resumptions."""

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> Self:
        """The epoch in a row of a CSV file; columns that an epoch does not have are left out.

        Raises:
            ValueError: a field holds no number, or there is no `step`.
            TypeError: the row has fewer fields than the header.
        """
        known = {key: row[key] for key in cls.model_fields if key in row and row[key] != ""}
        whole = ("step", "clips")
        return cls.model_validate({k: int(v) if k in whole else float(v) for k, v in known.items()})

    @property
    def seconds(self) -> float | None:
        """`wall_s`, or None where it is not known."""
        return None if math.isnan(self.wall_s) else self.wall_s

    def without_nan(self) -> Self:
        """The same without what is not known."""
        return type(self)(
            **{key: value for key, value in self.model_dump(exclude_unset=True).items() if value == value}
        )


class Machine(Record):
    """What a twin was trained on, from a step on."""

    from_step: int = 0
    accelerator: str | None = None
    device: str | None = None
    devices: int | None = None
    num_nodes: int | None = None
    precision: str | None = None

    def same_as(self, other: "Machine") -> bool:
        """Whether both are one machine, as far as this one is recorded."""
        known = self.model_dump(exclude_unset=True, exclude={"from_step"})
        return all(getattr(other, key) == value for key, value in known.items())


class RecordedData(Record):
    """Settings of the data, as an experiment recorded them."""

    normalisation: str = "pooled"
    balance: str | None = None


class RecordedTraining(Record):
    """Settings of the training, as an experiment recorded them."""

    train_share: float = 1.0
    """Of the training blocks, what the twin was trained on."""


class RecordedExperiment(Record):
    """Every setting of the experiment that made a twin, spelled as in its YAML files."""

    model: AsWritten = Field(default_factory=dict)
    data: RecordedData = RecordedData()
    training: RecordedTraining = RecordedTraining()


class ClaimedExperiment(RecordedExperiment):
    """What stands in `experiment.yaml` of a run folder."""

    data_dir: str | None = None
    """Where the data's relative paths start, relative to the run folder; None where it is not said."""


class UnitMatch(Record):
    """A unit of this twin, and what it was called in the twin that it started from."""

    session: str
    unit_id: str
    matched_session: str
    matched_unit_id: str


class SeenBins(Record):
    """Bins of a session on which some member of an ensemble was trained or selected."""

    signals_fingerprint: str
    """Of the session, however it is divided."""
    bins: tuple[tuple[int, int], ...]
    """From, and up to."""


class Provenance(Record):
    """How a twin was made. Nothing is known of a field that is None, as of what `train` did not make."""

    visioncore: str | None = None
    """The version that trained it."""
    commit: str | None = None
    """Of the checkout that it was trained from; None for an installed package."""
    libraries: dict[str, str] | None = None
    """Their versions."""
    python: str | None = None
    experiment: RecordedExperiment | None = None
    seed: int | None = None
    data_fingerprint: str | None = None
    """Of the prepared recording."""
    session_fingerprints: dict[str, str] | None = None
    """Of each session of the recording."""
    held_out_units: dict[str, tuple[str, ...]] | None = None
    """Of each session, the units of the recording that were left out of its training."""
    burn_in_s: float | None = None
    max_steps: int | None = None
    """That were planned."""
    initialise_s: float = 0.0
    """Seconds of the estimates before training."""
    machines: tuple[Machine, ...] = ()
    """What it was trained on; more than one where another machine went on with the run."""
    metrics: Epoch | None = None
    """How the training stood when the twin was kept."""
    made_from: str | None = None
    """The digest of the twin whose trunk it has, where sessions have come or gone since."""
    origin: "Provenance | None" = None
    """Of that twin, where heads were trained on its trunk."""
    matched_units: tuple[UnitMatch, ...] | None = None
    """Units that started from units of that twin."""
    hub: str | None = None
    """Where the twin was loaded from, with the commit: `hf://owner/name@COMMIT`."""
    taught_by: str | None = None
    """The digest of the twin or ensemble that it was distilled from."""
    members: "tuple[Provenance, ...] | None" = None
    """Of the twins of an ensemble."""
    seen_bins: "dict[str, SeenBins] | None" = None
    """Of each session, where an ensemble's members did not all see the same."""
